/**
 * Which writes of an image go to io_uring: none that the page cache takes at once, on a file system
 * that can tell of a write whether it would wait and on one that cannot.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { fstatSync, readFileSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import { ERRNO } from '../../../sys/index.ts';
import type { BriskWriter, Uring } from '../../../sys/index.ts';
import { openScratchFile, scriptedWriter } from '../../../testing/index.ts';
import { CachedEngine } from './cached.ts';
import { PENDING } from './engine.ts';

const EAGAIN = -(ERRNO.EAGAIN as number);
const ENOSPC = -(ERRNO.ENOSPC as number);

const file = openScratchFile();
const { fd, iov, blockBytes: BLOCK, tellsOfWrites } = file;
after(() => file.close());

/** An engine on a ring that counts what it is given. */
function engineOf(brisk?: BriskWriter): { engine: CachedEngine; ring: { writes: number } } {
  const ring = { writes: 0 };
  const prepWritev = (): boolean => {
    ring.writes++;
    return true;
  };
  const uring = { prepWritev } as unknown as Uring;
  return {
    engine: new CachedEngine({ fd, isDevice: false, inMemory: false }, uring, 0, brisk),
    ring,
  };
}

const write = (engine: CachedEngine, offset: number): number => engine.write(0, iov, 1, offset);

describe('the writes of an image that the page cache holds', () => {
  it('are made at once, whether its file system can tell or not', () => {
    const { engine, ring } = engineOf();
    for (let i = 0; i < 100; i++) assert.equal(write(engine, i * BLOCK), BLOCK);
    assert.equal(ring.writes, 0);
    assert.equal(fstatSync(fd).size, 100 * BLOCK);
    assert.ok(readFileSync(file.path).every((byte) => byte === 0x5a));
  });

  it('go to io_uring while they would keep the thread waiting, each of them', (t) => {
    if (tellsOfWrites !== undefined) {
      t.skip(tellsOfWrites);
      return;
    }
    const { engine, ring } = engineOf(scriptedWriter([BLOCK, EAGAIN, EAGAIN, EAGAIN, BLOCK]));
    const answers = [0, 1, 2, 3, 4].map((i) => write(engine, i * BLOCK));
    assert.deepEqual(answers, [BLOCK, PENDING, PENDING, PENDING, BLOCK]);
    assert.equal(ring.writes, 3);
  });

  it('fail at once, and are not tried a second time, when the disk is full', (t) => {
    if (tellsOfWrites !== undefined) {
      t.skip(tellsOfWrites);
      return;
    }
    const { engine, ring } = engineOf(scriptedWriter([ENOSPC]));
    assert.equal(write(engine, 0), ENOSPC);
    assert.equal(ring.writes, 0);
  });
});
