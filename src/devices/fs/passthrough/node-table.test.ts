/**
 * The table of nodes: numbers, places, and who keeps whom alive.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { S_IF } from '../../../fuse/index.ts';
import { StatBlock, releaseMemory } from '../../../sys/index.ts';
import { NO_SLOT, NodeTable, ROOT_SLOT } from './node-table.ts';

const FILE = S_IF.REG | 0o644;
const FOLDER = S_IF.DIR | 0o755;

/** A table with its root, and what it said of nodes that left. */
function newTable(): { table: NodeTable; removed: number[]; capacities: number[] } {
  const removed: number[] = [];
  const capacities: number[] = [];
  const table = new NodeTable(
    (slot) => removed.push(slot),
    (capacity) => capacities.push(capacity),
  );
  table.add(statOf(1, FOLDER));
  table.lookups[ROOT_SLOT] = 1;
  return { table, removed, capacities };
}

function statOf(ino: number, mode: number, dev = 7, mountId = 20): StatBlock {
  const stat = new StatBlock();
  stat.dev = dev;
  stat.mountId = mountId;
  stat.inoLow = ino >>> 0;
  stat.inoHigh = Math.floor(ino / 2 ** 32);
  stat.ino = ino;
  stat.mode = mode;
  return stat;
}

function nameOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function addAt(table: NodeTable, ino: number, mode: number, parent: number, name: string): number {
  const slot = table.add(statOf(ino, mode));
  const bytes = nameOf(name);
  assert.ok(table.place(slot, parent, bytes, 0, bytes.length));
  table.lookups[slot] = 1;
  return slot;
}

test('the root is node 1, and is never forgotten', () => {
  const { table, removed } = newTable();
  assert.equal(table.idOf(ROOT_SLOT), 1);
  assert.equal(table.slotOf(1), ROOT_SLOT);
  table.forget(ROOT_SLOT, 100);
  assert.equal(table.slotOf(1), ROOT_SLOT);
  assert.deepEqual(removed, []);
});

test('a node is found by mount and inode, also by numbers beyond 32 bits', () => {
  const { table } = newTable();
  const large = 2 ** 40 + 5;
  const slot = addAt(table, large, FILE, ROOT_SLOT, 'a');
  assert.equal(table.find(statOf(large, FILE)), slot);
  assert.equal(table.find(statOf(5, FILE)), NO_SLOT);
  assert.equal(table.find(statOf(large, FILE, 8)), NO_SLOT);
  assert.ok(table.matches(slot, statOf(large, FILE)));
  assert.ok(!table.matches(slot, statOf(large, FOLDER)));
});

test('a file that is bound to a second place is another node there', () => {
  const { table } = newTable();
  const slot = addAt(table, 2, FILE, ROOT_SLOT, 'a');
  const bound = statOf(2, FILE, 7, 21);
  assert.equal(table.find(bound), NO_SLOT);
  assert.ok(!table.matches(slot, bound));
  const other = table.add(bound);
  assert.ok(!table.sameMount(slot, other));
  assert.ok(table.sameMount(slot, ROOT_SLOT));
  assert.equal(table.find(bound), other);
  assert.equal(table.find(statOf(2, FILE)), slot);
});

test('mounts that come and go leave nothing behind, however many there were', () => {
  const { table } = newTable();
  const stat = statOf(2, FOLDER);
  for (let i = 0; i < 70_000; i++) {
    stat.dev = 100 + i;
    stat.mountId = 1000 + i;
    const slot = table.add(stat);
    assert.notEqual(slot, NO_SLOT);
    assert.equal(table.mountCount, 2);
    if (i % 2 === 0) table.orphan(slot);
    table.removeIfUnused(slot);
    assert.equal(table.mountCount, 1);
  }
  assert.equal(table.find(statOf(1, FOLDER)), ROOT_SLOT);
  table.clear();
  assert.equal(table.mountCount, 0);
});

test('numbers that were not given out, or not any more, lead to no node', () => {
  const { table } = newTable();
  const slot = addAt(table, 2, FILE, ROOT_SLOT, 'a');
  const id = table.idOf(slot);
  table.forget(slot, 1);
  for (const wrong of [0, id, 3, 4096, 2 ** 31, 2 ** 32, 2 ** 32 + 1, 2 ** 52, 2 ** 53 - 1]) {
    assert.equal(table.slotOf(wrong), NO_SLOT, String(wrong));
  }
  const next = addAt(table, 3, FILE, ROOT_SLOT, 'b');
  assert.equal(next, slot, 'the slot is used again');
  assert.notEqual(table.idOf(next), id, 'and its number is another one');
});

test('a lookup count that underflows takes the node away once, and nothing else', () => {
  const { table, removed } = newTable();
  const folder = addAt(table, 2, FOLDER, ROOT_SLOT, 'd');
  const file = addAt(table, 3, FILE, folder, 'f');
  table.forget(file, 2 ** 40);
  assert.deepEqual(removed, [file]);
  assert.equal(table.children[folder], 0);
  assert.equal(table.idOf(folder), table.idOf(folder));
  assert.equal(table.count, 2);
});

test('a folder stays for the nodes below it, and leaves with the last of them', () => {
  const { table, removed } = newTable();
  const folder = addAt(table, 2, FOLDER, ROOT_SLOT, 'd');
  const file = addAt(table, 3, FILE, folder, 'f');
  table.forget(folder, 1);
  assert.deepEqual(removed, []);
  table.forget(file, 1);
  assert.deepEqual(removed, [file, folder]);
  assert.equal(table.count, 1);
});

test('a node stays for its open handle', () => {
  const { table, removed } = newTable();
  const file = addAt(table, 3, FILE, ROOT_SLOT, 'f');
  table.handles[file] = 1;
  table.forget(file, 1);
  assert.deepEqual(removed, []);
  table.handles[file] = 0;
  table.removeIfUnused(file);
  assert.deepEqual(removed, [file]);
});

test('a tree of 100 000 folders, each in the one before, leaves without a deep stack', () => {
  const { table, removed } = newTable();
  let parent = ROOT_SLOT;
  const depth = 100_000;
  for (let i = 0; i < depth; i++) parent = addAt(table, 10 + i, FOLDER, parent, 'd');
  for (let slot = 1; slot < depth; slot++) table.forget(slot, 1);
  assert.equal(removed.length, 0);
  table.forget(parent, 1);
  assert.equal(removed.length, depth);
});

test('a node that moves has its new place only, and its old name is free', () => {
  const { table } = newTable();
  const folder = addAt(table, 2, FOLDER, ROOT_SLOT, 'd');
  const file = addAt(table, 3, FILE, ROOT_SLOT, 'old');
  const name = nameOf('new name that is longer than sixteen bytes');
  assert.ok(table.place(file, folder, name, 0, name.length));
  assert.ok(table.isAt(file, folder, name, 0, name.length));
  assert.ok(!table.isAt(file, ROOT_SLOT, nameOf('old'), 0, 3));
  assert.equal(table.children[folder], 1);
  assert.equal(table.children[ROOT_SLOT], 1, 'only the folder');
});

test('a file that got the number of another kind of file is another node', () => {
  const { table } = newTable();
  const old = addAt(table, 3, FILE, ROOT_SLOT, 'f');
  table.orphan(old);
  assert.equal(table.find(statOf(3, FOLDER)), NO_SLOT);
  const folder = addAt(table, 3, FOLDER, ROOT_SLOT, 'f');
  assert.notEqual(folder, old);
  assert.equal(table.find(statOf(3, FOLDER)), folder);
  table.forget(old, 1);
  assert.equal(table.find(statOf(3, FOLDER)), folder);
});

test('100 000 nodes are found again after the table has grown', () => {
  const { table, capacities } = newTable();
  const count = 100_000;
  for (let i = 2; i < count; i++) addAt(table, i, FILE, ROOT_SLOT, `file ${String(i)}`);
  for (let i = 2; i < count; i++) {
    const slot = table.find(statOf(i, FILE));
    assert.equal(slot, i - 1);
    const name = nameOf(`file ${String(i)}`);
    assert.ok(table.isAt(slot, ROOT_SLOT, name, 0, name.length));
  }
  assert.equal(capacities.at(-1), 131_072);
});

test('after clear nothing is known, and old numbers stay unknown', () => {
  const { table, removed } = newTable();
  const file = addAt(table, 3, FILE, ROOT_SLOT, 'f');
  const id = table.idOf(file);
  table.clear();
  assert.deepEqual(removed, [ROOT_SLOT, file]);
  assert.equal(table.count, 0);
  table.add(statOf(1, FOLDER));
  table.lookups[ROOT_SLOT] = 1;
  assert.equal(table.idOf(ROOT_SLOT), 1);
  addAt(table, 9, FILE, ROOT_SLOT, 'g');
  assert.equal(table.slotOf(id), NO_SLOT);
});

test('a table of many gives its memory back when all have left, and old numbers stay unknown', () => {
  const { table, removed, capacities } = newTable();
  const count = 100_000;
  const old: number[] = [];
  for (let round = 0; round < 2; round++) {
    const slots: number[] = [];
    for (let i = 0; i < count; i++) {
      slots.push(addAt(table, 2 + i, FILE, ROOT_SLOT, `file ${String(i)}`));
    }
    old.push(...slots.map((slot) => table.idOf(slot)));
    assert.equal(new Set(old).size, old.length, 'no number is given out twice');
    assert.ok(table.capacity >= count);
    assert.ok(table.names.totalBytes > count * 16);
    for (const slot of slots.slice(1)) table.forget(slot, 1);
    assert.ok(table.capacity >= count, 'one is left');
    table.forget(slots[0] as number, 1);
    assert.equal(table.capacity, 1024);
    assert.equal(capacities.at(-1), 1024, 'other arrays by slot are made small, too');
    assert.equal(table.names.totalBytes, 0);
    assert.equal(table.lookups.length, 1024);
    assert.equal(removed.length, (round + 1) * count);
  }
  assert.ok(old.every((id) => table.slotOf(id) === NO_SLOT));
  assert.equal(table.slotOf(1), ROOT_SLOT);
  assert.equal(table.find(statOf(1, FOLDER)), ROOT_SLOT);
  assert.equal(table.lookups[ROOT_SLOT], 1);
});

test('memory of a table of many is free again when all have left, without more requests', async () => {
  releaseMemory(); // of the tests above
  await sleep(100);
  const before = process.memoryUsage().arrayBuffers;
  const { table } = newTable();
  const slots = Array.from({ length: 300_000 }, (_, i) =>
    addAt(table, 2 + i, FILE, ROOT_SLOT, `file ${String(i)}`),
  );
  const grown = process.memoryUsage().arrayBuffers - before;
  assert.ok(grown > 20 * 2 ** 20, `${String(grown)} bytes of arrays`);
  for (const slot of slots) table.forget(slot, 1);
  assert.equal(table.count, 1);
  // V8 frees what it has collected in a thread of its own.
  const kept = (): number => process.memoryUsage().arrayBuffers - before;
  for (let tries = 0; tries < 3000 && kept() > grown / 10; tries++) await sleep(10);
  assert.ok(kept() <= grown / 10, `${String(kept())} bytes of ${String(grown)} are kept`);
});

test('a table of few is kept as it is', () => {
  const { table, capacities } = newTable();
  const slots = Array.from({ length: 60_000 }, (_, i) =>
    addAt(table, 2 + i, FILE, ROOT_SLOT, `file ${String(i)}`),
  );
  for (const slot of slots) table.forget(slot, 1);
  assert.equal(table.count, 1);
  assert.equal(capacities.at(-1), 65_536);
});

test('clear gives the memory of many back, and old numbers stay unknown', () => {
  const { table } = newTable();
  const slots = Array.from({ length: 70_000 }, (_, i) =>
    addAt(table, 2 + i, FILE, ROOT_SLOT, `file ${String(i)}`),
  );
  const old = slots.map((slot) => table.idOf(slot));
  table.clear();
  assert.equal(table.capacity, 1024);
  table.add(statOf(1, FOLDER));
  table.lookups[ROOT_SLOT] = 1;
  assert.equal(table.idOf(ROOT_SLOT), 1);
  for (const i of slots.keys()) addAt(table, 2 + i, FILE, ROOT_SLOT, `file ${String(i)}`);
  assert.ok(old.every((id) => table.slotOf(id) === NO_SLOT));
});
