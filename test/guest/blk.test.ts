/**
 * `vhost-user blk` with a real guest: a Linux under QEMU writes, verifies, formats, discards and
 * sees its disk grow, and what it wrote is then checked in the image from the host's side.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { descriptorKinds, reference, startBlkServer, stopServer } from '../peers/servers.ts';
import { runProgram } from '../peers/process.ts';
import type { TestProgram } from '../peers/process.ts';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import type { Peers, Qemu } from '../peers/setup.ts';
import * as scripts from './blk-scripts.ts';
import { runGuest, runGuestOrThrow } from './qemu.ts';

const MIB = 1 << 20;
const IMAGE_BYTES = scripts.AREA.total * MIB;
const GROWN_BYTES = IMAGE_BYTES + 32 * MIB;
const READ_ONLY_MIB = 4;
const SERIAL = reference ? 'vhost_user_blk' : 'VHOST-USER-0123456789'.slice(0, 20);

/** After so many requests the server is restarted, and at last QEMU is killed. */
const RESTART_AFTER = [3_000, 14_000];
const KILL_AFTER = scripts.LONG_LOAD_REQUESTS + 2_000;

/** One way to put a VMM and our device together. */
interface Setting {
  readonly name: string;
  readonly qemu: (peers: Peers) => Qemu;
  readonly memory: 'memfd' | 'shm';
  readonly device?: 'generic';
  readonly host?: 'posix';
  readonly pipes?: boolean;
}

const SETTINGS: readonly Setting[] = [
  { name: 'QEMU 10, native', qemu: (peers) => peers.qemu10, memory: 'memfd' },
  { name: 'QEMU 11, native', qemu: (peers) => peers.qemu11, memory: 'memfd' },
  {
    name: 'QEMU 10, our device with POSIX facilities only',
    qemu: (peers) => peers.qemu10,
    memory: 'shm',
    host: 'posix',
  },
  {
    name: 'QEMU 10 without eventfd, so with pipes, our device with POSIX facilities only',
    qemu: (peers) => peers.qemu10,
    memory: 'shm',
    host: 'posix',
    pipes: true,
  },
  {
    name: "QEMU 11's generic vhost-user device",
    qemu: (peers) => peers.qemu11,
    memory: 'memfd',
    device: 'generic',
  },
];

const search = await ensurePeers();
if (search.peers === undefined) {
  test('a guest uses our block device', { skip: missingPeers(search) }, () => undefined);
} else {
  const { peers } = search;
  for (const setting of SETTINGS) {
    test(`a guest writes, formats, discards and grows a disk: ${setting.name}`, (context) =>
      useDisk(context, peers, setting));
  }
  for (const host of ['native', 'posix'] as const) {
    test(`a guest's load outlives restarts of a ${host} server, which outlives QEMU`, (context) =>
      restartAndKill(context, peers, host));
  }
  test('a guest uses a disk whose server connects to a QEMU that listens', (context) =>
    useListeningQemu(context, peers));
}

/** An empty image in a folder that is gone after the test. */
function newDisk(context: TestContext): { readonly folder: string; readonly image: string } {
  const folder = mkdtempSync('/tmp/vhost-user-guest-'); // what QEMU 11 sees is /tmp
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const image = join(folder, 'disk.img');
  writeFileSync(image, '');
  truncateSync(image, IMAGE_BYTES);
  return { folder, image };
}

async function useDisk(context: TestContext, peers: Peers, setting: Setting): Promise<void> {
  const { folder, image } = newDisk(context);
  const fixedImage = join(folder, 'fixed.img');
  const fixedBytes = randomBytes(READ_ONLY_MIB * MIB);
  writeFileSync(fixedImage, fixedBytes);

  const common = { peers, queues: 2, serial: SERIAL, ...(setting.host && { host: setting.host }) };
  const disk = join(folder, 'disk.sock');
  const fixed = join(folder, 'fixed.sock');
  const server = await startBlkServer({ ...common, image, socketPath: disk });
  context.after(() => server.stop('SIGKILL'));
  const fixedServer = await startBlkServer({
    ...common,
    image: fixedImage,
    socketPath: fixed,
    readOnly: true,
  });
  context.after(() => fixedServer.stop('SIGKILL'));

  const idle = descriptorKinds(server.pid);
  const host = new HostSide(server, image);
  const device = setting.device ?? 'blk';
  const guest = await runGuestOrThrow({
    peers,
    qemu: setting.qemu(peers),
    folder,
    disks: [
      { socketPath: disk, device },
      { socketPath: fixed, device },
    ],
    script: guestScript(scripts.sha256(fixedBytes)),
    memory: setting.memory,
    pipes: setting.pipes === true,
    onLine: (line) => host.takeLine(line),
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}\nThe server:\n${server.output}`, { cause: error });
  });
  context.diagnostic(`${guest.seconds.toFixed(1)} s, ${guest.values.get('fio.requests')} requests`);

  expectNotifiers(idle, host.busy, setting.pipes === true);
  await stopServer(server);
  await stopServer(fixedServer);
  await scripts.verifyFileSystem(peers, image, folder, guest);
  await scripts.verifyFio(peers, image, folder);
  scripts.verifyDiscard(image);
  if (!reference) scripts.verifyResize(image, GROWN_BYTES);
}

/**
 * The server is ended and started again under load, twice; then QEMU is killed under load, and the
 * server serves the next front-end.
 */
async function restartAndKill(
  context: TestContext,
  peers: Peers,
  host: 'native' | 'posix',
): Promise<void> {
  const { folder, image } = newDisk(context);
  const socketPath = join(folder, 'disk.sock');
  const start = (): Promise<TestProgram> =>
    startBlkServer({ peers, image, socketPath, queues: 2, host });
  let server = await start();
  context.after(() => server.stop('SIGKILL'));
  const restartAfter = [...RESTART_AFTER];
  let restarts = Promise.resolve();
  const restart = async (): Promise<void> => {
    await stopServer(server);
    server = await start();
  };
  const killed = new AbortController();
  const guest = await runGuest({
    peers,
    qemu: peers.qemu10,
    folder,
    disks: [{ socketPath, reconnectMs: 100 }],
    script: scripts.PRELUDE + scripts.longLoad('vda'),
    memory: 'memfd',
    signal: killed.signal,
    onLine: (line) => {
      const count = Number(/^@requests=(\d+)$/.exec(line)?.[1] ?? 0);
      if (count >= KILL_AFTER) killed.abort();
      if (count < (restartAfter[0] ?? Infinity)) return;
      restartAfter.shift();
      restarts = restarts.then(restart);
      restarts.catch(() => killed.abort()); // and is thrown below
    },
  });
  await restarts;
  const said = `${guest.output}\n${server.output}`;
  assert.equal(guest.status, undefined, said);
  assert.equal(guest.values.get('load'), 'done', said);
  assert.deepEqual(restartAfter, []);
  context.diagnostic(`${guest.seconds.toFixed(1)} s`);

  const options = `driver=virtio-blk-vhost-user,path=${socketPath},cache.direct=on`;
  const file = `driver=file,filename=${image}`;
  await runProgram([...peers.qemuImg, 'compare', '--image-opts', options, file]);
  await stopServer(server);
}

async function useListeningQemu(context: TestContext, peers: Peers): Promise<void> {
  const { folder, image } = newDisk(context);
  const socketPath = join(folder, 'qemu.sock');
  const options = ['--threads', '2'];
  const served = { peers, image, socketPath, queues: 2, serial: SERIAL, connect: true, options };
  const server = await startBlkServer(served);
  context.after(() => server.stop('SIGKILL'));
  const facts = { serial: SERIAL, queues: 2, name: 'vda', bytes: IMAGE_BYTES, readOnly: false };
  const guest = await runGuestOrThrow({
    peers,
    qemu: peers.qemu11,
    folder,
    disks: [{ socketPath, listen: true }],
    script: scripts.PRELUDE + scripts.checkDisk(facts) + scripts.fioVerify('vda'),
    memory: 'shm',
  });
  context.diagnostic(`${guest.seconds.toFixed(1)} s`);
  await stopServer(server);
  await scripts.verifyFio(peers, image, folder);
}

/** Does what the guest asks for by lines on its console. */
class HostSide {
  /** The server's descriptors while the guest has its disks. */
  busy: ReadonlyMap<string, number> = new Map<string, number>();
  readonly #server: TestProgram;
  readonly #image: string;

  constructor(server: TestProgram, image: string) {
    this.#server = server;
    this.#image = image;
  }

  takeLine(line: string): void {
    if (line === '@disks=ready') this.busy = descriptorKinds(this.#server.pid);
    if (line !== '@resize=ready') return;
    truncateSync(this.#image, GROWN_BYTES);
    this.#server.signal('SIGHUP');
  }
}

function guestScript(fixedSha256: string): string {
  const facts = { serial: SERIAL, queues: 2 };
  return [
    scripts.PRELUDE,
    'echo "@disks=ready"\n',
    scripts.checkDisk({ ...facts, name: 'vda', bytes: IMAGE_BYTES, readOnly: false }),
    scripts.checkDisk({ ...facts, name: 'vdb', bytes: READ_ONLY_MIB * MIB, readOnly: true }),
    scripts.checkReadOnly('vdb', READ_ONLY_MIB, fixedSha256),
    scripts.fioVerify('vda'),
    scripts.rebind('vda'),
    scripts.fileSystem('vda'),
    scripts.discard('vda'),
    ...(reference ? [] : [scripts.resize('vda', GROWN_BYTES)]),
  ].join('');
}

/** QEMU's kicks and calls came as what the setting says: two queues, so two of each. */
function expectNotifiers(
  idle: ReadonlyMap<string, number>,
  busy: ReadonlyMap<string, number>,
  pipes: boolean,
): void {
  const more = (kind: string): number => (busy.get(kind) ?? 0) - (idle.get(kind) ?? 0);
  const [used, unused] = pipes ? ['pipe', 'eventfd'] : ['eventfd', 'pipe'];
  assert.ok(more(used) >= 4, `${more(used)} more of ${used}, ${more(unused)} more of ${unused}`);
}
