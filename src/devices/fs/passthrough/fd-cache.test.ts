/**
 * Descriptors of nodes: few, the ones used last, and those of nameless nodes.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { fstatSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { FdCache } from './fd-cache.ts';

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

/** A cache of 16 with a descriptor for each of the slots 0 to `count` - 1. */
function filled(count: number): { cache: FdCache; fds: number[] } {
  const cache = new FdCache(16);
  cache.resize(64);
  const fds: number[] = [];
  for (let slot = 0; slot < count; slot++) {
    const fd = openSync('/dev/null', 'r');
    fds.push(fd);
    cache.put(slot, fd);
  }
  return { cache, fds };
}

function dropAll(cache: FdCache): void {
  for (let slot = 0; slot < 64; slot++) cache.drop(slot);
}

test('one more than the limit closes the one that was used longest ago', () => {
  const { cache, fds } = filled(16);
  assert.equal(cache.use(0), fds[0]);
  const more = openSync('/dev/null', 'r');
  cache.put(20, more);
  assert.equal(cache.count, 16);
  assert.ok(!cache.has(1));
  assert.ok(!isOpen(fds[1] as number));
  assert.ok(cache.has(0));
  dropAll(cache);
  assert.equal(cache.count, 0);
  for (const fd of [...fds, more]) assert.ok(!isOpen(fd));
});

test('a pinned descriptor outlives any number of others, until it is dropped', () => {
  const { cache, fds } = filled(2);
  cache.pin(0);
  cache.pin(0);
  assert.equal(cache.count, 1);
  for (let slot = 2; slot < 40; slot++) cache.put(slot, openSync('/dev/null', 'r'));
  assert.equal(cache.use(0), fds[0]);
  assert.ok(isOpen(fds[0] as number));
  cache.unpin(0);
  assert.equal(cache.count, 17);
  dropAll(cache);
  assert.equal(cache.count, 0);
  assert.ok(!isOpen(fds[0] as number));
});

test('shrinking gives half of them up, and keeps those used last', () => {
  const { cache } = filled(16);
  for (const slot of [3, 5]) cache.use(slot);
  assert.ok(cache.shrink());
  assert.equal(cache.count, 8);
  assert.ok(cache.has(3) && cache.has(5) && cache.has(15) && !cache.has(0));
  assert.ok(!cache.shrink());
  dropAll(cache);
});

test('a cache that is made smaller keeps the descriptors below its end', () => {
  const { cache, fds } = filled(3);
  cache.resize(1 << 17);
  for (const slot of [1, 2]) cache.drop(slot);
  cache.resize(4);
  assert.equal(cache.use(0), fds[0]);
  assert.equal(cache.count, 1);
  cache.drop(0);
  assert.ok(!isOpen(fds[0] as number));
});
