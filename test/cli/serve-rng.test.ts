/**
 * Tests of `vhost-user rng` while it serves: sockets in numbers, the command lines of
 * vhost-device-rng, configurations, signals, and the log.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { RngClient } from '../../src/frontend/index.ts';
import { randomnessFaults } from '../../src/testing/index.ts';
import { PROGRAM_FILE, RunningProgram, runProgram, withProgram } from '../support/program.ts';

/** How long an end may take on a machine that is busy with other tests. */
const SLOW_MS = 5000;

let folder = '';
let sockets = 0;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-serve-rng-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

function newSocketPath(): string {
  sockets++;
  return join(folder, `${sockets}.sock`);
}

async function withClient(path: string, body: (client: RngClient) => Promise<void>): Promise<void> {
  const client = await RngClient.connect(path);
  try {
    await body(client);
  } finally {
    await client.close();
  }
}

/** The texts of a JSON log. */
function textsOf(log: string): string[] {
  const lines = log.trimEnd().split('\n');
  return lines.map((line) => (JSON.parse(line) as { readonly msg: string }).msg);
}

/** Waits until the log has so many lines of that kind. */
async function saysTimes(program: RunningProgram, count: number, event: string): Promise<void> {
  await program.says(new RegExp(`(?:"event":"${event}"[^]*){${count}}`));
}

test('random bytes are served to one client after the other, and a signal ends it fast', async () => {
  const path = newSocketPath();
  await withProgram(['rng', '--socket-path', path], {}, async (program) => {
    await program.says(/"event":"listening"/);
    for (let i = 0; i < 2; i++) {
      await withClient(path, async (client) => {
        assert.deepEqual(randomnessFaults(await client.read(1_000_000)), []);
      });
    }
    const { code, ms, stderr } = await program.end();
    assert.equal(code, 0);
    assert.ok(ms < SLOW_MS, `${ms} ms`);
    assert.ok(!existsSync(path), 'the socket is removed');
    const [first] = textsOf(stderr);
    assert.equal(first, `listening on ${path}: this host's generator, without a limit`);
  });
});

test('several sockets have numbers, and share the file and the limit', async () => {
  const path = newSocketPath();
  const file = join(folder, 'words');
  const words = Uint32Array.from({ length: 3000 }, (_, i) => i);
  writeFileSync(file, new Uint8Array(words.buffer));
  const limit = ['-m', '12000', '-p', '60000'];
  await withProgram(['rng', '-s', path, '-c', '3', '-f', file, ...limit], {}, async (program) => {
    await saysTimes(program, 3, 'listening');
    const parts: Uint8Array[] = [];
    for (const i of [0, 1, 2]) {
      await withClient(`${path}${i}`, async (client) => {
        parts.push(await client.read(4000));
        const more = client.read(1).then(
          () => 'came',
          () => 'never came',
        );
        await client.close();
        assert.equal(await more, 'never came');
      });
    }
    const all = [...new Uint32Array(Uint8Array.from(Buffer.concat(parts)).buffer)];
    assert.deepEqual(
      all.toSorted((a, b) => a - b),
      [...words],
    );
    const { code, stderr } = await program.end();
    assert.equal(code, 0);
    const once = `${file}, each byte of which is given once, at most 3.9 KiB in 60000 ms`;
    assert.equal(textsOf(stderr)[2], `listening on ${path}2: ${once}`);
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.includes('.sock')),
      [],
    );
  });
});

test('under its name the command lines of vhost-device-rng mean what they mean there', async () => {
  const file = join(folder, 'vhost-device-rng');
  symlinkSync(PROGRAM_FILE, file);
  const cases = [
    [[], ['0']],
    [
      ['-c', '2'],
      ['0', '1'],
    ],
    [
      ['--socket-count=2', '--rng-source', '/dev/urandom'],
      ['0', '1'],
    ],
  ] as const;
  for (const [words, suffixes] of cases) {
    const path = newSocketPath();
    const args = [`--socket-path=${path}`, '--max-bytes', '4096', '-p', '1000', ...words];
    await withProgram(args, { file }, async (program) => {
      await saysTimes(program, suffixes.length, 'listening');
      for (const suffix of suffixes) {
        await withClient(path + suffix, async (client) => {
          assert.equal((await client.read(100)).length, 100);
        });
      }
      assert.ok(!existsSync(path));
      assert.equal((await program.end()).code, 0);
    });
  }
});

test('a configuration has entropy devices beside each other', async () => {
  const config = join(folder, 'vms.yaml');
  writeFileSync(join(folder, 'bytes'), randomBytes(1000));
  writeFileSync(
    config,
    'devices:\n' +
      '  - {type: rng, socket-path: host.sock}\n' +
      '  - {type: rng, name: file, file: bytes, max-bytes: 1K, period: 100, socket-path: f.sock}\n',
  );
  await withProgram(['run', config], {}, async (program) => {
    await saysTimes(program, 2, 'listening');
    for (const name of ['host.sock', 'f.sock']) {
      await withClient(join(folder, name), async (client) => {
        assert.equal((await client.read(900)).length, 900);
      });
    }
    const { code, stderr } = await program.end();
    assert.equal(code, 0);
    assert.match(textsOf(stderr)[1] ?? '', /bytes, each .* at most 1\.0 KiB in 100 ms$/);
  });
});

test('a limit of 64 bits is taken, and one beyond is no size', async () => {
  const path = newSocketPath();
  const limit = ['--max-bytes', '18446744073709551615', '--period', '1'];
  await withProgram(['rng', '-s', path, ...limit], {}, async (program) => {
    await program.says(/"event":"listening"/);
    await withClient(path, async (client) => {
      assert.equal((await client.read(4096)).length, 4096);
    });
  });
  for (const [size, text] of [
    ['18446744073709551616', /--max-bytes.*A number of bytes below 2\^64, or a size such as 4K/],
    ['16777216T', /--max-bytes.*A number of bytes below 2\^64, or a size such as 4K/],
    ['0', /--max-bytes.*Nothing would ever come/],
  ] as const) {
    const { code, stderr } = await runProgram(['rng', '-s', path, '--max-bytes', size]);
    assert.equal(code, 2);
    assert.match(stderr, text);
  }
});

test('a period that limits nothing is remarked on', async () => {
  const path = newSocketPath();
  await withProgram(['rng', '-s', path, '-p', '1000'], {}, async (program) => {
    await program.says(/"event":"listening"/);
    const { stderr } = await program.end();
    assert.match(textsOf(stderr)[0] ?? '', /a period without --max-bytes limits nothing/);
  });
});

test('a guest that waits for bytes, of a period or a FIFO, does not delay the end', async (t) => {
  const fifo = join(folder, 'fifo');
  try {
    execFileSync('mkfifo', [fifo]);
  } catch {
    t.skip('there is no mkfifo here');
    return;
  }
  for (const source of [
    ['--max-bytes', '1'],
    ['--file', fifo],
  ]) {
    const path = newSocketPath();
    await withProgram(['rng', '-s', path, ...source], {}, async (program) => {
      await program.says(/"event":"listening"/);
      await withClient(path, async (client) => {
        const gone = client.read(10).catch(String);
        await new Promise((resolve) => setTimeout(resolve, 100));
        const { code, ms } = await program.end();
        assert.equal(code, 0);
        assert.ok(ms < SLOW_MS, `${ms} ms`);
        assert.match(String(await gone), /the back-end ended the connection/);
      });
    });
  }
});
