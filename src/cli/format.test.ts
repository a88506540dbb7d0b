/**
 * Tests of numbers and words for people.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { counted, formatBytes, formatCount, formatRate, oneLine, wrap } from './format.ts';

test('sizes are shown in binary units with three digits', () => {
  assert.equal(formatBytes(0), '0 bytes');
  assert.equal(formatBytes(512), '512 bytes');
  assert.equal(formatBytes(1024), '1.0 KiB');
  assert.equal(formatBytes(64 * 1024 ** 2), '64.0 MiB');
  assert.equal(formatBytes(1.5 * 1024 ** 3), '1.5 GiB');
  assert.equal(formatBytes(200 * 1024 ** 4), '200 TiB');
});

test('rates never show a thousand of a unit that has a larger one', () => {
  assert.equal(formatCount(0), '0');
  assert.equal(formatCount(999.4), '999');
  assert.equal(formatCount(999.6), '1.0k');
  assert.equal(formatCount(12_345), '12.3k');
  assert.equal(formatCount(999_600), '1.0M');
  assert.equal(formatRate(48_200_000), '48.2 MB/s');
  assert.equal(formatRate(0), '0 B/s');
  assert.equal(formatRate(1e15), '1000 TB/s');
});

test('words follow their count', () => {
  assert.equal(counted(1, 'queue'), '1 queue');
  assert.equal(counted(2, 'queue'), '2 queues');
});

test('control characters cannot leave their line of the log', () => {
  assert.equal(oneLine('a\nb\x1b[2J\x7f'), 'a\\x0ab\\x1b[2J\\x7f');
});

test('paragraphs are broken between words, and a word that is too long stands alone', () => {
  assert.deepEqual(wrap('one two three four', 9), ['one two', 'three', 'four']);
  assert.deepEqual(wrap('aaa bb /a/very/long/path c', 6), ['aaa bb', '/a/very/long/path', 'c']);
});
