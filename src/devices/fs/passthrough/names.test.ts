/**
 * Names in native memory.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { viewMemory } from '../../../sys/index.ts';
import { NameStore } from './names.ts';

function read(store: NameStore, ref: number, bytes: number): Uint8Array {
  return new Uint8Array(viewMemory(store.address(ref), bytes)).slice();
}

test('a name is kept with its NUL, at any length up to 255', () => {
  const store = new NameStore();
  for (const length of [1, 15, 16, 17, 31, 32, 63, 64, 127, 128, 254, 255]) {
    const name = new Uint8Array(length).fill(0x61 + (length % 20));
    const ref = store.add(name, 0, length);
    assert.deepEqual(read(store, ref, length + 1), Uint8Array.from([...name, 0]));
    assert.ok(store.equals(ref, name, 0, length));
    name[length - 1] = 0x7a;
    assert.ok(!store.equals(ref, name, 0, length));
  }
  store.clear();
});

test('room that was given back is used again', () => {
  const store = new NameStore();
  const name = new TextEncoder().encode('a name');
  const refs = Array.from({ length: 10_000 }, () => store.add(name, 0, name.length));
  const { totalBytes } = store;
  for (let round = 0; round < 10; round++) {
    for (const ref of refs.splice(0)) store.release(ref, name.length);
    for (let i = 0; i < 10_000; i++) refs.push(store.add(name, 2, name.length - 2));
    for (const ref of refs.splice(0)) store.release(ref, name.length - 2);
    for (let i = 0; i < 10_000; i++) refs.push(store.add(name, 0, name.length));
  }
  assert.equal(store.totalBytes, totalBytes);
  store.clear();
  assert.equal(store.totalBytes, 0);
});

test('room of each size that was given back is given out once, whatever was kept in it', () => {
  const store = new NameStore();
  const kept = new Map<number, Uint8Array>();
  const keep = (length: number, fill: number): void => {
    const name = new Uint8Array(length).fill(fill);
    const ref = store.add(name, 0, length);
    assert.ok(!kept.has(ref), 'nobody else has that room');
    kept.set(ref, name);
  };
  const lengths = [3, 15, 20, 31, 50, 100, 255];
  for (let i = 0; i < 2000; i++) keep(lengths[i % lengths.length] as number, 1 + (i % 255));
  const { totalBytes } = store;
  for (let round = 0; round < 20; round++) {
    const gone = [...kept].filter((_, i) => (i * 7 + round) % 3 === 0);
    for (const [ref, name] of gone) {
      store.release(ref, name.length);
      kept.delete(ref);
    }
    for (const [, name] of gone.reverse()) keep(name.length, 255 - round);
    for (const [ref, name] of kept) assert.ok(store.equals(ref, name, 0, name.length));
  }
  assert.equal(store.totalBytes, totalBytes);
  store.clear();
});
