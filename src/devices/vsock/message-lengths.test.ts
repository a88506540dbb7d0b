/**
 * The queue of lengths of messages: in order, with their marks, and as quick with many as with few.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MessageLengths } from './message-lengths.ts';

/** As many messages of one byte as a guest may have wait by default. */
const MANY = 262_144;

describe('lengths of messages', () => {
  it('come in their order with their marks, however they were added and taken', () => {
    const lengths = new MessageLengths();
    const expected: [number, boolean][] = [];
    let next = 1;
    for (let round = 0; round < 200; round++) {
      for (let i = 0; i < (round * 7) % 23; i++, next++) {
        lengths.push(next * 997, next % 3 === 0);
        expected.push([next * 997, next % 3 === 0]);
      }
      for (let i = 0; i < (round * 5) % 21 && expected.length > 0; i++) {
        assert.deepEqual([lengths.firstBytes, lengths.firstEndsRecord], expected.shift());
        lengths.shift();
      }
      assert.equal(lengths.count, expected.length);
    }
    assert.ok(expected.length > 16, 'it has grown');
    lengths.clear();
    assert.equal(lengths.count, 0);
    lengths.push(2 ** 31 - 1, true);
    assert.deepEqual([lengths.firstBytes, lengths.firstEndsRecord], [2 ** 31 - 1, true]);
    assert.throws(() => lengths.push(2 ** 31, false), /shorter than 2 GiB/);
  });

  it('of very many do not make each of them slow to take', () => {
    const lengths = new MessageLengths();
    for (let i = 0; i < MANY; i++) lengths.push(1, true);
    const before = process.cpuUsage();
    while (lengths.count > 0) lengths.shift();
    const { user, system } = process.cpuUsage(before);
    // An array whose first element is removed moves all others: 35 s.
    assert.ok(user + system < 5_000_000, `${String((user + system) / 1000)} ms of CPU time`);
  });
});
