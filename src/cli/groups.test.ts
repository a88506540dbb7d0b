/**
 * Tests of groups by name.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { groupId } from './groups.ts';

test('a group is found by name in the group file, or is a number already', (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'vhu-groups-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'group');
  writeFileSync(file, '# none\nwheel:*:0:root\nkvm:x:108:\nbad:x::\n');
  assert.equal(groupId('kvm', file), 108);
  assert.equal(groupId('wheel', file), 0);
  assert.equal(groupId('12345', file), 12345);
  for (const name of ['kv', 'none', 'bad', '']) {
    assert.throws(() => groupId(name, file), /has no such group/, name);
  }
  assert.throws(() => groupId('kvm', join(folder, 'missing')), /no such group/);
});
