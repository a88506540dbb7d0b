/**
 * Tables and numbers as text.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { durationText } from './progress.ts';
import { bytesText, fixed, formatTable } from './table.ts';

describe('formatTable', () => {
  it('columns are as wide as their widest cell, and stand left or right', () => {
    const lines = formatTable(
      [
        { title: 'op', align: 'left' },
        { title: 'k/s', align: 'right' },
      ],
      [
        ['read', '1.5'],
        ['w', '1234.5'],
      ],
    );
    assert.deepEqual(lines, [
      'op       k/s', //
      '----  ------',
      'read     1.5',
      'w     1234.5',
    ]);
  });

  it('a short row is filled, and no line ends with blanks', () => {
    const columns = ['a', 'b', 'c'].map((title) => ({ title, align: 'left' as const }));
    const lines = formatTable(columns, [['x'], ['x', 'y', 'z']]);
    assert.deepEqual(lines, ['a  b  c', '-  -  -', 'x', 'x  y  z']);
  });
});

describe('numbers as text', () => {
  it('what is no number is a dash', () => {
    assert.deepEqual(
      [1.25, NaN, Infinity, null, undefined].map((value) => fixed(value, 1)),
      ['1.3', '-', '-', '-', '-'],
    );
  });

  it('bytes have a unit, and decimals where there is a rest', () => {
    assert.deepEqual([512, 4096, 65536, 1536, 2 ** 20, 2.5 * 2 ** 20].map(bytesText), [
      '512 B',
      '4 KiB',
      '64 KiB',
      '1.5 KiB',
      '1 MiB',
      '2.5 MiB',
    ]);
  });

  it('durations have minutes when there are any', () => {
    assert.deepEqual([-1, 0.4, 59, 60, 125].map(durationText), [
      '0s',
      '0s',
      '59s',
      '1m 00s',
      '2m 05s',
    ]);
  });
});
