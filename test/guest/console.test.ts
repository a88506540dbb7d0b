/**
 * `vhost-user console` with a real guest: a shell on /dev/hvc0 that is typed at and pasted into, a
 * size that changes, a second console and a serial port, and a reboot.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { qemuWithPipes } from '../peers/pipes.ts';
import type { TestProgram } from '../peers/process.ts';
import { startConsoleServer, stopServer } from '../peers/servers.ts';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import type { Peers } from '../peers/setup.ts';
import { HostTerminal, paste, setSize, show } from './console-host.ts';
import { runGuest } from './qemu.ts';

const LINES = 10_000;
const ANSWERS = 300;
const PASTE_BYTES = 1024 * 1024;
const PORT = 'org.test.0';
const QUEUES = 8; // port 0, a second console, a serial port, and control

/** One way to put a VMM and our device together. QEMU 10.0 has no device to attach a console by. */
interface Setting {
  readonly name: string;
  readonly memory: 'memfd' | 'shm';
  readonly host: 'native' | 'posix';
  readonly pipes?: boolean;
  /** QEMU makes the socket, and our command connects to it. */
  readonly listen?: boolean;
}

const SETTINGS: readonly Setting[] = [
  { name: 'QEMU 11, native', memory: 'memfd', host: 'native', listen: true },
  {
    name: 'QEMU 11, our device with POSIX facilities only',
    memory: 'shm',
    host: 'posix',
    listen: true,
  },
  {
    name: 'QEMU 11 with pipes and mended, our device with POSIX facilities only',
    memory: 'shm',
    host: 'posix',
    pipes: true,
  },
];

/**
 * The guest's part: a shell on each console, again and again. The host does all else by them, and
 * ends the guest by a file.
 */
const SCRIPT = `
i=0
while [ ! -c /dev/hvc0 ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done
export PS1='guest# ' TERM=dumb
for name in hvc0 hvc1; do
  (while :; do setsid getty -n -l /bin/sh 0 $name dumb; sleep 0.2; done) </dev/null >/dev/null &
done
while [ ! -e /tmp/over ]; do sleep 0.2; done
`;

const search = await ensurePeers();
if (search.peers === undefined) {
  test('a guest uses our console', { skip: missingPeers(search) }, () => undefined);
} else {
  const { peers } = search;
  for (const setting of SETTINGS) {
    test(`a shell is typed at, pasted into, resized, rebooted: ${setting.name}`, (context) =>
      useConsole(context, peers, setting));
  }
}

async function useConsole(context: TestContext, peers: Peers, setting: Setting): Promise<void> {
  const folder = mkdtempSync('/tmp/vhost-user-console-'); // what QEMU 11 sees is /tmp
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const { listen = false } = setting;
  const host = new Host(folder, setting.host, listen);
  context.after(() => host.end());
  await host.start();
  const killed = new AbortController();
  const guest = runGuest({
    peers,
    qemu: setting.pipes === true ? qemuWithPipes(peers.qemu11, folder) : peers.qemu11,
    folder,
    console: { socketPath: host.socketPath, queues: QUEUES, listen },
    reboots: true,
    script: SCRIPT,
    memory: setting.memory,
    timeoutMs: 400_000,
    signal: killed.signal,
  });
  try {
    await drive(context, host);
  } catch (error) {
    killed.abort();
    const { output } = await guest;
    const said = `${String(error)}\nThe guest:\n${output.slice(-2000)}\nThe server:\n${host.log}`;
    throw new Error(said, { cause: error });
  }
  // A guest that reboots boots again when it powers off, too, without ACPI: it is killed then.
  await sleep(500);
  killed.abort();
  await guest;
  await host.stop();
}

async function drive(context: TestContext, host: Host): Promise<void> {
  const took = async (what: string, part: () => Promise<void>): Promise<void> => {
    const start = performance.now();
    await part();
    context.diagnostic(`${what}: ${((performance.now() - start) / 1000).toFixed(1)} s`);
  };
  await took('booted', () => host.shell());
  await took(`${LINES} lines`, () => typeLines(host.terminal));
  await took(`${ANSWERS} questions and answers`, () => converse(host.terminal));
  await took('a paste of 1 MiB', () => paste(host.terminal, PASTE_BYTES));
  await took('1 MiB shown', () => show(host.terminal, PASTE_BYTES));
  await took('sizes', () => resize(host));
  await took('a second console', () => secondConsole(host));
  await took('a serial port', () => serialPort(host));
  await took('rebooted', async () => {
    await host.terminal.type('reboot -f\n');
    await sleep(1000); // no guest is up again so soon
    host.terminal.forget();
    await host.shell();
  });
  assert.match(await host.terminal.run('cat /proc/uptime'), /^\d\d?\./, 'the guest is a new one');
  assert.match(readFileSync(host.logFile, 'latin1'), /guest# /);
  await host.terminal.type('touch /tmp/over\n');
}

/** Lines as a program's input, which come back when it has them all. */
async function typeLines(terminal: HostTerminal): Promise<void> {
  const lines = Array.from({ length: LINES }, (_, i) => `line ${i} ${'x'.repeat(i % 60)}\n`).join(
    '',
  );
  await terminal.type('stty -echo; echo "be""gin"; cat >/tmp/lines; stty -onlcr; cat /tmp/lines\n');
  await terminal.shows(/begin\r?\n/);
  await terminal.type(lines);
  await terminal.type('\x04'); // the end of the input
  expectText((await terminal.take(lines.length)).toString('latin1'), lines);
  await terminal.type('stty sane\n');
  await terminal.run('true');
}

/** Lines with their echo, each answered before the next is read: a conversation. */
async function converse(terminal: HostTerminal): Promise<void> {
  await terminal.type(`n=0; echo "be""gin"; while [ $n -lt ${ANSWERS} ]; do `);
  await terminal.type('read -r line; n=$((n + 1)); echo "$n:$line"; done\n');
  await terminal.shows(/begin\r?\n/);
  for (let i = 1; i <= ANSWERS; i++) {
    await terminal.type(`line ${i}\n`);
    const [text] = await terminal.shows(new RegExp(`\\n${i}:line ${i}\\r\\n`));
    assert.equal(text, `\n${i}:line ${i}\r\n`);
  }
  await terminal.run('true');
}

function expectText(got: string, wanted: string): void {
  if (got === wanted) return;
  const at = Array.from(got).findIndex((each, i) => each !== wanted[i]);
  assert.equal(got.slice(at - 50, at + 100), wanted.slice(at - 50, at + 100), `at byte ${at}`);
}

/** The guest's shell sees each new size, and is told of it by a signal. */
async function resize(host: Host): Promise<void> {
  const { terminal } = host;
  for (const [rows, columns] of [
    [33, 111],
    [50, 132],
  ] as const) {
    // A shell without jobs of their own, so that the signal is for it and not for sleep alone.
    const program =
      "trap 'echo SIZE \\$(stty size); exit' WINCH; echo re''ady; while :; do sleep 0.1; done";
    await terminal.type(`sh -c "${program}"\n`);
    await terminal.shows(/ready\r?\n/);
    host.setSize(rows, columns);
    await terminal.shows(new RegExp(`SIZE ${rows} ${columns}\\r?\\n`));
    assert.equal(await terminal.run('stty size'), `${rows} ${columns}\n`);
  }
}

async function secondConsole(host: Host): Promise<void> {
  const second = new HostTerminal(host.secondLink);
  try {
    await second.type('\n');
    await second.shows(/guest# /);
    assert.equal(await second.run('tty'), '/dev/hvc1\n');
    assert.equal(await host.terminal.run('tty'), '/dev/hvc0\n');
  } finally {
    second.close();
  }
}

async function serialPort(host: Host): Promise<void> {
  const { terminal } = host;
  const found = `grep -l '^${PORT}$' /sys/class/virtio-ports/*/name | cut -d/ -f5`;
  await terminal.run(`port=/dev/$(${found}); test -c $port`);
  const bytes = randomBytes(300_000);
  const sum = createHash('sha256').update(bytes).digest('hex');
  // Open for both, so that what is written while nobody reads yet is not thrown away by the guest.
  await terminal.run(`exec 5<>$port`);
  const socket = await connected(host.portPath);
  try {
    socket.write(bytes);
    assert.equal(
      (await terminal.run(`head -c ${bytes.length} <&5 | tee /tmp/in | sha256sum`)).slice(0, 64),
      sum,
    );
    const pieces: Buffer[] = [];
    socket.on('data', (piece: Buffer) => pieces.push(piece));
    await terminal.run('cat /tmp/in >&5; exec 5>&-');
    const endMs = performance.now() + 30_000;
    while (Buffer.concat(pieces).length < bytes.length && performance.now() < endMs)
      await sleep(20);
    assert.ok(Buffer.concat(pieces).equals(bytes), 'the port gives back what it was given');
  } finally {
    socket.destroy();
  }
}

async function connected(path: string): Promise<Socket> {
  const socket = connect(path);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve).once('error', reject);
  });
  return socket;
}

/** The server, and what is at the other ends of its ports. */
class Host {
  readonly socketPath: string;
  readonly secondLink: string;
  readonly portPath: string;
  readonly logFile: string;
  readonly #link: string;
  readonly #host: 'native' | 'posix';
  readonly #connects: boolean;
  #server: TestProgram | null = null;
  #terminal: HostTerminal | null = null;

  constructor(folder: string, host: 'native' | 'posix', connects: boolean) {
    this.socketPath = join(folder, 'console.sock');
    this.secondLink = join(folder, 'second');
    this.portPath = join(folder, 'port.sock');
    this.logFile = join(folder, 'console-output.log');
    this.#link = join(folder, 'first');
    this.#host = host;
    this.#connects = connects;
  }

  get terminal(): HostTerminal {
    assert.ok(this.#terminal !== null);
    return this.#terminal;
  }

  get log(): string {
    return this.#server?.output ?? '';
  }

  async start(): Promise<void> {
    this.#server = await startConsoleServer(this.socketPath, this.#host, [
      // Debian's 6.1 reads the size as the specification has it; see the page on consoles.
      ...[
        '--resize-order',
        'columns',
        '--pty',
        this.#link,
        '--log',
        this.logFile,
        ...(this.#connects ? ['--connect'] : []),
      ],
      ...['--console', `second=pty:${this.secondLink}`, '--port', `${PORT}=unix:${this.portPath}`],
    ]);
  }

  /** Opens the first console. */
  async open(): Promise<void> {
    this.#terminal?.close();
    const endMs = performance.now() + 10_000;
    while (!existsSync(this.#link) && performance.now() < endMs) await sleep(20);
    this.#terminal = new HostTerminal(this.#link);
  }

  /** Waits for a guest's shell. */
  async shell(): Promise<void> {
    if (this.#terminal === null) await this.open();
    await this.terminal.shows(/guest# /, 120_000);
    await this.terminal.run('true');
  }

  setSize(rows: number, columns: number): void {
    setSize(this.#link, rows, columns);
  }

  async stop(): Promise<void> {
    this.#terminal?.close();
    if (this.#server !== null) await stopServer(this.#server);
  }

  end(): void {
    this.#terminal?.close();
    void this.#server?.stop('SIGKILL');
  }
}
