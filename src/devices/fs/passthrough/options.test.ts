/**
 * Options of a shared folder that contradict each other, or mean nothing.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { VhostUserError } from '../../../util/index.ts';
import { hostFolderSettings } from './options.ts';
import type { HostFolderOptions } from './options.ts';

const FOLDER = tmpdir();

function refuses(options: Partial<HostFolderOptions>, code: string, message: RegExp): void {
  assert.throws(
    () => hostFolderSettings({ folder: FOLDER, ...options }),
    (error: unknown) => {
      assert.ok(error instanceof VhostUserError);
      assert.equal(error.code, code);
      assert.match(error.message, message);
      return true;
    },
  );
}

test('a folder that is none is refused by its path', () => {
  refuses({ folder: join(FOLDER, 'no-such-folder') }, 'ERR_VHU_FS_FOLDER', /no such folder/);
  refuses({ folder: process.execPath }, 'ERR_VHU_FS_FOLDER', /not a folder/);
});

test('rules that are none are refused before a thread reads them', () => {
  refuses({ uidMap: ['1:2'] }, 'ERR_VHU_OPTION', /"1:2"/);
  refuses({ translateGid: ['map:0'] }, 'ERR_VHU_OPTION', /"map:0"/);
  refuses({ xattrMap: ':map:' }, 'ERR_VHU_OPTION', /xattrmap, rule 1/);
  refuses({ squashUid: -1 }, 'ERR_VHU_OPTION', /no user or group number/);
});

test('access control lists go with the owners of the host only', () => {
  const message = /posix-acl needs owner host without maps/;
  refuses({ posixAcl: true, owner: 'xattr' }, 'ERR_VHU_OPTION', message);
  refuses({ posixAcl: true, owner: 'squash' }, 'ERR_VHU_OPTION', message);
  refuses({ posixAcl: true, uidMap: [':0:1000:1:'] }, 'ERR_VHU_OPTION', message);
  refuses({ posixAcl: true, translateGid: ['map:0:1:1'] }, 'ERR_VHU_OPTION', message);
  refuses({ posixAcl: true, xattr: false }, 'ERR_VHU_OPTION', /posix-acl needs xattr/);
  assert.equal(hostFolderSettings({ folder: FOLDER, posixAcl: true }).xattr, true);
});

test('a cache for writes needs one for data', () => {
  for (const cache of ['never', 'metadata'] as const) {
    refuses({ writeback: true, cache }, 'ERR_VHU_OPTION', /writeback needs a cache for data/);
  }
});
