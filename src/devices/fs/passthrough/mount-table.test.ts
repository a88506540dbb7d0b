/**
 * Small numbers of mounts.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MountTable, NO_MOUNT } from './mount-table.ts';

test('a mount is a device by way of one mount, and is known while a node is on it', () => {
  const mounts = new MountTable();
  const first = mounts.enter(7, 20);
  assert.equal(mounts.enter(7, 20), first);
  const bound = mounts.enter(7, 21);
  const other = mounts.enter(8, 20);
  assert.equal(new Set([first, bound, other]).size, 3);
  assert.equal(mounts.indexOf(7, 21), bound);
  assert.ok(mounts.is(bound, 7, 21) && !mounts.is(bound, 7, 20));
  mounts.leave(first);
  assert.equal(mounts.indexOf(7, 20), first, 'one of two has left');
  mounts.leave(first);
  assert.equal(mounts.indexOf(7, 20), NO_MOUNT);
  assert.equal(mounts.count, 2);
  assert.equal(mounts.enter(9, 30), first, 'its number is used again');
  assert.equal(mounts.indexOf(8, 20), other);
  mounts.clear();
  assert.equal(mounts.count, 0);
  assert.equal(mounts.indexOf(8, 20), NO_MOUNT);
});

test('there are so many of them at the same time, and no more', () => {
  const mounts = new MountTable(100);
  for (let i = 0; i < 100; i++) assert.equal(mounts.enter(i, i), i);
  assert.equal(mounts.enter(1, 0), NO_MOUNT);
  assert.equal(mounts.enter(5, 5), 5, 'those that are there may have more nodes');
  mounts.leave(9);
  assert.equal(mounts.enter(1, 0), 9);
});
