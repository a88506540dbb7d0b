/**
 * Who owns the files of a shared folder, in the guest's numbers and in the host's.
 *
 * @module
 */
import { FUSE_ATTR, S_IF, encodeDev } from '../../../fuse/index.ts';
import type { StatBlock } from '../../../sys/index.ts';
import { IdMap } from './id-map.ts';
import type { HostFolderSettings, OwnerPolicy } from './options.ts';
import type { OverrideStat } from './override-stat.ts';

const WORD = 0x1_0000_0000;

/** See the module. */
export class Owners {
  readonly policy: OwnerPolicy;
  readonly #uids: IdMap;
  readonly #gids: IdMap;
  readonly #fallbackUid: number;
  readonly #fallbackGid: number;

  /** @throws VhostUserError `ERR_VHU_OPTION` for a rule that is none. */
  constructor(settings: HostFolderSettings) {
    const { owner, squashUid, squashGid } = settings;
    this.policy = owner;
    this.#fallbackUid = squashUid;
    this.#fallbackGid = squashGid;
    this.#uids = IdMap.parse(settings.uidMap, settings.translateUid);
    this.#gids = IdMap.parse(settings.gidMap, settings.translateGid);
  }

  /** The host's number of a guest's user; -1 for one that may own nothing. */
  hostUid(uid: number): number {
    return this.#uids.toHost(uid);
  }

  /** The same for a group. */
  hostGid(gid: number): number {
    return this.#gids.toHost(gid);
  }

  /**
   * Writes `struct fuse_attr` at `at`. `override` is what the file's attribute says of its owner,
   * with policy `xattr`; null when it has none.
   */
  fillAttr(
    out: DataView,
    at: number,
    stat: StatBlock,
    flags: number,
    override: OverrideStat | null,
  ): void {
    let { mode } = stat;
    let uid = this.#fallbackUid;
    let gid = this.#fallbackGid;
    let rdev = encodeDev(stat.rdevMajor, stat.rdevMinor);
    if (this.policy === 'host') {
      uid = this.#uids.toGuest(stat.uid);
      gid = this.#gids.toGuest(stat.gid);
    } else if (override !== null) {
      uid = override.uid;
      gid = override.gid;
      if (override.mode >= 0) mode = (mode & S_IF.MT) | (override.mode & ~S_IF.MT);
      if (override.type !== 0) {
        mode = (mode & ~S_IF.MT) | override.type;
        rdev = encodeDev(override.major, override.minor);
      }
    }
    out.setUint32(at + FUSE_ATTR.ino, stat.inoLow, true);
    out.setUint32(at + FUSE_ATTR.ino + 4, stat.inoHigh, true);
    setU53(out, at + FUSE_ATTR.size, stat.size);
    setU53(out, at + FUSE_ATTR.blocks, stat.blocks);
    setI53(out, at + FUSE_ATTR.atime, stat.atimeSec);
    setI53(out, at + FUSE_ATTR.mtime, stat.mtimeSec);
    setI53(out, at + FUSE_ATTR.ctime, stat.ctimeSec);
    out.setUint32(at + FUSE_ATTR.atimensec, stat.atimeNsec, true);
    out.setUint32(at + FUSE_ATTR.mtimensec, stat.mtimeNsec, true);
    out.setUint32(at + FUSE_ATTR.ctimensec, stat.ctimeNsec, true);
    out.setUint32(at + FUSE_ATTR.mode, mode, true);
    out.setUint32(at + FUSE_ATTR.nlink, stat.nlink, true);
    out.setUint32(at + FUSE_ATTR.uid, uid, true);
    out.setUint32(at + FUSE_ATTR.gid, gid, true);
    out.setUint32(at + FUSE_ATTR.rdev, rdev, true);
    out.setUint32(at + FUSE_ATTR.blksize, stat.blockBytes, true);
    out.setUint32(at + FUSE_ATTR.flags, flags, true);
  }
}

/** Writes a number from 0 to 2^53. */
export function setU53(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, value / WORD, true);
}

/** Writes a whole number that may be negative: a time before 1970. */
export function setI53(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setInt32(at + 4, Math.floor(value / WORD), true);
}

/** Reads a number below 2^64; from 2^53 on it is not exact. */
export function getU64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * WORD + view.getUint32(at, true);
}

/** Reads a signed number of 64 bits. */
export function getI64(view: DataView, at: number): number {
  return view.getInt32(at + 4, true) * WORD + view.getUint32(at, true);
}
