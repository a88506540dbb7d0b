/**
 * What the guest of `vsock-loopback.test.ts` runs: `vhost-user vsock` on a host that has AF_VSOCK.
 * Its virtual machine is our own front-end, its host programs are `vsock-guest`, which knows only
 * the kernel's sockets. Each step that went well is told by a line `@ok.NAME=ms`.
 *
 * Usage: `VHOST_USER_HOST=posix node vsock-inside.js`, so that the library's back-end and the
 * front-end do without what is Linux's own, and the command's does not; as root of a Linux that has
 * loaded no module of vsock; in /dev/shm are busybox, vsock-guest and the modules.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { startBackend } from '../../src/backend/index.ts';
import { openVsock } from '../../src/devices/vsock/index.ts';
import { VsockClient } from '../../src/frontend/index.ts';
import type { VsockPacket, VsockSocket } from '../../src/frontend/index.ts';
import { BUILD } from '../support/repository.ts';
import { echoOn, fillPattern, receiveOn, sendOn, serveOne } from './vsock-host.ts';

const run = promisify(execFile);
const PROGRAM = '/dev/shm/vsock-guest';
const MIB = 1 << 20;
const LOCAL = 1; // VMADDR_CID_LOCAL
const AT_ONCE = 20;
const PROMPT_MS = 5000; // in an emulated guest on a busy machine; a lost answer takes 10 s
const START_MS = 90_000;
/** Ports of the host. */
const PORT = { serve: 7000, messages: 7001, late: 7002, closed: 999 };
/** Ports of the host that lead to the virtual machine. */
const LISTEN = { same: 9000, serve: 9001, messages: 9002, silent: 9003, closed: 9004 };
/** Ports of the virtual machine. */
const GUEST_PORT = { serve: 22, messages: 23, silent: 24, closed: 25 };
const OP = { RST: 3, SHUTDOWN: 4 } as const;
const BOTH_HALVES = 3;

/** Runs a step, and tells that it went well. */
async function step(name: string, body: () => Promise<void>): Promise<void> {
  const startMs = performance.now();
  await body();
  console.log(`@ok.${name}=${(performance.now() - startMs).toFixed(0)}`);
}

function loadModules(...names: string[]): void {
  for (const name of names) execFileSync('/dev/shm/busybox', ['insmod', `/dev/shm/${name}.ko`]);
}

/** A virtual machine, and what its back-end says. */
interface Setup {
  readonly name: string;
  readonly vm: VsockClient;
  readonly packets: VsockPacket[];
  readonly lines: readonly string[];
  readonly stop: () => Promise<void>;
}

async function connect(socketPath: string, packets: VsockPacket[]): Promise<VsockClient> {
  return VsockClient.connect(socketPath, {
    connectWaitMs: START_MS,
    replyTimeoutMs: START_MS,
    bufferBytes: 2 * MIB,
    onPacket: (packet) => {
      packets.push(packet);
      return false;
    },
  });
}

/** By the library, in this process; what the environment says of the host holds for it. */
async function startHere(): Promise<Setup> {
  const lines: string[] = [];
  const packets: VsockPacket[] = [];
  const forwards = [{ guestPort: '*', target: { kind: 'vsock' } }] as const;
  const device = openVsock({ guestCid: 3, forwards, txBufferBytes: MIB });
  const where = { kind: 'listen', path: '/dev/shm/here.sock' } as const;
  const backend = await startBackend(device, where, { log: (_level, text) => lines.push(text) });
  const vm = await connect(where.path, packets);
  const stop = async (): Promise<void> => {
    await vm.close();
    await backend.close();
  };
  return { name: 'library', vm, packets, lines, stop };
}

/** By the command, in its sandbox, with each option for the host's AF_VSOCK. */
async function startCommand(): Promise<Setup> {
  const { serve, messages, silent, closed } = GUEST_PORT;
  const args = ['vsock', '--socket-path', '/dev/shm/command.sock', '--forward-cid', '1'];
  args.push('--tx-buffer-size', '1M', '--forward-listen', String(LISTEN.same));
  args.push('--listen', `vsock:${String(LISTEN.serve)}=guest:${String(serve)}`);
  args.push('--listen', `vsock-seqpacket:${String(LISTEN.messages)}=guest:${String(messages)}`);
  args.push('--listen', `vsock:${String(LISTEN.silent)}=guest:${String(silent)}`);
  args.push('--listen', `vsock:${String(LISTEN.closed)}=guest:${String(closed)}`);
  const command = [...process.execArgv, join(BUILD, 'src/cli/main.js'), ...args];
  const env = { ...process.env };
  delete env.VHOST_USER_HOST;
  const server = spawn(process.execPath, command, { env, stdio: ['ignore', 'inherit', 'pipe'] });
  process.on('exit', () => server.kill('SIGKILL'));
  const lines: string[] = [];
  const packets: VsockPacket[] = [];
  createInterface({ input: server.stderr }).on('line', (line) => lines.push(line));
  const vm = await connect('/dev/shm/command.sock', packets).catch((error: unknown) => {
    throw new Error(`no back-end:\n${lines.join('\n')}`, { cause: error });
  });
  const stop = async (): Promise<void> => {
    await vm.close();
    const ended = once(server, 'close');
    server.kill('SIGTERM');
    const [code] = (await ended) as [number | null];
    assert.equal(code, 0, lines.join('\n'));
    assert.match(lines.join('\n'), /sandbox: .*seccomp/);
  };
  return { name: 'command', vm, packets, lines, stop };
}

/** Is refused, and at once; but the first time the back-end's thread may still be starting. */
async function isRefused({ vm }: Setup, port: number): Promise<void> {
  for (const wait of [START_MS, PROMPT_MS]) {
    await assert.rejects(vm.dial(port, { timeoutMs: wait }), { code: 'ECONNREFUSED' });
  }
}

/** Where AF_VSOCK leads nowhere connections are refused at once, and the log says what to do. */
async function leadNowhere(setup: Setup): Promise<void> {
  const refused = async (advice: RegExp): Promise<void> => {
    await isRefused(setup, PORT.serve);
    assert.match(setup.lines.join('\n'), advice);
  };
  await step('absent-listener', () => {
    const source = { kind: 'vsock', port: 9000 } as const;
    assert.throws(() => openVsock({ guestCid: 3, listens: [{ source, guestPort: 22 }] }), {
      message: /^socket\(vsock 4294967295:9000\): EAFNOSUPPORT.*modprobe vsock/,
    });
    return Promise.resolve();
  });
  await step('absent', () => refused(/^vsock 1:7000: EAFNOSUPPORT: .*modprobe vsock/m));
  loadModules('vsock');
  await step('no-transport', () => refused(/^vsock 1:7000: ENODEV: .*modprobe vsock_loopback/m));
}

/** A program of the host, once it has said a line. */
async function startProgram(args: readonly (string | number)[], says: string): Promise<Program> {
  const child = spawn(PROGRAM, args.map(String), { stdio: ['ignore', 'pipe', 'pipe'] });
  process.on('exit', () => child.kill('SIGKILL'));
  const program: Program = { child, output: '', ended: once(child, 'close') };
  const ready = new Promise<void>((resolve, reject) => {
    const take = (chunk: Buffer): void => {
      program.output += String(chunk);
      if (program.output.includes(says)) resolve();
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.on('close', () => {
      reject(new Error(`vsock-guest ${args.join(' ')}: ${program.output}`));
    });
  });
  await ready;
  return program;
}

interface Program {
  readonly child: ChildProcess;
  readonly ended: Promise<unknown>;
  output: string;
}

async function program(...args: (string | number)[]): Promise<void> {
  await run(PROGRAM, args.map(String)).catch((error: unknown) => {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`vsock-guest ${args.join(' ')}: ${stdout}${stderr}`, { cause: error });
  });
}

function pattern(bytes: number): Buffer {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  fillPattern(words, 0);
  return Buffer.from(words.buffer, 0, bytes);
}

/** What the virtual machine begins. */
async function fromGuest(setup: Setup): Promise<void> {
  const { name, vm, lines } = setup;
  await step(`${name}.closed-port`, async () => {
    await isRefused(setup, PORT.closed);
    assert.doesNotMatch(lines.join('\n'), /ECONNRESET/, 'that nobody listens is no news');
  });
  await step(`${name}.send`, async () => sendOn(await vm.dial(PORT.serve), MIB));
  await step(`${name}.receive`, async () => receiveOn(await vm.dial(PORT.serve), MIB));
  await step(`${name}.at-once`, async () => {
    const dials = Array.from({ length: AT_ONCE }, () =>
      vm.dial(PORT.serve, { timeoutMs: START_MS }),
    );
    await Promise.all((await Promise.all(dials)).map((socket) => echoOn(socket, 5)));
  });
}

/** What programs of the host begin. */
async function fromHost({ name, vm, packets }: Setup): Promise<void> {
  const errors: Error[] = [];
  const serve = (socket: VsockSocket): void => {
    serveOne(socket).catch((error: unknown) => errors.push(error as Error));
  };
  const listeners = [vm.listen(GUEST_PORT.serve, serve), vm.listen(LISTEN.same, serve)];
  await step(`${name}.host-sends`, () => program('send', LOCAL, LISTEN.serve, MIB, 65_536));
  await step(`${name}.host-receives`, () => program('receive', LOCAL, LISTEN.serve, MIB, 65_536));
  await step(`${name}.host-at-once`, () => program('at-once', LOCAL, LISTEN.same, AT_ONCE, 8192));
  assert.deepEqual(errors, []);
  for (const listener of listeners) listener.close();
  await step(`${name}.host-to-closed-port`, async () => {
    const startMs = performance.now();
    await assert.rejects(program('ping', LOCAL, LISTEN.closed, 1), /reset|Broken pipe/);
    assert.ok(performance.now() - startMs < PROMPT_MS);
  });
  await step(`${name}.killed-program`, async () => {
    const accepted = new Promise<VsockSocket>((resolve) => vm.listen(GUEST_PORT.silent, resolve));
    const child = spawn(PROGRAM, ['line', String(LOCAL), String(LISTEN.silent)], {
      stdio: 'ignore',
    });
    process.on('exit', () => child.kill('SIGKILL'));
    const socket = await accepted;
    socket.on('error', () => undefined).resume();
    packets.length = 0;
    child.kill('SIGKILL');
    const startMs = performance.now();
    while (performance.now() - startMs < PROMPT_MS && !packets.some(endsBoth)) await sleep(10);
    assert.ok(
      packets.some(endsBoth),
      `nobody reads any more, and the guest was told ${told(packets)}`,
    );
    socket.destroy();
  });
}

function endsBoth({ op, flags }: VsockPacket): boolean {
  return op === OP.RST || (op === OP.SHUTDOWN && flags === BOTH_HALVES);
}

function told(packets: readonly VsockPacket[]): string {
  return packets
    .map(({ op, flags }) => `operation ${String(op)}, flags ${String(flags)}`)
    .join('; ');
}

/** SOCK_SEQPACKET, to programs of the host. */
async function messages({ name, vm, lines }: Setup): Promise<void> {
  await step(`${name}.messages`, async () => {
    const echo = await startProgram(['echo-messages', PORT.messages], '@listening');
    const socket = await vm.dial(PORT.messages, { type: 'seqpacket' });
    const chunks = socket.iterator({ destroyOnReturn: false })[Symbol.asyncIterator]();
    for (const bytes of [1, 65_537, MIB]) {
      const message = pattern(bytes);
      socket.write(message);
      const { value } = (await chunks.next()) as { value: Buffer };
      assert.ok(
        message.equals(value),
        `${String(bytes)} bytes came back as ${String(value.length)}`,
      );
    }
    socket.end();
    await echo.ended;
    assert.equal((await chunks.next()).done, true);
  });
  await step(`${name}.late-reader`, async () => {
    // 400 KB for a program that has room for 256: what does not fit waits here.
    const late = await startProgram(['late-messages', PORT.late, 1000, 4096], '@listening');
    const socket = await vm.dial(PORT.late, { type: 'seqpacket' });
    for (let i = 0; i < 100; i++) socket.write(pattern(4096));
    socket.end();
    await late.ended;
    assert.match(late.output, /@late=100 whole, 0 torn/);
  });
  await step(`${name}.torn-message`, async () => {
    const large = pattern(200_000); // before the other one's time begins to run
    const late = await startProgram(['late-messages', PORT.late, 5000, 200_000], '@listening');
    const socket = await vm.dial(PORT.late, { type: 'seqpacket' });
    const failed = once(socket, 'error');
    for (let i = 0; i < 3; i++) socket.write(large);
    const [error] = (await failed) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
    await late.ended;
    assert.match(late.output, /@late=[12] whole, 0 torn/);
    assert.match(lines.join('\n'), /AF_VSOCK took a part of a message/);
  });
}

async function main(): Promise<void> {
  const here = await startHere();
  await leadNowhere(here);
  loadModules('vmw_vsock_virtio_transport_common', 'vsock_loopback');
  const peer = await startProgram(['serve', PORT.serve], '@listening');
  const starting = startCommand(); // it takes a while, and there are two processors
  await fromGuest(here);
  await messages(here);
  await step('library.end', here.stop);
  const command = await starting;
  await fromGuest(command);
  await fromHost(command);
  await messages(command);
  await step('command.host-messages', async () => {
    const listener = command.vm.listen(GUEST_PORT.messages, (socket) => socket.pipe(socket));
    await program('messages', LOCAL, LISTEN.messages, 5, MIB);
    listener.close();
  });
  await step('command.end', command.stop);
  peer.child.kill('SIGKILL');
}

await main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
