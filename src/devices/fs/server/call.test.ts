/**
 * The pieces of memory that a request's data are moved to and from.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { GuestMemory } from '../../../memory/index.ts';
import { openMappingCount, viewMemory } from '../../../sys/index.ts';
import { Chain } from '../../../virtqueue/index.ts';
import type { Virtqueue } from '../../../virtqueue/index.ts';
import { CallPool, IOVECS_MAX, Scratch } from './call.ts';
import type { ServerCall } from './call.ts';

const PAGE_BYTES = 4096;
const QUEUE = {} as Virtqueue; // of which nothing is used here

describe('the data of a request', () => {
  let scratch: Scratch;
  let pool: CallPool;
  beforeEach(() => {
    scratch = new Scratch();
    pool = new CallPool(2, scratch, 0, () => undefined);
  });
  afterEach(() => {
    pool.close();
    scratch.close();
  });

  /** A call whose chain has writable buffers at these host addresses. */
  function callOf(buffers: readonly (readonly [address: number, bytes: number])[]): ServerCall {
    const chain = new Chain(0, new GuestMemory([]));
    for (const [address, bytes] of buffers) chain.append(0, address, bytes, true);
    return pool.take(QUEUE, chain);
  }

  function iovecs(call: ServerCall): [number, number][] {
    const words = pool.iovecWords;
    const from = (call.iov - (pool.calls[0] as ServerCall).iov) / 4;
    return Array.from({ length: call.iovCount }, (_, i) => {
      const at = from + i * 4;
      const address = (words[at] as number) + (words[at + 1] as number) * 2 ** 32;
      return [address, (words[at + 2] as number) + (words[at + 3] as number) * 2 ** 32];
    });
  }

  it('pages that lie side by side are one piece, others are pieces of their own', () => {
    const at = 0x7f00_0000_0000;
    const call = callOf([
      [at, PAGE_BYTES],
      [at + PAGE_BYTES, PAGE_BYTES],
      [at + 8 * PAGE_BYTES, PAGE_BYTES],
      [at + 7 * PAGE_BYTES, PAGE_BYTES],
      [at + 8 * PAGE_BYTES, 100],
    ]);
    assert.ok(call.fillIovecs(0, 5, 0, 4 * PAGE_BYTES + 50));
    assert.deepEqual(iovecs(call), [
      [at, 2 * PAGE_BYTES],
      [at + 8 * PAGE_BYTES, PAGE_BYTES],
      [at + 7 * PAGE_BYTES, PAGE_BYTES + 50],
    ]);
    assert.equal(call.dataBytes, 4 * PAGE_BYTES + 50);
  });

  it('what is skipped may end in the middle of a buffer', () => {
    const at = 0x1_0000_0000;
    const call = callOf([
      [at, 16],
      [at + 100, 40],
      [at + 140, 60],
    ]);
    assert.ok(call.fillIovecs(0, 3, 26, 90));
    assert.deepEqual(iovecs(call), [[at + 110, 90]]);
  });

  it('too little room is told, and what there is is filled', () => {
    const call = callOf([[0x1000, 100]]);
    assert.ok(!call.fillIovecs(0, 1, 10, 91));
    assert.deepEqual(iovecs(call), [[0x1010 - 6, 90]]);
    assert.equal(call.dataBytes, 90);
  });

  it('pieces beyond what one system call takes are left out, those of another call untouched', () => {
    const other = callOf([]);
    const many = Array.from({ length: IOVECS_MAX + 1 }, (_, i) => [i * 1000, 10] as const);
    const call = callOf(many);
    assert.ok(!call.fillIovecs(0, many.length, 0, many.length * 10));
    assert.equal(call.iovCount, IOVECS_MAX);
    assert.deepEqual(iovecs(call).at(-1), [(IOVECS_MAX - 1) * 1000, 10]);
    assert.deepEqual(iovecs(other), []);
    const joined = callOfJoined(call);
    assert.ok(joined, 'a piece that lies next to the last one is no further piece');
  });

  /** The same chain with one more buffer right behind its last one. */
  function callOfJoined(call: ServerCall): boolean {
    const last = (IOVECS_MAX - 1) * 1000;
    call.chain?.clear(new GuestMemory([]));
    for (let i = 0; i < IOVECS_MAX; i++) call.chain?.append(0, i * 1000, 10, true);
    call.chain?.append(0, last + 10, 10, true);
    return call.fillIovecs(0, IOVECS_MAX + 1, 0, (IOVECS_MAX + 1) * 10);
  }

  it('gives the memory of its pieces back, at once or when nothing is under way', () => {
    const before = openMappingCount();
    const [one, two] = [callOf([[PAGE_BYTES, 100]]), callOf([[2 * PAGE_BYTES, 100]])];
    for (const call of [one, two]) assert.ok(call.fillIovecs(0, 1, 0, 100));
    pool.giveBack();
    pool.release(one);
    assert.deepEqual(iovecs(two), [[2 * PAGE_BYTES, 100]], 'a request of another queue goes on');
    pool.release(two);
    assert.deepEqual([iovecs(one), iovecs(two)], [[[0, 0]], [[0, 0]]]);
    const again = callOf([[3 * PAGE_BYTES, 100]]);
    assert.ok(again.fillIovecs(0, 1, 0, 100));
    const memory = new DataView(viewMemory(again.iov, 16));
    assert.equal(memory.getUint32(0, true), 3 * PAGE_BYTES, 'what the host is handed');
    pool.release(again);
    assert.deepEqual(iovecs(again), [[3 * PAGE_BYTES, 100]], 'only when it was asked for');
    pool.giveBack();
    assert.deepEqual(iovecs(again), [[0, 0]]);
    assert.equal(openMappingCount(), before);
  });
});
