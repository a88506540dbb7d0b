/**
 * Advisory locks: ranges, owners, and those who wait.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LINUX_E, LINUX_F } from '../../../fuse/index.ts';
import { LockTable } from './index.ts';
import type { Lock } from './index.ts';

const NODE = 7;

function lock(owner: number, type: keyof typeof LINUX_F, start = 0, end = Infinity): Lock {
  const who = { ownerLow: owner, ownerHigh: 0, pid: owner };
  return { isFlock: false, ...who, type: LINUX_F[type], start, end };
}

function flock(owner: number, type: keyof typeof LINUX_F): Lock {
  return { ...lock(owner, type), isFlock: true };
}

/** Who holds which bytes, tried out byte by byte with the eyes of somebody else. */
function held(table: LockTable, bytes: number): string {
  const marks = Array.from({ length: bytes }, (_, at) => {
    const found = table.conflict(NODE, lock(99, 'WRLCK', at, at));
    return found === null ? '.' : `${found.type === LINUX_F.WRLCK ? 'W' : 'r'}${found.pid}`;
  });
  return marks.join('');
}

test('readers share a range, and a writer has it alone', () => {
  const table = new LockTable();
  assert.equal(table.set(NODE, lock(1, 'RDLCK', 0, 9)), 0);
  assert.equal(table.set(NODE, lock(2, 'RDLCK', 5, 14)), 0);
  assert.equal(table.set(NODE, lock(2, 'WRLCK', 5, 5)), -LINUX_E.AGAIN);
  assert.equal(table.set(NODE, lock(2, 'WRLCK', 10, 14)), 0, 'its own part, which nobody else has');
  assert.equal(table.set(8, lock(2, 'WRLCK')), 0, 'another file');
  assert.equal(table.conflict(NODE, lock(1, 'WRLCK', 0, 4)), null);
  assert.equal(table.conflict(NODE, lock(1, 'WRLCK', 0, 5))?.pid, 2);
});

test('a range is split, changed and joined as its owner says', () => {
  const table = new LockTable();
  table.set(NODE, lock(1, 'WRLCK', 0, 9));
  table.set(NODE, lock(1, 'UNLCK', 3, 4));
  assert.equal(held(table, 11), 'W1W1W1..W1W1W1W1W1.');
  table.set(NODE, lock(1, 'RDLCK', 6, 20));
  assert.equal(held(table, 11), 'W1W1W1..W1r1r1r1r1r1');
  table.set(NODE, lock(1, 'RDLCK', 0, 5));
  assert.equal(table.conflict(NODE, lock(2, 'WRLCK', 0, 0))?.end, 20, 'one lock of three');
  table.set(NODE, lock(1, 'UNLCK', 1));
  assert.equal(held(table, 3), 'r1..');
});

test('flocks and record locks know nothing of each other', () => {
  const table = new LockTable();
  assert.equal(table.set(NODE, flock(1, 'WRLCK')), 0);
  assert.equal(table.set(NODE, lock(2, 'WRLCK')), 0);
  assert.equal(table.set(NODE, flock(2, 'RDLCK')), -LINUX_E.AGAIN);
  table.release(NODE, false, 1, 0);
  assert.equal(table.set(NODE, flock(2, 'RDLCK')), -LINUX_E.AGAIN);
  table.release(NODE, true, 1, 0);
  assert.equal(table.set(NODE, flock(2, 'RDLCK')), 0);
});

test('an flock that cannot be changed is given up', () => {
  const table = new LockTable();
  table.set(NODE, flock(1, 'RDLCK'));
  table.set(NODE, flock(2, 'RDLCK'));
  assert.equal(table.set(NODE, flock(1, 'WRLCK')), -LINUX_E.AGAIN);
  assert.equal(table.set(NODE, flock(2, 'WRLCK')), 0, 'the first has nothing any more');
});

test('who waits is served in turn, as soon as nobody is in the way', () => {
  const table = new LockTable();
  const done: string[] = [];
  const wait = (unique: number, each: Lock): void => {
    assert.equal(table.set(NODE, each), -LINUX_E.AGAIN);
    table.wait(NODE, each, unique, (result) => done.push(`${unique}:${result}`));
  };
  table.set(NODE, lock(1, 'WRLCK'));
  wait(11, lock(2, 'RDLCK', 0, 9));
  wait(12, lock(3, 'RDLCK', 5, 20));
  wait(13, lock(4, 'WRLCK', 8, 8));
  wait(14, lock(5, 'WRLCK', 100, 110));
  table.set(NODE, lock(1, 'UNLCK', 100));
  assert.deepEqual(done.splice(0), ['14:0']);
  table.set(NODE, lock(1, 'RDLCK', 0, 99));
  assert.deepEqual(done.splice(0), ['11:0', '12:0'], 'a weaker lock lets readers in');
  table.release(NODE, false, 1, 0);
  table.release(NODE, false, 2, 0);
  assert.deepEqual(done, []);
  table.release(NODE, false, 3, 0);
  assert.deepEqual(done, ['13:0']);
});

test('a wait can be ended, one by one or all at once', () => {
  const table = new LockTable();
  const done: number[] = [];
  table.set(NODE, flock(1, 'WRLCK'));
  table.wait(NODE, flock(2, 'WRLCK'), 11, (result) => done.push(result));
  table.wait(NODE, flock(3, 'WRLCK'), 12, (result) => done.push(result));
  assert.equal(table.cancel(4711), false);
  assert.equal(table.cancel(11), true);
  assert.equal(table.cancel(11), false);
  assert.deepEqual(done.splice(0), [-LINUX_E.INTR]);
  table.clear();
  assert.deepEqual(done, [-LINUX_E.INTR]);
  assert.equal(table.set(NODE, flock(4, 'WRLCK')), 0);
  assert.equal(table.has(NODE), true);
  table.releaseNode(NODE);
  assert.equal(table.has(NODE), false);
});

test('a guest cannot have locks without end', () => {
  const table = new LockTable();
  let count = 0;
  for (; table.set(count, lock(1, 'WRLCK', 0, 9)) === 0; count++) assert.ok(count < 100_000);
  assert.equal(table.set(count, lock(1, 'WRLCK')), -LINUX_E.NOLCK);
  assert.equal(table.set(0, lock(1, 'UNLCK', 3, 4)), -LINUX_E.NOLCK, 'two of one');
  assert.equal(table.set(0, lock(1, 'UNLCK')), 0);
  assert.equal(table.set(count, lock(1, 'WRLCK')), 0);
});
