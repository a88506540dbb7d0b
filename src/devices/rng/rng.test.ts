/**
 * The entropy device as a driver that behaves sees it, through a real socket: what the bytes are
 * like, where they come from, and how many there are in which time.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { COUNTER, startBackend } from '../../backend/index.ts';
import type { Backend } from '../../backend/index.ts';
import { RngClient } from '../../frontend/index.ts';
import type { RngClientOptions } from '../../frontend/index.ts';
import { virtioFeatures } from '../../protocol/index.ts';
import { expectNoLeak, holdings, randomnessFaults } from '../../testing/index.ts';
import { openRng } from './index.ts';
import type { RngOptions } from './index.ts';

const MIB = 1024 * 1024;

interface Served {
  readonly client: RngClient;
  readonly backend: Backend;
  readonly logs: string[];
}

/** Serves a device and connects to it; everything is taken away afterwards, and counted. */
async function withRng(
  options: RngOptions,
  body: (served: Served) => Promise<void>,
  clientOptions: RngClientOptions = {},
): Promise<void> {
  const before = holdings();
  const folder = mkdtempSync(join(tmpdir(), 'vhu-rng-'));
  const path = join(folder, 's');
  const logs: string[] = [];
  try {
    const backend = await startBackend(
      openRng(options),
      { kind: 'listen', path },
      { log: (_level, text) => logs.push(text), refused: (error) => logs.push(error.message) },
    );
    try {
      const client = await RngClient.connect(path, clientOptions);
      try {
        await body({ client, backend, logs });
      } finally {
        await client.close();
      }
    } finally {
      await backend.close();
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  await expectNoLeak(before);
}

/** One request at a time: bytes have an order then. */
const IN_ORDER: RngClientOptions = { queueSize: 1 };

/** A folder that is gone after the test. */
async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'vhu-rng-file-'));
  try {
    await body(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function until(happened: () => boolean): Promise<void> {
  for (let i = 0; i < 3000 && !happened(); i++) await sleep(10);
  assert.ok(happened());
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Whether a promise is settled within a time. */
async function settles(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const late = sleep(ms).then(() => false);
  return Promise.race([promise.then(() => true), late]);
}

describe('random bytes', () => {
  const ways: Readonly<Record<string, RngClientOptions>> = {
    'requests of 64 bytes, as Linux makes them': { requestBytes: 64 },
    'requests of odd lengths': { requestBytes: 4099 },
    'requests longer than an answer': { requestBytes: 300_000, queueSize: 4 },
    'a ring without EVENT_IDX': { ringFeatures: virtioFeatures('VERSION_1') },
    'a ring of one entry': { queueSize: 1 },
  };
  for (const [name, clientOptions] of Object.entries(ways)) {
    it(`look random, with ${name}`, async () => {
      const body = async ({ client, backend }: Served): Promise<void> => {
        const bytes = await client.read(MIB);
        assert.deepEqual(randomnessFaults(bytes), []);
        assert.equal(backend.counter(COUNTER.bytesRead), MIB, 'nothing is counted twice');
      };
      await withRng({}, body, clientOptions);
    });
  }

  it('look random over several MiB that many readers take at once', async () => {
    await withRng({}, async ({ client }) => {
      const parts = await Promise.all(Array.from({ length: 64 }, () => client.read(MIB / 8)));
      assert.deepEqual(randomnessFaults(Buffer.concat(parts)), []);
    });
  });

  it('of /dev/urandom look so, too', async () => {
    await withRng({ file: '/dev/urandom' }, async ({ client }) => {
      assert.deepEqual(randomnessFaults(await client.read(4 * MIB)), []);
    });
  });

  it('of a file that is biased do not: what is in the file is what the guest gets', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'biased');
      // Of each byte and another one only the bits that both have: a quarter of them is set.
      const other = randomBytes(MIB);
      const content = randomBytes(MIB).map((byte, i) => byte & (other[i] ?? 0));
      writeFileSync(file, content);
      const body = async ({ client }: Served): Promise<void> => {
        const bytes = await client.read(MIB);
        assert.ok(Buffer.from(bytes).equals(content));
        assert.match(randomnessFaults(bytes).join('\n'), /bits that are set/);
      };
      await withRng({ file }, body, IN_ORDER);
    });
  });

  it('are other ones for each guest, and after a front-end has gone', async () => {
    const seen = new Set<string>();
    for (let i = 0; i < 3; i++) {
      await withRng({}, async ({ client }) => {
        for (let j = 0; j < 20; j++) seen.add(Buffer.from(await client.read(16)).toString('hex'));
      });
    }
    assert.equal(seen.size, 60);
  });
});

describe('a file of random bytes', () => {
  it('is given out from its start to its end; then the guest waits until there is more', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'bytes');
      const content = randomBytes(10_000);
      writeFileSync(file, content);
      const body = async ({ client, logs, backend }: Served): Promise<void> => {
        assert.ok(Buffer.from(await client.read(10_000)).equals(content));
        const more = client.read(5);
        assert.ok(!(await settles(more, 200)), 'nothing is made up');
        assert.deepEqual(logs, [`${file} has no more bytes: the guest waits until it has`]);
        assert.equal(backend.counter(COUNTER.ioErrors), 0);
        appendFileSync(file, 'hello');
        assert.equal(Buffer.from(await more).toString(), 'hello');
      };
      await withRng({ file }, body, IN_ORDER);
    });
  });

  it('that two devices of a process share gives each byte to one of them', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'bytes');
      const words = Uint32Array.from({ length: 16_384 }, (_, i) => i);
      writeFileSync(file, new Uint8Array(words.buffer));
      const half = words.byteLength / 2;
      // Neither reads ahead what the other one needs.
      const limit = { maxBytes: half, periodMs: 60_000 };
      await withRng({ file, ...limit }, async ({ client }) => {
        await withRng({ file: `${folder}/./bytes`, ...limit }, async ({ client: other }) => {
          const parts = await Promise.all([client.read(half), other.read(half)]);
          const all = parts.flatMap((part) => [...new Uint32Array(part.buffer)]);
          all.sort((a, b) => a - b);
          assert.deepEqual(Uint32Array.from(all), words);
        });
      });
    });
  });

  it('may be a FIFO whose writers come and go', async (test) => {
    await inFolder(async (folder) => {
      const file = join(folder, 'fifo');
      try {
        execFileSync('mkfifo', [file]);
      } catch {
        test.skip('there is no mkfifo here');
        return;
      }
      const body = async ({ client, backend, logs }: Served): Promise<void> => {
        const bytes = client.read(6);
        assert.ok(!(await settles(bytes, 100)), 'nobody writes');
        for (const [i, text] of ['abc', 'def'].entries()) {
          const fd = openSync(file, 'w');
          writeSync(fd, text);
          await until(() => backend.counter(COUNTER.bytesRead) === 3 * (i + 1));
          closeSync(fd);
        }
        assert.equal(Buffer.from(await bytes).toString(), 'abcdef');
        await until(() => /fifo has no more bytes/.test(logs.join('\n')));
      };
      await withRng({ file }, body, IN_ORDER);
    });
  });

  it('that cannot be read is told of, and the guest waits', async (test) => {
    // What Linux tells of a process can be read for as long as there is that process.
    const child = spawn('sleep', ['100']);
    const file = `/proc/${String(child.pid)}/status`;
    if (!existsSync(file)) {
      child.kill();
      test.skip('there is no /proc here');
      return;
    }
    await withRng({ file }, async ({ client, backend, logs }) => {
      child.kill();
      await once(child, 'exit');
      const bytes = client.read(64);
      bytes.catch(() => undefined); // by `close`
      await until(() => logs.length > 1);
      assert.match(logs[0] ?? '', /^reading \/proc\/\d+\/status: ESRCH.*the guest waits/);
      assert.ok(backend.counter(COUNTER.ioErrors) > 0);
      assert.ok(backend.connected);
    });
  });

  it('that is not there, empty, or a folder is refused in words, and leaves nothing open', async () => {
    await inFolder((folder) => {
      const empty = join(folder, 'empty');
      writeFileSync(empty, '');
      mkdirSync(join(folder, 'folder'));
      const cases = [
        [join(folder, 'none'), 'ERR_VHU_OPEN', /none cannot be opened: ENOENT/],
        [empty, 'ERR_VHU_RNG_FILE', /empty: the file is empty/],
        [join(folder, 'folder'), 'ERR_VHU_RNG_FILE', /neither a file nor a character device/],
      ] as const;
      for (const [file, code, message] of cases) {
        const before = holdings();
        assert.throws(() => openRng({ file }), { code, message });
        assert.equal(holdings().fds, before.fds);
      }
      return Promise.resolve();
    });
  });
});

describe('a limit', () => {
  it('lets through what it says in each period, and holds back the rest', async () => {
    await withRng({ maxBytes: 1000, periodMs: 100 }, async ({ client, backend }) => {
      const begin = performance.now();
      const bytes = client.read(6000);
      const samples: { readonly ms: number; readonly bytes: number }[] = [];
      for (let done = false; !done;) {
        done = await settles(bytes, 10);
        samples.push({ ms: performance.now() - begin, bytes: backend.counter(COUNTER.bytesRead) });
      }
      const tookMs = performance.now() - begin;
      assert.ok(tookMs >= 500, `six periods' bytes came in ${String(tookMs)} ms`);
      for (const { ms, bytes: count } of samples) {
        const most = 1000 * (1 + Math.floor((ms + 2) / 100)); // timers are of whole milliseconds
        assert.ok(count <= most, `${String(count)} bytes after ${String(ms)} ms`);
      }
      assert.equal(samples.at(-1)?.bytes, 6000);
      assert.equal((await bytes).length, 6000);
    });
    await withRng({ maxBytes: 1000, periodMs: 600_000 }, async ({ client }) => {
      assert.equal((await client.read(1000)).length, 1000, 'the first period begins at once');
    });
  });

  it('that is never reached is never felt', async () => {
    await withRng({ maxBytes: 4 * MIB, periodMs: 86_400_000 }, async ({ client }) => {
      assert.deepEqual(randomnessFaults(await client.read(2 * MIB)), []);
    });
  });

  it('is for what is read from the file, too: it may be there to spare a device', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'bytes');
      writeFileSync(file, randomBytes(5000));
      await withRng({ file, maxBytes: 100, periodMs: 60_000 }, async ({ client }) => {
        assert.equal((await client.read(100)).length, 100);
        const more = client.read(1);
        more.catch(() => undefined); // by `close`
        assert.ok(!(await settles(more, 100)));
        // Another device of this process has the same position in the file.
        await withRng({ file }, async ({ client: other }) => {
          const rest = other.read(4900);
          rest.catch(() => undefined); // by `close`, when some of it is gone
          assert.ok(await settles(rest, 5000), 'the others are still there');
        });
      });
    });
  });

  it('outside of what is allowed is refused with the limits', () => {
    const wrong = { code: 'ERR_VHU_OPTION' };
    assert.throws(() => openRng({ maxBytes: 0 }), { ...wrong, message: /max-bytes is 0: .* 1 to/ });
    assert.throws(() => openRng({ maxBytes: 1.5 }), wrong);
    assert.throws(() => openRng({ periodMs: 0 }), { ...wrong, message: /period is 0/ });
    assert.throws(() => openRng({ periodMs: 86_400_001 }), { ...wrong, message: /86400000/ });
    assert.throws(() => openRng({ file: '' }), wrong);
  });
});
