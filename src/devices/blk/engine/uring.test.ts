/**
 * The io_uring engine when the kernel takes nothing.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ERRNO } from '../../../sys/index.ts';
import type { Uring } from '../../../sys/index.ts';
import { PENDING, RANGE_OP } from './engine.ts';
import { UringEngine } from './uring.ts';

const EAGAIN = -(ERRNO.EAGAIN as number);
const IMAGE = { fd: 3, isDevice: false, inMemory: false };

/** A ring with so much room, whose kernel is short of memory: it hands over nothing. */
function stuck(room: number): { readonly uring: Uring; submits: number } {
  let left = room;
  const prepare = (): boolean => left-- > 0;
  const state = { uring: null as unknown as Uring, submits: 0 };
  const fake = {
    prepReadv: prepare,
    prepWritev: prepare,
    prepFsync: prepare,
    prepFallocate: prepare,
    submit: (): number => {
      state.submits++;
      return 0;
    },
  };
  state.uring = fake as unknown as Uring;
  return state;
}

describe('the io_uring engine', () => {
  it('says "again" when the submission queue stays full, and goes on living', () => {
    const state = stuck(1);
    const engine = new UringEngine(IMAGE, state.uring, 0);
    assert.equal(engine.read(0, 0, 1, 0), PENDING);
    assert.equal(engine.read(1, 0, 1, 0), EAGAIN);
    assert.equal(engine.write(2, 0, 1, 0), EAGAIN);
    assert.equal(engine.sync(3), EAGAIN);
    assert.equal(engine.range(4, RANGE_OP.discard, 0, 512), EAGAIN);
    assert.equal(state.submits, 4);
  });
});
