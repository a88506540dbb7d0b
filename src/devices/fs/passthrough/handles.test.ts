/**
 * Handles: their numbers, their kinds, and when a descriptor is closed.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { fstatSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { HandleTable } from './handles.ts';
import type { Handle } from './handles.ts';

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

function open(table: HandleTable, slot: number, isFolder = false): Handle {
  const handle = table.open(slot, openSync('/dev/null', 'r'), isFolder);
  assert.ok(handle !== null);
  return handle;
}

test('a handle of a folder is none of a file, and the other way round', () => {
  const table = new HandleTable();
  const file = open(table, 1);
  const folder = open(table, 2, true);
  assert.equal(table.file(file.id), file);
  assert.equal(table.folder(folder.id), folder);
  assert.equal(table.file(folder.id), undefined);
  assert.equal(table.folder(file.id), undefined);
  table.clear();
  assert.equal(table.count, 0);
});

test('a released handle has no number any more, and its successor another one', () => {
  const table = new HandleTable();
  const first = open(table, 1);
  const { id, fd } = first;
  table.release(first);
  assert.ok(!isOpen(fd));
  for (const wrong of [id, 0, 2, 2 ** 32, 2 ** 40, 2 ** 53]) {
    assert.equal(table.file(wrong), undefined, String(wrong));
  }
  const second = open(table, 1);
  assert.equal(second, first, 'the object is used again');
  assert.notEqual(second.id, id);
  table.clear();
});

test('a descriptor that the kernel is at is closed after its last call', () => {
  const table = new HandleTable();
  const handle = open(table, 1);
  const { fd } = handle;
  handle.inFlight = 2;
  table.release(handle);
  assert.ok(isOpen(fd));
  table.finished(handle);
  assert.ok(isOpen(fd));
  table.finished(handle);
  assert.ok(!isOpen(fd));
  assert.equal(table.count, 0);
});

test('any handle of a node is found, in whichever order they are released', () => {
  for (const order of [
    [0, 1, 2],
    [2, 1, 0],
    [1, 0, 2],
  ]) {
    const table = new HandleTable();
    const handles = [open(table, 5), open(table, 5), open(table, 5)];
    for (const index of order) {
      assert.ok(table.ofNode(5) !== undefined);
      table.release(handles[index] as Handle);
    }
    assert.equal(table.ofNode(5), undefined);
  }
});
