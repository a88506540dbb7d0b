/**
 * The slots of requests, and the memory of their buffers' addresses.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GuestMemory } from '../../memory/index.ts';
import { openMappingCount, viewMemory } from '../../sys/index.ts';
import { Chain } from '../../virtqueue/index.ts';
import type { Virtqueue } from '../../virtqueue/index.ts';
import { RequestSlots } from './requests.ts';

const QUEUE = {} as Virtqueue; // of which nothing is used here
const PIECE_BYTES = 512;

test('slots give their memory back, at once or when the last of them is free', () => {
  const before = openMappingCount();
  const slots = new RequestSlots(4);
  const begin = (address: number): number => {
    const chain = new Chain(0, new GuestMemory([]));
    chain.append(0, address, PIECE_BYTES, true);
    const slot = slots.take(QUEUE, chain);
    assert.equal(slots.fillIovecs(slot, 0, 1, 0, PIECE_BYTES), 1);
    return slot;
  };
  const said = (slot: number): number[] => {
    const view = new DataView(viewMemory(slots.iovecAddress(slot), 16));
    return [view.getUint32(0, true), view.getUint32(8, true)];
  };
  const [one, two] = [begin(4096), begin(8192)];
  slots.giveBack();
  slots.release(one);
  assert.deepEqual(said(two), [8192, PIECE_BYTES], 'a request of another queue goes on');
  slots.release(two);
  assert.deepEqual(
    [said(one), said(two)],
    [
      [0, 0],
      [0, 0],
    ],
  );
  const again = begin(4096);
  slots.release(again);
  assert.deepEqual(said(again), [4096, PIECE_BYTES], 'only when it was asked for');
  slots.giveBack();
  assert.deepEqual(said(again), [0, 0]);
  slots.close();
  assert.equal(openMappingCount(), before);
});
