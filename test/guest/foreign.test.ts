/**
 * Guests of other architectures: aarch64 with pages of 4 and 16 KiB, riscv64, and s390x, whose
 * bytes are the other way round. Each boots once and uses two disks and two shared folders, one of
 * each served with what Linux has, the other with only what every POSIX host has, sockets both
 * ways, and where there is QEMU 11 a console; what it wrote is then compared from the host's side.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { ForeignGuest } from '../peers/foreign.ts';
import { runProgram } from '../peers/process.ts';
import type { TestProgram } from '../peers/process.ts';
import {
  startBlkServer,
  startFsServer,
  startRngServer,
  startVsockServer,
  stopServer,
} from '../peers/servers.ts';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import type { Peers } from '../peers/setup.ts';
import { ensureZig } from '../peers/zig.ts';
import { tellProof } from '../support/proof.ts';
import { PRELUDE, sha256 } from './blk-scripts.ts';
import { ConsoleHostSide, SHELL_ON_CONSOLE, UNTIL_HOST_IS_DONE } from './foreign-console.ts';
import { foreignPrograms } from './foreign-programs.ts';
import { VSOCK_BYTES, VsockHostSide, useVsock } from './foreign-vsock.ts';
import * as scripts from './foreign-scripts.ts';
import { writeMany } from './fs-host.ts';
import { runGuestOrThrow } from './qemu.ts';
import type { GuestOptions, GuestResult } from './qemu.ts';

const KIB = 1024;
const MIB = KIB * KIB;
const AT_ONCE = 2;
const TIMEOUT_MS = 600_000; // some 20 seconds on an idle machine
/** Of files that the host makes: some fit into a page, some do not end with one. */
const FILE_BYTES = [0, 1, 4095, 4097, 16_385, 70_000, 1_300_000];

/** A disk and a folder, and the processes that serve them. */
interface Served {
  readonly host: 'native' | 'posix';
  readonly disk: string;
  readonly tag: string;
  readonly image: string;
  readonly before: Buffer;
  readonly share: string;
  readonly diskSocket: string;
  readonly shareSocket: string;
  readonly servers: readonly TestProgram[];
}

/** Interrupts of a device with so many queues: one more, for its configuration. */
const VECTORS = { rng: 2, vsock: 4 };
const GUEST_CID = 7;

/** Each guest has nine programs, and each of those listens for the end of this one. */
process.setMaxListeners(AT_ONCE * 10);

const search = await ensurePeers();
const { zig, missing = 'there is no compiler' } = await ensureZig();
if (search.peers === undefined || zig === undefined) {
  const skip = search.peers === undefined ? missingPeers(search) : missing;
  test('guests of other architectures are there', { skip }, () => undefined);
} else {
  const { peers } = search;
  test('guests of other architectures', { concurrency: AT_ONCE }, async (context) => {
    const compared = new Map<string, number>();
    await Promise.all(
      peers.foreign.map((guest) => {
        const order = guest.bigEndian ? 'big-endian' : 'little-endian';
        const what = `${order}, pages of ${guest.pageBytes / KIB} KiB`;
        const name = `a guest uses disks and shared folders: ${guest.name}, ${what}`;
        return context.test(name, async (each) => {
          const programs = await foreignPrograms(zig, guest);
          compared.set(guest.name, await useAll(each, peers, guest, programs));
        });
      }),
    );
    const proof = proofOf(peers.foreign, compared);
    if (proof !== undefined) tellProof(context, proof);
  });
}

/** What all guests have proved; nothing if one did not come to its end. */
function proofOf(
  guests: readonly ForeignGuest[],
  compared: ReadonlyMap<string, number>,
): string | undefined {
  if (guests.some(({ name }) => !compared.has(name))) return undefined;
  const named = guests.map(({ name, bigEndian }) => (bigEndian ? `${name} (big-endian)` : name));
  const entries = [...compared.values()].reduce((sum, each) => sum + each, 0);
  const consoles = guests.filter(({ isNewer }) => isNewer).map(({ name }) => name);
  return (
    `guests: ${named.join(', ')}: disk, random bytes, shared folder, ${entries} entries ` +
    `compared, attributes, locks, offsets beyond 4 GiB, and vsock with ` +
    `${VSOCK_BYTES >> 20} MiB each way from each side; console: ${consoles.join(', ')}`
  );
}

/** Returns how many entries of shared folders were compared. */
async function useAll(
  context: TestContext,
  peers: Peers,
  guest: ForeignGuest,
  programs: ReadonlyMap<string, string>,
): Promise<number> {
  const folder = mkdtempSync(`/tmp/vhost-user-${guest.name}-`);
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const all = [
    await serve(context, peers, folder, 'native'),
    await serve(context, peers, folder, 'posix'),
  ];
  const rng = join(folder, 'rng.sock');
  const random = await startRngServer({ socketPath: rng });
  context.after(() => random.stop('SIGKILL'));
  const vsock = await serveSockets(context, peers, folder);
  const terminal = guest.isNewer ? await ConsoleHostSide.start(context, folder) : undefined;
  const servers = [...all.flatMap((each) => each.servers), random, vsock.server];
  if (terminal !== undefined) servers.push(terminal.server);
  const killed = new AbortController();
  const running = runGuestOrThrow({
    ...bootOptions(peers, guest),
    ...{ folder, programs, signal: killed.signal },
    disks: all.map(({ diskSocket }) => ({ socketPath: diskSocket, queues: 1 })),
    shares: all.map(({ host, shareSocket, tag }) => ({
      ...{ socketPath: shareSocket, tag },
      bus: guest.channels && host === 'posix' ? 'ccw' : 'pci',
    })),
    rngs: [{ socketPath: rng, vectors: VECTORS.rng }],
    vsock: { socketPath: vsock.socketPath, vectors: VECTORS.vsock },
    ...(terminal === undefined ? {} : { console: terminal.device }),
    script: guestScript(guest, all),
  });
  const driving = terminal?.drive(guest.machine).catch((error: unknown) => {
    killed.abort();
    throw error;
  });
  const [ran, drove] = await Promise.allSettled([running, driving]);
  if (ran.status === 'rejected' || drove.status === 'rejected') {
    const why = [ran, drove].map((each) => (each.status === 'rejected' ? String(each.reason) : ''));
    const said = servers.map(({ output }) => output).join('');
    throw new Error(`${why.join('\n')}\nThe servers:\n${said}`);
  }
  const result = ran.value;
  vsock.host.verify(result.values);
  for (const server of servers) await stopServer(server);
  const entries = all.map((each) => verify(each, result));
  context.diagnostic(`${result.seconds.toFixed(1)} s, ${entries.join(' and ')} entries compared`);
  return entries.reduce((sum, each) => sum + each, 0);
}

/** How a guest boots, whatever it has. */
function bootOptions(
  peers: Peers,
  guest: ForeignGuest,
): Pick<GuestOptions, 'peers' | 'qemu' | 'machine' | 'bare' | 'memory' | 'cpus' | 'timeoutMs'> {
  const { kernel, modules, busybox, qemu } = guest;
  return {
    peers: { ...peers, kernel, modules, busybox },
    qemu,
    machine: guest,
    bare: true,
    memory: 'shm',
    cpus: 1,
    timeoutMs: TIMEOUT_MS,
  };
}

/** The server of a guest's sockets, and what its host does with them. */
async function serveSockets(
  context: TestContext,
  peers: Peers,
  folder: string,
): Promise<{ socketPath: string; server: TestProgram; host: VsockHostSide }> {
  const [socketPath, udsPath] = [join(folder, 'vsock.sock'), join(folder, 'vm.vsock')];
  const guests = [{ cid: GUEST_CID, socketPath, udsPath }];
  const server = await startVsockServer({ peers, guests, host: 'native' });
  context.after(() => server.stop('SIGKILL'));
  const host = await VsockHostSide.start(udsPath);
  context.after(() => host.close());
  return { socketPath, server, host };
}

async function serve(
  context: TestContext,
  peers: Peers,
  folder: string,
  host: 'native' | 'posix',
): Promise<Served> {
  const disk = host === 'native' ? 'vda' : 'vdb';
  const share = join(folder, host);
  const image = join(folder, `${host}.img`);
  const before = randomBytes(scripts.DISK.mib * MIB);
  writeFileSync(image, before);
  await fillShare(share);
  const [diskSocket, shareSocket] = [`${image}.sock`, `${share}.sock`];
  const serial = `serial-of-${disk}`;
  const tag = `share-${host}`;
  const served = { peers, host, tag, serial, image, sharedDir: share, xattr: true };
  // A guest's locks are this host's then, where it has such: they come as messages.
  const options = host === 'native' ? ['--shared-locks'] : [];
  const servers = [
    await startBlkServer({ ...served, socketPath: diskSocket }),
    await startFsServer({ ...served, xattr: host === 'native', socketPath: shareSocket, options }),
  ];
  for (const server of servers) context.after(() => server.stop('SIGKILL'));
  return { host, disk, tag, image, before, share, diskSocket, shareSocket, servers };
}

/** Files with their sums, an archive of them with theirs, a link, an odd file and many names. */
async function fillShare(share: string): Promise<void> {
  const [host, tree] = [join(share, 'host'), join(share, 'host/tree')];
  mkdirSync(tree, { recursive: true });
  const named = FILE_BYTES.map((bytes) => ({ name: `${bytes}.bin`, data: randomBytes(bytes) }));
  for (const { name, data } of named) writeFileSync(join(tree, name), data);
  const sumsBelow = (folder: string): string =>
    named.map(({ name, data }) => `${sha256(data)}  ${folder}${name}\n`).join('');
  writeFileSync(join(host, 'sums'), sumsBelow('host/tree/'));
  writeFileSync(join(host, 'archive-sums'), sumsBelow(''));
  await runProgram(['tar', '-c', '-C', host, '-f', join(host, 'archive.tar'), 'tree']);
  symlinkSync('a target', join(host, 'link'));
  const odd = join(host, 'odd');
  writeFileSync(odd, 'five\n');
  linkSync(odd, join(host, 'odder'));
  chownSync(odd, 12, 34);
  chmodSync(odd, 0o640);
  utimesSync(odd, 915_148_799, 915_148_799); // the last second of 1998
  writeMany(join(share, 'many-host'), scripts.NAME_COUNT);
}

function guestScript(guest: ForeignGuest, all: readonly Served[]): string {
  return [
    PRELUDE,
    scripts.checkMachine(guest.machine, guest.pageBytes),
    scripts.RANDOM,
    guest.isNewer ? SHELL_ON_CONSOLE : '',
    useVsock(),
    ...all.map(({ disk, before }) => scripts.useDisk(disk, sha256(before))),
    ...all.map(({ tag, host }) => scripts.useFolder(tag, host === 'native')),
    guest.isNewer ? UNTIL_HOST_IS_DONE : '',
  ].join('');
}

/** Compares both with what the guest did; returns how many entries of the folder were compared. */
function verify(served: Served, result: GuestResult): number {
  const { disk, tag, before, image, share } = served;
  const after = sha256(scripts.diskAfter(disk, before));
  assert.equal(result.values.get(`sum.${disk}`), after, 'what the guest reads in the end');
  assert.equal(sha256(readFileSync(image)), after, 'what is in the image');
  assert.equal(result.values.get(`share.${tag}`), 'done');
  return scripts.verifyTree(share);
}
