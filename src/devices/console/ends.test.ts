/**
 * The ends of a console: pseudo terminals, sockets with several clients, streams, log files.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { connect as connectTo } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { after, before, describe, it } from 'node:test';
import { ReadStream } from 'node:tty';
import { startBackend } from '../../backend/index.ts';
import { ConsoleClient } from '../../frontend/index.ts';
import type { ConsoleClientPort } from '../../frontend/index.ts';
import { O, closeFd, openPty, terminalSize } from '../../sys/index.ts';
import { expectNoLeak, holdings } from '../../testing/index.ts';
import { openConsole } from './index.ts';
import type { ConsoleDevice, ConsoleOptions } from './index.ts';

let folder = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-ends-'));
});
after(() => rmSync(folder, { recursive: true }));

let count = 0;
const newPath = (): string => join(folder, `p${++count}`);

interface Served {
  readonly device: ConsoleDevice;
  readonly port: ConsoleClientPort;
  readonly client: ConsoleClient;
  readonly log: string[];
}

async function withConsole(
  options: ConsoleOptions,
  body: (served: Served) => Promise<void>,
): Promise<void> {
  const held = holdings();
  const path = newPath();
  const device = await openConsole(options);
  const log: string[] = [];
  const backend = await startBackend(
    device,
    { kind: 'listen', path },
    { log: (level, text) => log.push(`${level} ${text}`) },
  );
  try {
    const client = await ConsoleClient.connect(path);
    try {
      await body({ device, client, port: await client.port(0), log });
    } finally {
      await client.close();
    }
  } finally {
    await backend.close();
  }
  await expectNoLeak(held);
}

async function until(what: string, happened: () => boolean, limitMs = 30_000): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!happened()) {
    assert.ok(performance.now() < endMs, `too late: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function collect(stream: NodeJS.ReadableStream): () => Buffer {
  const pieces: Buffer[] = [];
  stream.on('data', (piece: Buffer) => pieces.push(piece));
  return () => Buffer.concat(pieces);
}

async function connected(where: string | { port: number }): Promise<Socket> {
  const socket = typeof where === 'string' ? connectTo(where) : connectTo(where.port, '127.0.0.1');
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve).once('error', reject);
  });
  return socket;
}

/** Opens a pseudo terminal as a terminal program does. */
function openTerminal(path: string): ReadStream {
  return streamOf(openSync(path, O.O_RDWR | O.O_NOCTTY));
}

/** A stream over a terminal's fd, which is closed: libuv has opened the terminal once more. */
function streamOf(fd: number): ReadStream {
  const stream = new ReadStream(fd);
  closeFd(fd);
  return stream;
}

describe('a pseudo terminal', () => {
  it('carries a megabyte each way, is left and opened again, and its link goes with it', async () => {
    const link = newPath();
    symlinkSync('/nowhere', link); // of a process that was killed
    let pty = '';
    await withConsole({ end: { kind: 'pty', link } }, async ({ device, port, log }) => {
      pty = readlinkSync(link);
      assert.equal(device.describe()[0], `console: pty ${pty}, ${link} leads to it`);
      for (let i = 0; i < 2; i++) {
        const terminal = openTerminal(link);
        await until('it is seen', () => log.at(-1) === `info ${pty} was opened`);
        const shown = collect(terminal);
        const output = randomBytes(1024 * 1024);
        port.write(output);
        await until('the output', () => shown().length >= output.length);
        assert.ok(shown().equals(output));

        const typed = collect(port);
        const input = randomBytes(1024 * 1024);
        terminal.write(input);
        await until('the input', () => typed().length >= input.length);
        assert.ok(typed().equals(input));
        port.removeAllListeners('data');
        terminal.destroy();
        await until('the end is seen', () => log.at(-1) === `info ${pty} was closed`);
      }
    });
    assert.equal(lstatSync(link, { throwIfNoEntry: false }), undefined);
    assert.ok(!existsSync(pty));
  });

  it('keeps what the guest said while nobody had it open', async () => {
    const link = newPath();
    await withConsole({ end: { kind: 'pty', link } }, async ({ port }) => {
      port.write('login: ');
      await pause(50);
      const terminal = openTerminal(link);
      const shown = collect(terminal);
      await until('it is shown', () => shown().length > 0);
      assert.equal(shown().toString(), 'login: ');
      terminal.destroy();
    });
  });

  it('tells the guest its size, and each new one', async () => {
    const link = newPath();
    await withConsole({ end: { kind: 'pty', link } }, async ({ port }) => {
      const terminal = openTerminal(link);
      for (const [rows, columns] of [
        [40, 100],
        [50, 132],
      ]) {
        const size = ['rows', String(rows), 'cols', String(columns)];
        const fd = openSync(link, O.O_RDWR | O.O_NOCTTY);
        execFileSync('stty', size, { stdio: [fd, 'pipe', 'pipe'] });
        closeFd(fd);
        await until('the size', () => port.columns === columns && port.rows === rows);
      }
      terminal.destroy();
    });
  });

  it('makes its guest wait while the program that has it open reads nothing', async () => {
    const link = newPath();
    await withConsole({ end: { kind: 'pty', link } }, async ({ port, log }) => {
      const fd = openSync(link, O.O_RDWR | O.O_NOCTTY);
      await until('it is seen', () => log.length > 0);
      const output = randomBytes(1024 * 1024);
      port.write(output);
      await pause(200);
      assert.ok(port.writableLength > 512 * 1024, 'most of it waits in the guest');
      const terminal = streamOf(fd);
      const shown = collect(terminal);
      await until('the output', () => shown().length >= output.length);
      assert.ok(shown().equals(output));
      terminal.destroy();
    });
  });

  it('is left and opened again while the guest takes no input, of which none is lost', async () => {
    const link = newPath();
    await withConsole({ end: { kind: 'pty', link } }, async ({ port, log }) => {
      const pty = readlinkSync(link);
      const fd = openSync(link, O.O_RDWR | O.O_NOCTTY | O.O_NONBLOCK);
      await until('it is seen', () => log.at(-1) === `info ${pty} was opened`);
      let typed = 0;
      for (let full = 0; full < 20;) {
        try {
          typed += writeSync(fd, Buffer.alloc(4096, 'a'));
          full = 0;
        } catch {
          full++; // for the moment, or since the guest takes nothing
          await pause(10);
        }
      }
      closeFd(fd);
      await until('the end is seen', () => log.at(-1) === `info ${pty} was closed`);
      port.write('login: ');
      const terminal = openTerminal(link);
      const shown = collect(terminal);
      await until('the next one is seen', () => log.at(-1) === `info ${pty} was opened`);
      await until('the output', () => shown().toString() === 'login: ');
      terminal.write('b');
      const got = collect(port);
      await until('the input', () => got().length > typed);
      assert.deepEqual(
        [got().length, got().lastIndexOf('a'), got().indexOf('b')],
        [...[typed + 1, typed - 1, typed]],
      );
      terminal.destroy();
    });
  });

  it('cannot have a link in the place of a file', async () => {
    const link = newPath();
    writeFileSync(link, 'precious');
    await assert.rejects(openConsole({ end: { kind: 'pty', link } }), {
      code: 'ERR_VHU_CONSOLE_END',
      message: /^pty: EEXIST/,
    });
    assert.equal(readFileSync(link, 'utf8'), 'precious');
  });
});

describe('a socket', () => {
  for (const kind of ['unix', 'tcp'] as const) {
    it(`of ${kind} shows all to each of several clients, and takes what each types`, async () => {
      const path = newPath();
      const end = kind === 'unix' ? ({ kind, path, mode: 0o600 } as const) : { kind, port: 0 };
      await withConsole({ end }, async ({ device, port, log }) => {
        const said = /:(\d+)$/.exec(device.describe()[0] ?? '')?.[1];
        if (kind === 'unix') assert.equal(statSync(path).mode & 0o777, 0o600);
        const where = kind === 'unix' ? path : { port: Number(said) };
        const clients = [await connected(where), await connected(where), await connected(where)];
        await until('all are seen', () => log.some((line) => line.endsWith('3 are there')));
        const shown = clients.map(collect);
        const output = randomBytes(256 * 1024);
        port.write(output);
        await until('the output', () => shown.every((each) => each().length >= output.length));
        for (const each of shown) assert.ok(each().equals(output));
        const typed = collect(port);
        for (const [i, client] of clients.entries()) {
          client.write(`client ${i}\n`);
          await until('the input', () => typed().toString().endsWith(`client ${i}\n`));
        }
        clients[1]?.destroy();
        await until('one is gone', () => log.some((line) => /has gone, 2 are there/.test(line)));
        port.write('still here');
        await until('more output', () => shown[2]?.().length === output.length + 10);
        for (const client of clients) client.destroy();
      });
      if (kind === 'unix') assert.ok(!existsSync(path));
    });
  }

  it('goes at the pace of its slowest client, and loses nothing', async () => {
    const path = newPath();
    await withConsole({ end: { kind: 'unix', path } }, async ({ port, log }) => {
      const slow = await connected(path);
      slow.pause();
      const quick = await connected(path);
      await until('both are seen', () => log.some((line) => line.endsWith('2 are there')));
      const output = randomBytes(4 * 1024 * 1024);
      const shown = collect(quick);
      port.write(output);
      await pause(300);
      assert.ok(shown().length < 2 * 1024 * 1024, `${shown().length} bytes`);
      const late = collect(slow);
      slow.resume();
      await until('all of it', () => late().length + shown().length >= 2 * output.length);
      assert.ok(late().equals(output));
      assert.ok(shown().equals(output));
      slow.destroy();
      quick.destroy();
    });
  });

  it('frees the guest when the client goes that it waits for', async () => {
    const path = newPath();
    await withConsole({ end: { kind: 'unix', path } }, async ({ port, log }) => {
      const slow = await connected(path);
      slow.pause();
      await until('it is seen', () => log.length > 0);
      port.write(randomBytes(4 * 1024 * 1024));
      await pause(200);
      assert.ok(port.writableLength > 0);
      slow.destroy();
      await until('the guest goes on', () => port.writableLength === 0);
    });
  });

  it('has a limit of clients', async () => {
    const path = newPath();
    const end = { kind: 'unix', path, clientsMax: 1 } as const;
    await withConsole({ end }, async ({ log }) => {
      const first = await connected(path);
      await until('it is seen', () => log.length > 0);
      const second = await connected(path);
      await new Promise((resolve) => second.once('close', resolve));
      assert.match(log.at(-1) ?? '', /^warn .*: 1 clients are there already$/);
      first.destroy();
    });
  });

  it('that cannot be listened on says where and why', async () => {
    const path = newPath();
    await withConsole({ end: { kind: 'unix', path } }, async () => {
      const again = openConsole({ end: { kind: 'unix', path } });
      await assert.rejects(again, { code: 'ERR_VHU_SOCKET_IN_USE' });
    });
    const end = { kind: 'tcp', host: '192.0.2.1', port: 1 } as const;
    await assert.rejects(openConsole({ end }), {
      code: 'ERR_VHU_CONSOLE_END',
      message: /^tcp 192\.0\.2\.1:1: .*EADDRNOTAVAIL/,
    });
  });
});

describe('two streams', () => {
  it('carry both ways, and their end is told', async () => {
    const input = new PassThrough();
    const output = new PassThrough({ highWaterMark: 1000 });
    await withConsole({ end: { kind: 'streams', input, output } }, async ({ port, log }) => {
      const typed = collect(port);
      input.write('typed');
      await until('the input', () => typed().toString() === 'typed');
      const shown = collect(output);
      const bytes = randomBytes(100_000);
      port.write(bytes);
      await until('the output', () => shown().length >= bytes.length);
      assert.ok(shown().equals(bytes));
      output.destroy(new Error('gone'));
      await until('it is told', () => /nobody takes output any more: gone/.test(log.join()));
      port.write(bytes); // is kept, and holds nobody up
      await until('the guest goes on', () => port.writableLength === 0);
    });
  });
});

describe('a terminal', () => {
  it('is raw while a guest is there, tells its size, and leaves by its escape key', async () => {
    const pty = openPty();
    const master = new ReadStream(pty.fd);
    const fd = openSync(pty.path, O.O_RDWR | O.O_NOCTTY);
    const mode = (): string =>
      execFileSync('stty', ['-a'], { stdio: [fd, 'pipe', 'pipe'] }).toString();
    execFileSync('stty', ['rows', '30', 'cols', '90'], { stdio: [fd, 'pipe', 'pipe'] });
    assert.deepEqual(terminalSize(fd), { columns: 90, rows: 30 });
    const cooked = mode();
    const terminal = new ReadStream(fd);
    let left = 0;
    const end = { kind: 'terminal', input: terminal, output: terminal, fd } as const;
    const shown = collect(master);
    await withConsole({ end, onLeave: () => left++ }, async ({ port, client, device }) => {
      assert.equal(device.describe()[0], 'console: this terminal (Ctrl-] leaves)');
      assert.match(mode(), /-icanon/);
      assert.match(mode(), /-opost/);
      await until('the size', () => port.columns === 90 && port.rows === 30);
      const typed = collect(port);
      master.write('\x03\x1a\r'); // Ctrl-C, Ctrl-Z and Enter are the guest's
      await until('the input', () => typed().length === 3);
      port.write('a\nb');
      await until('the output', () => shown().toString() === 'a\nb');
      master.write('x\x1dy');
      await until('it is left', () => left === 1);
      await until('what was typed before', () => typed().toString() === '\x03\x1a\rx');
      await client.close();
      await until('it is as before', () => mode() === cooked);
    });
    assert.equal(mode(), cooked);
    terminal.destroy();
    master.destroy();
    closeFd(fd);
  });
});

describe('a log file', () => {
  it('has all output, whoever looks, and is rotated', async () => {
    const path = newPath();
    writeFileSync(path, 'from before\n');
    const options = { log: { path, maxBytes: 100_000, keep: 3 }, unattended: 'discard' } as const;
    const output = randomBytes(250_000);
    await withConsole(options, async ({ port, device }) => {
      assert.equal(device.describe()[0], `console: nowhere, log ${path}`);
      port.write(output);
      await until('all is taken', () => port.writableLength === 0);
    });
    const parts = [3, 2, 1].map((i) => `${path}.${i}`).filter((each) => existsSync(each));
    const all = Buffer.concat([...parts, path].map((each) => readFileSync(each)));
    assert.equal(all.subarray(0, 12).toString(), 'from before\n');
    assert.ok(all.subarray(12).equals(output));
    assert.ok(parts.length >= 1);
    for (const part of parts) assert.ok(statSync(part).size < 100_000 + 65_536 + 12);
  });

  it('keeps so many older ones and no more', async () => {
    const path = newPath();
    await withConsole({ log: { path, maxBytes: 1000, keep: 2 } }, async ({ port }) => {
      for (let i = 0; i < 10; i++) {
        port.write(Buffer.alloc(1000, i));
        const isThere = (): boolean =>
          existsSync(`${path}.1`) && readFileSync(`${path}.1`)[0] === i;
        await until('it is rotated', isThere);
      }
    });
    assert.deepEqual(
      [1, 2, 3].map((i) => existsSync(`${path}.${i}`)),
      [true, true, false],
    );
    assert.equal(readFileSync(`${path}.1`)[0], 9);
  });

  it('is opened anew after another program has moved it', async () => {
    const path = newPath();
    await withConsole({ log: { path } }, async ({ port, device }) => {
      port.write('one\n');
      await until('it is written', () => readFileSync(path, 'utf8') === 'one\n');
      renameSync(path, `${path}.moved`);
      device.reopenLogs();
      port.write('two\n');
      await until('the new one', () => existsSync(path) && readFileSync(path, 'utf8') === 'two\n');
      appendFileSync(`${path}.moved`, '');
    });
  });

  it('that cannot be opened is no console, and one that cannot be written holds nobody up', async () => {
    await assert.rejects(openConsole({ log: { path: join(folder, 'no', 'such') } }), {
      code: 'ERR_VHU_CONSOLE_LOG',
    });
    if (!existsSync('/dev/full')) return;
    await withConsole({ log: { path: '/dev/full' } }, async ({ port, log }) => {
      port.write(randomBytes(1_000_000));
      await until('the guest goes on', () => port.writableLength === 0);
      assert.equal(log.filter((line) => /^error log \/dev\/full: ENOSPC/.test(line)).length, 1);
    });
  });
});
