/**
 * Names as they are spelt, for volumes that take several spellings for one.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { compose, listsExactly } from './exact-names.ts';

const DECOMPOSED = 'Cafe\u0301'; // as HFS+ lists it
const COMPOSED = 'Caf\u00e9';

test('a folder lists a name in its own spelling, and in no other', (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'vhost-user-names-'));
  context.after(() => rmSync(folder, { recursive: true }));
  for (let i = 0; i < 2000; i++) writeFileSync(join(folder, `file ${String(i)}`), '');
  writeFileSync(join(folder, 'Readme'), '');
  writeFileSync(join(folder, DECOMPOSED), '');
  const fd = openSync(folder, 'r');
  context.after(() => closeSync(fd));
  const lists = (name: string): boolean => {
    const bytes = Buffer.from(`xx${name}`);
    return listsExactly(fd, bytes, 2, bytes.length - 2);
  };
  assert.ok(lists('Readme') && lists('file 1999'));
  assert.ok(!lists('README') && !lists('readme') && !lists('Readm') && !lists('Readme2'));
  assert.ok(lists(DECOMPOSED));
  assert.ok(lists(COMPOSED), 'the same letters, written in another way');
  assert.ok(!lists('CAFÉ'));
});

test('a folder that cannot be read hides no name', () => {
  assert.ok(listsExactly(-1, Buffer.from('a'), 0, 1));
});

test('a decomposed name is composed in place, and any other bytes stay as they are', () => {
  const bytes = Buffer.from(`ab${DECOMPOSED}`);
  const length = compose(bytes, 2, bytes.length - 2);
  assert.equal(bytes.toString('utf8', 2, 2 + length), COMPOSED);
  for (const kept of [
    Buffer.from('plain'),
    Buffer.from([0xff, 0xfe, 0x41]),
    Buffer.from(COMPOSED),
  ]) {
    const before = Buffer.from(kept);
    assert.equal(compose(kept, 0, kept.length), kept.length);
    assert.deepEqual(kept, before);
  }
});
