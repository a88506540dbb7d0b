/**
 * From what an operator asks for to a virtio-fs device.
 *
 * @module
 */
import { openFs } from '../devices/fs/index.ts';
import type { FsDevice, FsSource, HostFolderOptions } from '../devices/fs/index.ts';
import type { FsChoices } from './fs-settings.ts';

/** Opens the device. @throws VhostUserError in words for people */
export function openFsDevice(choices: FsChoices, tag: string): FsDevice {
  const { numRequestQueues, queueSize, pollUs, readdirplus } = choices;
  return openFs({
    tag,
    source: sourceOf(choices),
    // As virtiofsd does: QEMU takes the tag from its own command line, and older ones crash.
    offerConfig: choices.tag !== undefined,
    ...(numRequestQueues !== undefined && { requestQueues: numRequestQueues }),
    ...(queueSize !== undefined && { queueSize }),
    ...(pollUs !== undefined && { pollUs }),
    ...(readdirplus === false && { readdirPlus: 'never' }),
  });
}

function sourceOf(choices: FsChoices): FsSource {
  const { sharedDir, archive, memory, preload, readonly } = choices;
  if (sharedDir !== undefined) {
    return { kind: 'folder', ...folderOptions(sharedDir, choices) };
  }
  if (archive !== undefined) return { kind: 'archive', path: archive };
  return {
    kind: 'memory',
    ...(typeof memory === 'number' && { bytesMax: memory }),
    ...(preload !== undefined && { preload }),
    ...(readonly !== undefined && { readOnly: readonly }),
  };
}

function folderOptions(folder: string, choices: FsChoices): HostFolderOptions {
  const { cache, writeback, allowMmap, allowDirectIo, readonly, announceSubmounts } = choices;
  const { xattr, xattrmap, posixAcl, killprivV2, preserveNoatime, owner } = choices;
  const { squashUid, squashGid, uidMap, gidMap, translateUid, translateGid } = choices;
  const { rlimitNofile, sharedLocks } = choices;
  return {
    folder,
    ...(cache !== undefined && { cache }),
    ...(writeback !== undefined && { writeback }),
    ...(allowMmap !== undefined && { allowMmap }),
    ...(allowDirectIo !== undefined && { allowDirectIo }),
    ...(readonly !== undefined && { readOnly: readonly }),
    ...(announceSubmounts !== undefined && { announceSubmounts }),
    ...(xattr !== undefined && { xattr }),
    ...(xattrmap !== undefined && { xattrMap: xattrmap }),
    ...(posixAcl !== undefined && { posixAcl: posixAcl !== 'never' }),
    ...(killprivV2 !== undefined && { killpriv: killprivV2 }),
    ...(sharedLocks !== undefined && { sharedLocks }),
    ...(preserveNoatime !== undefined && { preserveNoatime }),
    ...(owner !== undefined && { owner }),
    ...(squashUid !== undefined && { squashUid }),
    ...(squashGid !== undefined && { squashGid }),
    ...(uidMap !== undefined && { uidMap }),
    ...(gidMap !== undefined && { gidMap }),
    ...(translateUid !== undefined && { translateUid }),
    ...(translateGid !== undefined && { translateGid }),
    ...(rlimitNofile !== undefined && { fdLimit: rlimitNofile }),
  };
}
