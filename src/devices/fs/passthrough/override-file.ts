/**
 * Owner and mode of a file in an extended attribute of it: policy `xattr`, the way of hosts where
 * this process is not root.
 *
 * @module
 */
import { LINUX_E } from '../../../fuse/index.ts';
import { NativeBlock, getXattrFd, linuxErrno, setXattrFd } from '../../../sys/index.ts';
import type { FolderState } from './folder-state.ts';
import {
  OVERRIDE_STAT_NAME,
  OverrideStat,
  formatOverrideStat,
  parseOverrideStat,
} from './override-stat.ts';

const VALUE_BYTES_MAX = 64;

const name = new NativeBlock(OVERRIDE_STAT_NAME.length + 1);
new TextEncoder().encodeInto(OVERRIDE_STAT_NAME, name.bytes);
const value = new NativeBlock(VALUE_BYTES_MAX);
const scratch = new OverrideStat();

/**
 * What a node's attribute says of its owner and mode; null when it has none, or the policy is
 * another one. Borrowed until the next call.
 */
export function overrideOf(state: FolderState, slot: number): OverrideStat | null {
  if (state.owners.policy !== 'xattr') return null;
  const fd = state.nodeFd(slot);
  if (fd < 0) return null;
  const bytes = getXattrFd(fd, name.address, value.address, VALUE_BYTES_MAX);
  return bytes > 0 && parseOverrideStat(value.bytes, bytes, scratch) ? scratch : null;
}

/**
 * The same, or what the guest sees of a node without the attribute, which `state.stat` describes.
 */
export function overrideOrStat(state: FolderState, slot: number): OverrideStat {
  const said = overrideOf(state, slot);
  if (said !== null) return said;
  scratch.uid = state.settings.squashUid;
  scratch.gid = state.settings.squashGid;
  scratch.mode = state.stat.mode & 0o7777;
  scratch.type = 0;
  scratch.major = 0;
  scratch.minor = 0;
  return scratch;
}

/** Writes the attribute of an open file or folder; 0 or a negative errno. */
export function saveOverride(fd: number, said: OverrideStat): number {
  const bytes = formatOverrideStat(said, value.bytes);
  if (bytes < 0) return -LINUX_E.INVAL;
  const result = setXattrFd(fd, name.address, value.address, bytes, 0);
  return result < 0 ? -linuxErrno(-result) : 0;
}
