/**
 * `vhost-user vsock` with a real guest: connections, gigabytes with each word checked, half-closes,
 * refusals, killed programs, reboots and a killed VMM, from both sides.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { VsockHost } from '../../src/vsock/index.ts';
import { VsockClient } from '../../src/frontend/index.ts';
import { startProgram } from '../peers/process.ts';
import type { TestProgram } from '../peers/process.ts';
import { descriptorKinds, startVsockServer, stopServer, vsockReference } from '../peers/servers.ts';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import type { Peers, Qemu } from '../peers/setup.ts';
import { BUILD } from '../support/repository.ts';
import { runGuest, runGuestOrThrow } from './qemu.ts';
import { echoWords, receiveFrom, sendTo, servePort } from './vsock-host.ts';
import { VSOCK_GUEST, vsockPrograms } from './vsock-program.ts';

const CID = 4;
const MIB = 1 << 20;
const CONNECTIONS = 1000;
const AT_ONCE = 100;
const AT_ONCE_BYTES = 256 * 1024;
const GUEST_PORT = 1234;
/** Ports of the host. */
const PORT = { serve: 5000, killed: 5001, watched: 5002, task: 5004, boot: 5005, closed: 999 };
const GONE_MS_MAX = 5_000;
const REFUSED_MS_MAX = 1_000; // in an emulated guest; a lost answer takes 2000
const TIMEOUT_MS = 600_000;

/** One way to put a VMM and our device together. */
interface Setting {
  readonly name: string;
  readonly qemu: (peers: Peers) => Qemu;
  readonly memory: 'memfd' | 'shm';
  readonly host?: 'posix';
  readonly pipes?: boolean;
  /** What is sent each way, from each side. */
  readonly bytes: number;
}

const SETTINGS: readonly Setting[] = [
  { name: 'QEMU 10, native', qemu: (peers) => peers.qemu10, memory: 'memfd', bytes: 1024 * MIB },
  { name: 'QEMU 11, native', qemu: (peers) => peers.qemu11, memory: 'memfd', bytes: 64 * MIB },
  {
    name: 'QEMU 10, our device with POSIX facilities only',
    qemu: (peers) => peers.qemu10,
    memory: 'shm',
    host: 'posix',
    bytes: 128 * MIB,
  },
  {
    name: 'QEMU 10 without eventfd, so with pipes, our device with POSIX facilities only',
    qemu: (peers) => peers.qemu10,
    memory: 'shm',
    host: 'posix',
    pipes: true,
    bytes: 128 * MIB,
  },
];

const PRELUDE = `set -eu
fail() { echo "FAILED: $*"; exit 1; }
expect() { [ "$2" = "$3" ] || fail "$1 is '$2', not '$3'"; }
guest() { ${VSOCK_GUEST} "$@" || fail "vsock-guest $*"; }
`;

const search = await ensurePeers();
if (search.peers === undefined) {
  test('a guest uses our vsock device', { skip: missingPeers(search) }, () => undefined);
} else {
  const { peers } = search;
  for (const setting of SETTINGS) {
    test(`a guest and its host connect and send: ${setting.name}`, (context) =>
      useSockets(context, peers, setting));
  }
  for (const host of ['native', 'posix'] as const) {
    test(`a ${host} server outlives reboots of the guest and the end of QEMU`, (context) =>
      rebootAndKill(context, peers, host));
  }
}

/** A server of one guest, in a folder that is gone after the test. */
async function startServer(
  context: TestContext,
  peers: Peers,
  host: 'native' | 'posix' = 'native',
): Promise<{ server: TestProgram; folder: string; socketPath: string; udsPath: string }> {
  const folder = mkdtempSync('/tmp/vhost-user-vsock-'); // what QEMU 11 sees is /tmp
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const [socketPath, udsPath] = [join(folder, 'vsock.sock'), join(folder, 'vm.vsock')];
  const guests = [{ cid: CID, socketPath, udsPath }];
  const server = await startVsockServer({ peers, guests, host });
  context.after(() => server.stop('SIGKILL'));
  return { server, folder, socketPath, udsPath };
}

async function useSockets(context: TestContext, peers: Peers, setting: Setting): Promise<void> {
  const { server, folder, socketPath, udsPath } = await startServer(context, peers, setting.host);
  const host = await HostSide.start(context, server, udsPath, setting.bytes);
  const idle = descriptorKinds(server.pid);
  const guest = await runGuestOrThrow({
    peers,
    qemu: setting.qemu(peers),
    folder,
    vsock: { socketPath },
    programs: await vsockPrograms(peers),
    bare: true,
    script: guestScript(setting.bytes),
    memory: setting.memory,
    pipes: setting.pipes === true,
    timeoutMs: TIMEOUT_MS,
    onLine: (line) => host.takeLine(line),
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}\nThe server:\n${server.output}`, { cause: error });
  });
  context.diagnostic(`${guest.seconds.toFixed(1)} s`);
  for (const [name, text] of guest.values) {
    if (name.startsWith('took.')) context.diagnostic(`${name.slice(5)}: ${text} s`);
  }
  await host.verify();
  assert.match(guest.values.get('refused.error') ?? '', /^ECONN(RESET|REFUSED)$/);
  const refusedMs = Number(guest.values.get('refused.ms'));
  assert.ok(refusedMs < REFUSED_MS_MAX, `a closed port was refused after ${refusedMs} ms`);
  assert.equal(guest.values.get('gone'), 'yes');
  expectNotifiers(idle, host.busy, setting.pipes === true);
  await stopServer(server);
}

function guestScript(bytes: number): string {
  const { serve, killed, watched, task, closed } = PORT;
  const timed = (name: string, command: string): string =>
    `from=$(cut -d' ' -f1 /proc/uptime)\n${command}\n` +
    `echo "@took.${name}=$(cut -d' ' -f1 /proc/uptime | awk "{ print \\$1 - $from }")"\n`;
  return [
    PRELUDE,
    `${VSOCK_GUEST} serve ${GUEST_PORT} &\n`,
    `guest refused 2 ${closed}\n`,
    timed('connect', `guest connect 2 ${serve} ${CONNECTIONS} 1`),
    timed('send', `guest send 2 ${serve} ${bytes} 65536`),
    timed('receive', `guest receive 2 ${serve} ${bytes} 65536`),
    timed('at-once', `guest at-once 2 ${serve} ${AT_ONCE} ${AT_ONCE_BYTES}`),
    // Of a program of the host that is killed.
    `guest until-gone 2 ${killed}\n`,
    // And of one in the guest.
    `${VSOCK_GUEST} until-gone 2 ${watched} & victim=$!\nsleep 1\n`,
    'echo "@killing=yes"\nkill -9 $victim\n',
    // The host has its turn, and says when it is done.
    timed('host', `guest line 2 ${task}`),
  ].join('');
}

/** The host's programs of one test. */
class HostSide {
  /** The server's descriptors while the guest has its device. */
  busy: ReadonlyMap<string, number> = new Map<string, number>();
  readonly #server: TestProgram;
  readonly #udsPath: string;
  readonly #bytes: number;
  readonly #errors: Error[] = [];
  readonly #victim: TestProgram;
  #watchedEnded: Promise<unknown> | null = null;
  #killedMs = 0;
  #watchedMs = 0;
  #taskDone = false;

  private constructor(server: TestProgram, udsPath: string, bytes: number, victim: TestProgram) {
    this.#server = server;
    this.#udsPath = udsPath;
    this.#bytes = bytes;
    this.#victim = victim;
  }

  static async start(
    context: TestContext,
    server: TestProgram,
    udsPath: string,
    bytes: number,
  ): Promise<HostSide> {
    const entry = join(BUILD, 'test/guest/vsock-host-program.js');
    let listening: () => void = () => undefined;
    const ready = new Promise<void>((resolve) => (listening = resolve));
    const command = [process.execPath, entry, udsPath, String(PORT.killed)];
    const victim = startProgram(command, { onLine: () => listening() });
    context.after(() => victim.stop('SIGKILL'));
    await Promise.race([ready, victim.ended]);
    const host = new HostSide(server, udsPath, bytes, victim);
    const served = await servePort(udsPath, PORT.serve, (error) => host.#errors.push(error));
    const vsock = new VsockHost(udsPath);
    const watched = await vsock.listen(PORT.watched, (socket) => {
      socket.on('error', () => undefined).resume();
      host.#watchedEnded = once(socket, 'close').then(() => (host.#watchedMs = performance.now()));
    });
    const task = await vsock.listen(PORT.task, (socket) => {
      host.#busyNow();
      host.#task().then(
        () => socket.end('done\n'),
        (error: unknown) => {
          host.#errors.push(error as Error);
          socket.end('failed\n');
        },
      );
    });
    context.after(() => [served, watched, task].forEach((each) => each.close()));
    return host;
  }

  takeLine(line: string): void {
    // `until-gone` of the program that is to be killed comes first.
    if (line === '@going=yes' && this.#watchedEnded === null) {
      setTimeout(() => void this.#victim.stop('SIGKILL'), 200);
    }
    if (line === '@killing=yes') this.#killedMs = performance.now();
  }

  async verify(): Promise<void> {
    assert.deepEqual(this.#errors, []);
    assert.ok(this.#taskDone, 'the host had its turn');
    assert.ok(this.#watchedEnded !== null, 'the program that was to be killed connected');
    await this.#watchedEnded;
    const ms = this.#watchedMs - this.#killedMs;
    assert.ok(ms < GONE_MS_MAX, `the end of a killed program came after ${ms} ms`);
  }

  #busyNow(): void {
    this.busy = descriptorKinds(this.#server.pid);
  }

  /** What the host does with the guest. */
  async #task(): Promise<void> {
    const path = this.#udsPath;
    for (let i = 0; i < CONNECTIONS; i++) await echoWords(path, GUEST_PORT, 1);
    await sendTo(path, GUEST_PORT, this.#bytes);
    await receiveFrom(path, GUEST_PORT, this.#bytes);
    const many = Array.from({ length: AT_ONCE }, () => echoWords(path, GUEST_PORT, 20));
    await Promise.all(many);
    const startMs = performance.now();
    await assert.rejects(new VsockHost(path).connect(PORT.closed), { code: 'ECONNRESET' });
    const ms = performance.now() - startMs;
    assert.ok(ms < REFUSED_MS_MAX, `a closed port of the guest was refused after ${ms} ms`);
    this.#taskDone = true;
  }
}

/** QEMU's kicks and calls came as what the setting says: two queues at least, so two of each. */
function expectNotifiers(
  idle: ReadonlyMap<string, number>,
  busy: ReadonlyMap<string, number>,
  pipes: boolean,
): void {
  const more = (kind: string): number => (busy.get(kind) ?? 0) - (idle.get(kind) ?? 0);
  const [used, unused] = pipes ? ['pipe', 'eventfd'] : ['eventfd', 'pipe'];
  assert.ok(more(used) >= 4, `${more(used)} more of ${used}, ${more(unused)} more of ${unused}`);
}

/**
 * The guest reboots with a connection open, twice; then QEMU is killed with one, and the server
 * serves the next front-end.
 */
async function rebootAndKill(
  context: TestContext,
  peers: Peers,
  host: 'native' | 'posix',
): Promise<void> {
  const { server, folder, socketPath, udsPath } = await startServer(context, peers, host);
  const ends: number[] = [];
  const vsock = new VsockHost(udsPath);
  const killed = new AbortController();
  let boots = 0;
  const watched = await vsock.listen(PORT.watched, (socket) => {
    socket.on('error', () => undefined).resume();
    socket.once('close', () => ends.push(boots));
    if (boots === 3) setTimeout(() => killed.abort(), 300);
  });
  const boot = await vsock.listen(PORT.boot, (socket) => socket.end(`${String(++boots)}\n`));
  const served = await servePort(udsPath, PORT.serve, () => undefined);
  context.after(() => [watched, boot, served].forEach((each) => each.close()));
  const guest = await runGuest({
    peers,
    qemu: peers.qemu10,
    folder,
    vsock: { socketPath },
    programs: await vsockPrograms(peers),
    bare: true,
    reboots: true,
    script: `${PRELUDE}guest line 2 ${PORT.boot}
guest send 2 ${PORT.serve} ${MIB} 4096
${VSOCK_GUEST} until-gone 2 ${PORT.watched} &
sleep 1
reboot -f
`,
    memory: host === 'posix' ? 'shm' : 'memfd',
    timeoutMs: TIMEOUT_MS,
    signal: killed.signal,
  });
  const said = `${guest.output}\n${server.output}`;
  assert.equal(boots, 3, said);
  for (let waited = 0; ends.length < 3 && waited < GONE_MS_MAX; waited += 20) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.equal(ends.length, 3, `connections of ${ends.length} boots of 3 ended\n${said}`);
  context.diagnostic(`${guest.seconds.toFixed(1)} s`);

  const client = await VsockClient.connect(socketPath, { connectWaitMs: GONE_MS_MAX });
  assert.equal(client.guestCid, CID);
  const socket = await client.dial(PORT.serve);
  socket.write('echo\nstill here');
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  assert.equal(chunk.toString(), 'still here');
  if (!vsockReference) socket.end();
  else socket.destroy();
  await once(socket.resume(), 'close');
  await client.close();
  await stopServer(server);
}
