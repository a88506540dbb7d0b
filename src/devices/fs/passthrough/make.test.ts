/**
 * Tests of making a file that cannot be as it was asked for, while somebody on the host puts
 * another one under its name.
 *
 * @module
 */
import assert from 'node:assert/strict';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FUSE_INIT, LINUX_E, S_IF } from '../../../fuse/index.ts';
import { NativeBlock } from '../../../sys/index.ts';
import type { FuseCall } from '../operations.ts';
import type { FolderState } from './folder-state.ts';
import { MAKE, make, wanted } from './make.ts';

const onLinux = process.platform === 'linux' ? {} : { skip: 'modes that are refused are of Linux' };

/** Makes `name` in a new folder, on a host that may refuse its mode; `look` sees the outcome. */
function making(
  kind: number,
  hooks: { readonly issued?: (path: string) => void; readonly open?: (path: string) => number },
  look: (error: number, folder: string) => void,
): void {
  const folder = mkdtempSync(join(tmpdir(), 'vhu-make-'));
  const path = join(folder, 'name');
  const fd = openSync(folder, 'r');
  const name = new NativeBlock(16);
  name.bytes.set(Buffer.from('name\0'));
  const mode = 0o640 | (kind === MAKE.file ? S_IF.REG : S_IF.IFO);
  Object.assign(wanted, { kind, folder: fd, parent: 0, name: name.address, mode, umask: 0 });
  let umasks = 0;
  const identity = {
    exactModes: false,
    setUmask: () => {
      if (++umasks === 2) hooks.issued?.(path); // the second one is after it was made
    },
  };
  const state = {
    owners: { policy: 'squash' },
    session: { flags: FUSE_INIT.DONT_MASK },
    identity,
    openBelow: () => hooks.open?.(path) ?? -1,
  };
  try {
    look(make(state as unknown as FolderState, {} as FuseCall), folder);
  } finally {
    name.free();
    closeSync(fd);
    rmSync(folder, { recursive: true });
  }
}

test('a file that somebody has put in the place of one that failed is left alone', onLinux, () => {
  // Of a file of /proc nobody sets the mode.
  const open = (path: string): number => {
    writeFileSync(path, '');
    rmSync(path);
    writeFileSync(path, "somebody's");
    return openSync('/proc/self/status', 'r');
  };
  making(MAKE.file, { open }, (error, folder) => {
    assert.equal(error, -LINUX_E.PERM);
    assert.equal(readFileSync(join(folder, 'name'), 'utf8'), "somebody's");
  });
});

test('a link in the place of a special file that failed is left alone', onLinux, () => {
  const issued = (path: string): void => {
    rmSync(path);
    symlinkSync('elsewhere', path);
  };
  making(MAKE.node, { issued }, (error, folder) => {
    assert.equal(error, -LINUX_E.OPNOTSUPP);
    assert.equal(readlinkSync(join(folder, 'name')), 'elsewhere');
  });
});

test('what was made and is not refused anything is there', onLinux, () => {
  making(MAKE.node, {}, (result, folder) => {
    assert.equal(result, 0);
    assert.deepEqual(readdirSync(folder), ['name']);
  });
});
