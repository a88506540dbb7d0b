/**
 * Which writes of an image go to io_uring: none that the page cache takes at once, on a file system
 * that can tell of a write whether it would wait and on one that cannot.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { BriskWriter, ERRNO, mapAnonymous, pwritevCached, viewMemory } from '../../../sys/index.ts';
import type { Mapping, Uring } from '../../../sys/index.ts';
import { CachedEngine } from './cached.ts';
import { PENDING } from './engine.ts';

const BLOCK = 4096;
const EAGAIN = -(ERRNO.EAGAIN as number);
const ENOSPC = -(ERRNO.ENOSPC as number);
const EOPNOTSUPP = -(ERRNO.EOPNOTSUPP as number);
const CAN_TELL = 'the file system of the temporary folder can tell of writes';

let folder = '';
let fd = -1;
let memory: Mapping;
/** Why this file system is none that refuses RWF_NOWAIT of writes; undefined when it is one. */
let otherwise: string | undefined;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-cached-'));
  fd = openSync(join(folder, 'image'), 'w+');
  memory = mapAnonymous(2 * BLOCK);
  const view = new DataView(viewMemory(memory.address, 2 * BLOCK));
  view.setBigUint64(0, BigInt(memory.address + BLOCK), true);
  view.setBigUint64(8, BigInt(BLOCK), true);
  new Uint8Array(view.buffer, BLOCK).fill(0x5a);
  if (pwritevCached(fd, memory.address, 1, 0) !== EOPNOTSUPP) otherwise = CAN_TELL;
});
after(() => {
  memory.unmap();
  closeSync(fd);
  rmSync(folder, { recursive: true });
});

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

const write = (engine: CachedEngine, offset: number): number =>
  engine.write(0, memory.address, 1, offset);

/** A writer that answers what the test says. */
function scripted(answers: readonly number[]): BriskWriter {
  const rest = [...answers];
  const writer = new BriskWriter();
  writer.write = () => rest.shift() ?? EAGAIN;
  return writer;
}

describe('the writes of an image that the page cache holds', () => {
  it('are made at once, whether its file system can tell or not', () => {
    const { engine, ring } = engineOf();
    for (let i = 0; i < 100; i++) assert.equal(write(engine, i * BLOCK), BLOCK);
    assert.equal(ring.writes, 0);
    assert.equal(fstatSync(fd).size, 100 * BLOCK);
    assert.ok(readFileSync(join(folder, 'image')).every((byte) => byte === 0x5a));
  });

  it('go to io_uring while they would keep the thread waiting, each of them', (t) => {
    if (otherwise !== undefined) {
      t.skip(otherwise);
      return;
    }
    const { engine, ring } = engineOf(scripted([BLOCK, EAGAIN, EAGAIN, EAGAIN, BLOCK]));
    const answers = [0, 1, 2, 3, 4].map((i) => write(engine, i * BLOCK));
    assert.deepEqual(answers, [BLOCK, PENDING, PENDING, PENDING, BLOCK]);
    assert.equal(ring.writes, 3);
  });

  it('fail at once, and are not tried a second time, when the disk is full', (t) => {
    if (otherwise !== undefined) {
      t.skip(otherwise);
      return;
    }
    const { engine, ring } = engineOf(scripted([ENOSPC]));
    assert.equal(write(engine, 0), ENOSPC);
    assert.equal(ring.writes, 0);
  });
});
