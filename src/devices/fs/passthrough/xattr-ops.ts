/**
 * Extended attributes of nodes, under the names that the map gives them on the host.
 *
 * @module
 */
import {
  FUSE_GETXATTR_IN,
  FUSE_GETXATTR_OUT,
  FUSE_INIT,
  FUSE_SETXATTR_ACL_KILL_SGID,
  FUSE_SETXATTR_IN,
  LINUX_E,
} from '../../../fuse/index.ts';
import {
  NativeBlock,
  getXattrFd,
  listXattrFd,
  removeXattrFd,
  setXattrFd,
  statFd,
  chmodFd,
} from '../../../sys/index.ts';
import type { FuseCall } from '../operations.ts';
import { STALE } from './entries.ts';
import { toLinux } from './folder-state.ts';
import type { FolderState } from './folder-state.ts';
import { NO_SLOT } from './node-table.ts';
import { OVERRIDE_STAT_NAME } from './override-stat.ts';
import { XattrMap } from './xattr-map.ts';

const NAME_BYTES_MAX = 512; // a name of 255 bytes and what a map puts before it
const LIST_BYTES_MAX = 64 * 1024; // XATTR_LIST_MAX
const S_ISGID = 0o2000;

/** See the module. */
export class XattrOps {
  readonly #map: XattrMap;
  readonly #name = new NativeBlock(NAME_BYTES_MAX);
  readonly #list = new NativeBlock(LIST_BYTES_MAX);
  readonly #hidden: Uint8Array | null;

  /** @throws VhostUserError `ERR_VHU_OPTION` for a map that is none. */
  constructor(state: FolderState) {
    const { xattrMap, owner } = state.settings;
    this.#map = xattrMap === '' ? XattrMap.none : XattrMap.parse(xattrMap);
    // What says who owns a file is not for the guest to read, and less to write.
    this.#hidden = owner === 'xattr' ? new TextEncoder().encode(OVERRIDE_STAT_NAME) : null;
  }

  /** GETXATTR: the value, or its size when the guest asks for 0 bytes. */
  get(state: FolderState, call: FuseCall): number {
    const size = call.input.getUint32(FUSE_GETXATTR_IN.size, true);
    const fd = this.#open(state, call);
    if (fd < 0) return fd;
    const name = this.#hostName(call);
    // A name that is not for the guest is one that the file does not have.
    if (name < 0) return name === -LINUX_E.PERM ? -LINUX_E.NODATA : name;
    if (size === 0) return sizeAnswer(call, toLinux(getXattrFd(fd, name, 0, 0)));
    const room = Math.min(size, call.outBytesMax);
    return toLinux(getXattrFd(fd, name, call.outAddress, room));
  }

  /** SETXATTR. */
  set(state: FolderState, call: FuseCall): number {
    const flags = call.input.getUint32(FUSE_SETXATTR_IN.flags, true);
    const fd = this.#open(state, call);
    if (fd < 0) return fd;
    const name = this.#hostName(call);
    if (name < 0) return name;
    const result = toLinux(setXattrFd(fd, name, call.secondAddress, call.secondBytes, flags));
    if (result < 0 || ((state.session?.flags ?? 0) & FUSE_INIT.SETXATTR_EXT) === 0) return result;
    const more = call.input.getUint32(FUSE_SETXATTR_IN.setxattrFlags, true);
    return (more & FUSE_SETXATTR_ACL_KILL_SGID) === 0 ? result : killGroup(state, fd);
  }

  /** LISTXATTR: the names that the guest may know, each with its NUL. */
  list(state: FolderState, call: FuseCall): number {
    const size = call.input.getUint32(FUSE_GETXATTR_IN.size, true);
    const fd = this.#open(state, call);
    if (fd < 0) return fd;
    const bytes = toLinux(listXattrFd(fd, this.#list.address, LIST_BYTES_MAX));
    if (bytes < 0) return bytes;
    const used = this.#guestNames(call.outArray, bytes);
    if (size === 0) return sizeAnswer(call, used);
    return used > Math.min(size, call.outBytesMax) ? -LINUX_E.RANGE : used;
  }

  /** REMOVEXATTR. */
  remove(state: FolderState, call: FuseCall): number {
    const fd = this.#open(state, call);
    if (fd < 0) return fd;
    const name = this.#hostName(call);
    return name < 0 ? name : toLinux(removeXattrFd(fd, name));
  }

  #open(state: FolderState, call: FuseCall): number {
    const slot = state.slotOf(call);
    return slot === NO_SLOT ? STALE : state.nodeFd(slot);
  }

  /** Puts the host's name for the first name of a call into place; its address, or an errno. */
  #hostName(call: FuseCall): number {
    const { nameOffset, nameBytes, inputArray } = call;
    const asked = inputArray.subarray(nameOffset, nameOffset + nameBytes);
    const { bytes, address } = this.#name;
    const length = this.#map.toHost(asked, bytes.subarray(0, NAME_BYTES_MAX - 1));
    if (length < 0) return length;
    if (this.#isHidden(bytes, 0, length)) return -LINUX_E.PERM;
    bytes[length] = 0;
    return address;
  }

  /** Writes the guest's names for those in the list; as many bytes as there is room for. */
  #guestNames(out: Uint8Array, listBytes: number): number {
    const { bytes } = this.#list;
    let used = 0;
    for (let at = 0; at < listBytes;) {
      const end = bytes.indexOf(0, at);
      if (end < 0 || end >= listBytes) break;
      if (!this.#isHidden(bytes, at, end - at)) {
        const length = this.#map.toGuest(bytes.subarray(at, end), out.subarray(used));
        if (length > 0) {
          out[used + length] = 0;
          used += length + 1;
        }
      }
      at = end + 1;
    }
    return used;
  }

  #isHidden(bytes: Uint8Array, at: number, length: number): boolean {
    const hidden = this.#hidden;
    if (hidden?.length !== length) return false;
    for (let i = 0; i < length; i++) if (hidden[i] !== bytes[at + i]) return false;
    return true;
  }
}

function sizeAnswer(call: FuseCall, size: number): number {
  if (size < 0) return size;
  call.out.setUint32(FUSE_GETXATTR_OUT.size, size, true);
  call.out.setUint32(FUSE_GETXATTR_OUT.size + 4, 0, true);
  return FUSE_GETXATTR_OUT.SIZE;
}

/** A new access control list of somebody outside of the group: setgid goes. */
function killGroup(state: FolderState, fd: number): number {
  const result = toLinux(statFd(fd, state.stat));
  if (result < 0) return result;
  const { mode } = state.stat;
  return (mode & S_ISGID) === 0 ? 0 : toLinux(chmodFd(fd, mode & 0o7777 & ~S_ISGID));
}
