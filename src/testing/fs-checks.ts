/**
 * What any file system behind virtio-fs owes to its clients, as checks that a test runs through
 * {@link FsClient}: for the file systems of this package, for others' back-ends, and for whoever
 * writes a file system.
 *
 * @module
 */
import type { FsClient } from '../frontend/index.ts';
import * as attributes from './fs-check-attributes.ts';
import * as data from './fs-check-data.ts';
import * as names from './fs-check-names.ts';
import type { FsCheck, FsTrait } from './fs-check.ts';

/** Makes a check, for the list. */
function check(name: string, run: FsCheck['run'], ...needs: readonly FsTrait[]): FsCheck {
  return { name, needs, run };
}

/** All checks; those whose needs a file system does not have are left out. */
export const FS_CHECKS: readonly FsCheck[] = [
  check('files of all lengths are written and read back', data.readsAndWrites),
  check('an open file has a position, and is read and written at others', data.positions),
  check('data are appended in order', data.appends),
  check('files are opened as their flags say', data.flags),
  check('folders are made, listed and removed', names.folders),
  check(
    'a folder of 3000 files is listed, and all that was looked up is forgotten',
    names.listings,
  ),
  check('symbolic links lead where they say, inside of the mount', names.symbolicLinks, 'links'),
  check('a file has several names', names.hardLinks, 'links'),
  check('names are moved, over others too', names.renames),
  check(
    'names are swapped, or not replaced, where that is asked for',
    names.renameFlags,
    'rename-flags',
  ),
  check('an open file outlives its name', names.unlinkedFiles),
  check('names are up to 255 bytes of anything', names.names),
  check('names need not be UTF-8', names.rawNames, 'links'),
  check('modes, times and lengths are kept', attributes.attributes),
  check('owners are kept, and new files are of whoever makes them', attributes.owners, 'owners'),
  check('FIFOs and sockets are made', attributes.devices, 'devices'),
  check('extended attributes are kept', attributes.xattrs, 'xattrs'),
  check('files are copied', data.copies),
  check('holes are found, and take no room', data.holes, 'holes'),
  check('room is allocated, and given back', data.allocation, 'allocate'),
  check('offsets beyond 10 GiB are nothing special', data.hugeOffsets, 'huge'),
  check(
    'flocks keep others out, are waited for, and go with their files',
    attributes.flocks,
    'flocks',
  ),
  check(
    'locks of ranges keep others out, and are waited for',
    attributes.recordLocks,
    'record-locks',
  ),
];

/**
 * Runs a check in a new folder of a file system, and removes that.
 *
 * ```ts
 * for (const each of FS_CHECKS) {
 *   if (each.needs.every((trait) => traits.includes(trait))) await runFsCheck(each, fs);
 * }
 * ```
 */
export async function runFsCheck(each: FsCheck, fs: FsClient): Promise<void> {
  const at = await fs.mkdtemp('/check-');
  await fs.chmod(at, 0o755);
  await each.run(fs, at);
  await fs.rm(at, { recursive: true, force: true });
}
