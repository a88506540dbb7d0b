/**
 * What a file is and how full its file system is: results in blocks that are used again and again.
 *
 * @module
 */
import type { DevicePiece, Field, StatxLayout } from '../abi/index.ts';
import { ERRNO } from './errno.ts';
import { fellBack } from './fallback.ts';
import { abi, posixOnly } from './host.ts';
import * as libc from './libc-files.ts';
import { NativeBlock, interrupted, orErrno } from './native.ts';

const { files } = abi;
const LAYOUT = files.stat;
const { AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH = 0 } = files;
const ENOSYS = ERRNO.ENOSYS as number;
const TWO32 = 0x1_0000_0000;
const HIGH_MAX = 0x20_0000; // a high word below this makes a number below 2^53
const NAMELEN_DEFAULT = 255;
const NONE: Field = { offset: 0, bytes: 4 };
const NO_STATX = {
  devMajor: NONE,
  devMinor: NONE,
  rdevMajor: NONE,
  rdevMinor: NONE,
  mask: NONE,
  mountId: NONE,
  birthSec: NONE,
  birthNsec: NONE,
  STATX_BASIC_STATS: 0,
  STATX_BTIME: 0,
  STATX_MNT_ID: 0,
} as const;

/**
 * statx(2) tells the mount, and is the same structure everywhere; one call costs the same. Null
 * from the first answer on that is not the kernel's own.
 */
let statx = posixOnly || files.statx === null ? null : libc.statx;
/** On a host without statx the layout stands for one that is never read. */
const X: StatxLayout = files.statx ?? { ...LAYOUT, ...NO_STATX };
const STATX_MASK = X.STATX_BASIC_STATS | X.STATX_BTIME | X.STATX_MNT_ID;

// Fields as indices of 32-bit words: a block is decoded in 10 ns by constant indices, and in 500 by
// a table of fields. All our hosts are little-endian, so the first word is the low one.
const word = (field: Field): number => field.offset >> 2;
const X_INO = word(X.ino);
const X_MODE = word(X.mode);
const X_NLINK = word(X.nlink);
const X_UID = word(X.uid);
const X_GID = word(X.gid);
const X_SIZE = word(X.size);
const X_BLOCKS = word(X.blocks);
const X_BLKSIZE = word(X.blksize);
const X_ATIME = word(X.atimeSec);
const X_MTIME = word(X.mtimeSec);
const X_CTIME = word(X.ctimeSec);
const X_RDEV_MAJOR = word(X.rdevMajor);
const X_RDEV_MINOR = word(X.rdevMinor);
const X_DEV_MAJOR = word(X.devMajor);
const X_DEV_MINOR = word(X.devMinor);
const X_MASK = word(X.mask);
const X_MOUNT = word(X.mountId);
const X_BIRTH = word(X.birthSec);
const S_DEV = word(LAYOUT.dev);
const S_INO = word(LAYOUT.ino);
const S_MODE = word(LAYOUT.mode);
const S_NLINK = word(LAYOUT.nlink);
const S_UID = word(LAYOUT.uid);
const S_GID = word(LAYOUT.gid);
const S_RDEV = word(LAYOUT.rdev);
const S_SIZE = word(LAYOUT.size);
const S_BLOCKS = word(LAYOUT.blocks);
const S_BLKSIZE = word(LAYOUT.blksize);
const S_ATIME = word(LAYOUT.atimeSec);
const S_MTIME = word(LAYOUT.mtimeSec);
const S_CTIME = word(LAYOUT.ctimeSec);
/** Where 16-bit fields are in their words. */
const S_MODE_SHIFT = (LAYOUT.mode.offset & 2) * 8;
const S_NLINK_SHIFT = (LAYOUT.nlink.offset & 2) * 8;
const S_NLINK_MASK = LAYOUT.nlink.bytes === 2 ? 0xffff : 0xffff_ffff;
const S_DEV_WIDE = LAYOUT.dev.bytes === 8;
const MODE_MASK = 0xffff;

/** An empty name. */
const empty = new NativeBlock(1);

/**
 * What statAt and statFd say of a file; one is used again for any number of calls. The fields are
 * valid after a call that returned 0, until the next one.
 */
export class StatBlock {
  /** Where the kernel's structure is. Owned by this block. */
  readonly address: number;
  /** The inode number, exact below 2^53, else Infinity: `inoLow` and `inoHigh` always tell it. */
  ino = 0;
  inoLow = 0;
  inoHigh = 0;
  /** The host's `dev_t`, as Node's `stat.dev`. */
  dev = 0;
  /** Type and permissions, as Linux has them; the other hosts' numbers are the same. */
  mode = 0;
  nlink = 0;
  uid = 0;
  gid = 0;
  /** Of a device node. */
  rdevMajor = 0;
  rdevMinor = 0;
  /** Bytes. */
  size = 0;
  /** Units of 512 bytes. */
  blocks = 0;
  /** The preferred size of I/O. */
  blockBytes = 0;
  /** Seconds since 1970; negative before. */
  atimeSec = 0;
  atimeNsec = 0;
  mtimeSec = 0;
  mtimeNsec = 0;
  ctimeSec = 0;
  ctimeNsec = 0;
  /** When it was made; `birthNsec` is -1 where the host does not say. */
  birthSec = 0;
  birthNsec = -1;
  /** Which mount the file was found by, where the host tells, else `dev`. */
  mountId = 0;
  readonly #block: NativeBlock;
  #words: Uint32Array;
  #signed: Int32Array;
  // The device that was seen last: files of one file system follow each other.
  #devMajor = -1;
  #devMinor = -1;
  #dev = 0;

  constructor() {
    this.#block = new NativeBlock(Math.max(LAYOUT.SIZE, X.SIZE));
    this.address = this.#block.address;
    const { buffer } = this.#block.bytes;
    this.#words = new Uint32Array(buffer);
    this.#signed = new Int32Array(buffer);
  }

  /** Gives the memory back; the block is not used after that. */
  free(): void {
    this.#block.free();
    this.#words = new Uint32Array(0);
    this.#signed = new Int32Array(0);
  }

  /** Reads the fields out of `struct stat`. */
  loadStat(): void {
    const words = this.#words;
    this.#loadIno(words, S_INO);
    this.mode = (at(words, S_MODE) >>> S_MODE_SHIFT) & MODE_MASK;
    this.nlink = ((at(words, S_NLINK) >>> S_NLINK_SHIFT) & S_NLINK_MASK) >>> 0;
    this.uid = at(words, S_UID);
    this.gid = at(words, S_GID);
    this.size = wide(words, S_SIZE);
    this.blocks = wide(words, S_BLOCKS);
    this.blockBytes = at(words, S_BLKSIZE);
    this.atimeSec = this.#second(S_ATIME);
    this.atimeNsec = at(words, S_ATIME + 2);
    this.mtimeSec = this.#second(S_MTIME);
    this.mtimeNsec = at(words, S_MTIME + 2);
    this.ctimeSec = this.#second(S_CTIME);
    this.ctimeNsec = at(words, S_CTIME + 2);
    this.birthNsec = -1;
    this.dev = S_DEV_WIDE ? wide(words, S_DEV) : at(words, S_DEV);
    this.mountId = this.dev;
    const rdev = S_DEV_WIDE ? wide(words, S_RDEV) : at(words, S_RDEV);
    this.rdevMajor = rdev === 0 ? 0 : gather(rdev, files.device.major);
    this.rdevMinor = rdev === 0 ? 0 : gather(rdev, files.device.minor);
  }

  /** Reads the fields out of `struct statx`. */
  loadStatx(): void {
    const words = this.#words;
    this.#loadIno(words, X_INO);
    this.mode = at(words, X_MODE) & MODE_MASK;
    this.nlink = at(words, X_NLINK);
    this.uid = at(words, X_UID);
    this.gid = at(words, X_GID);
    this.size = wide(words, X_SIZE);
    this.blocks = wide(words, X_BLOCKS);
    this.blockBytes = at(words, X_BLKSIZE);
    this.atimeSec = this.#second(X_ATIME);
    this.atimeNsec = at(words, X_ATIME + 2);
    this.mtimeSec = this.#second(X_MTIME);
    this.mtimeNsec = at(words, X_MTIME + 2);
    this.ctimeSec = this.#second(X_CTIME);
    this.ctimeNsec = at(words, X_CTIME + 2);
    const told = at(words, X_MASK);
    const isBorn = (told & X.STATX_BTIME) !== 0;
    this.birthSec = isBorn ? this.#second(X_BIRTH) : 0;
    this.birthNsec = isBorn ? at(words, X_BIRTH + 2) : -1;
    this.rdevMajor = at(words, X_RDEV_MAJOR);
    this.rdevMinor = at(words, X_RDEV_MINOR);
    this.dev = this.#device(at(words, X_DEV_MAJOR), at(words, X_DEV_MINOR));
    const isPlaced = (told & X.STATX_MNT_ID) !== 0; // Linux 5.8
    this.mountId = isPlaced ? wide(words, X_MOUNT) : this.dev;
    if (!isPlaced) withoutStatx();
  }

  #loadIno(words: Uint32Array, index: number): void {
    const low = at(words, index);
    const high = at(words, index + 1);
    this.inoLow = low;
    this.inoHigh = high;
    this.ino = high < HIGH_MAX ? high * TWO32 + low : Infinity;
  }

  #second(index: number): number {
    return at(this.#words, index) + (this.#signed[index + 1] as number) * TWO32;
  }

  #device(major: number, minor: number): number {
    if (major !== this.#devMajor || minor !== this.#devMinor) {
      this.#devMajor = major;
      this.#devMinor = minor;
      this.#dev = makeDevice(major, minor);
    }
    return this.#dev;
  }
}

/**
 * No mount in an answer: the kernel is old, or the C library has put the answer together out of
 * fstatat(2) because the kernel refused the call. Asking fstatat right away is faster then, and
 * tells as much.
 */
function withoutStatx(): void {
  statx = null;
  fellBack('statx', 'fstatat and fstat');
}

/** What is under a name, never following a symbolic link there; 0 or -errno. */
export function statAt(dirFd: number, name: number, stat: StatBlock): number {
  if (statx !== null) {
    const flags = AT_SYMLINK_NOFOLLOW;
    let result = statx(dirFd, name, flags, STATX_MASK, stat.address);
    while (interrupted(result)) result = statx(dirFd, name, flags, STATX_MASK, stat.address);
    if (result < 0) {
      const error = orErrno(result);
      if (error !== -ENOSYS) return error;
      withoutStatx();
      return statAt(dirFd, name, stat);
    }
    stat.loadStatx();
    return 0;
  }
  let result = libc.fstatat(dirFd, name, stat.address, AT_SYMLINK_NOFOLLOW);
  while (interrupted(result)) {
    result = libc.fstatat(dirFd, name, stat.address, AT_SYMLINK_NOFOLLOW);
  }
  if (result < 0) return orErrno(result);
  stat.loadStat();
  return 0;
}

/** What an fd is open on, also one of O_PATH; 0 or -errno. */
export function statFd(fd: number, stat: StatBlock): number {
  if (statx !== null) {
    let result = statx(fd, empty.address, AT_EMPTY_PATH, STATX_MASK, stat.address);
    while (interrupted(result)) {
      result = statx(fd, empty.address, AT_EMPTY_PATH, STATX_MASK, stat.address);
    }
    if (result < 0) {
      const error = orErrno(result);
      if (error !== -ENOSYS) return error;
      withoutStatx();
      return statFd(fd, stat);
    }
    stat.loadStatx();
    return 0;
  }
  let result = libc.fstat(fd, stat.address);
  while (interrupted(result)) result = libc.fstat(fd, stat.address);
  if (result < 0) return orErrno(result);
  stat.loadStat();
  return 0;
}

/** What statFs says of a file system; one is used again for any number of calls. */
export class StatFsBlock {
  /** Where the kernel's structure is. Owned by this block. */
  readonly address: number;
  /** Space, in units of `frsize` bytes. */
  blocks = 0;
  bfree = 0;
  /** Free for users that are not root; never negative. */
  bavail = 0;
  /** Inodes; 0 where the file system has no bound. */
  files = 0;
  ffree = 0;
  /** The preferred size of I/O. */
  bsize = 0;
  /** Longest name in bytes. */
  namelen: number = NAMELEN_DEFAULT;
  frsize = 0;
  readonly #block: NativeBlock;

  constructor() {
    this.#block = new NativeBlock(files.statfs.SIZE);
    this.address = this.#block.address;
  }

  /** Gives the memory back; the block is not used after that. */
  free(): void {
    this.#block.free();
  }

  /** Reads the fields out of `struct statfs`. */
  load(): void {
    const { view } = this.#block;
    const layout = files.statfs;
    this.bsize = get(view, layout.bsize);
    this.blocks = get(view, layout.blocks);
    this.bfree = get(view, layout.bfree);
    this.bavail = Math.max(0, getSigned(view, layout.bavail)); // the reserve of root is in use
    this.files = get(view, layout.files);
    this.ffree = Math.max(0, getSigned(view, layout.ffree));
    this.namelen = layout.namelen === null ? NAMELEN_DEFAULT : get(view, layout.namelen);
    const fragment = layout.frsize === null ? 0 : get(view, layout.frsize);
    this.frsize = fragment === 0 ? this.bsize : fragment;
  }
}

/** How full the file system of an fd is; 0 or -errno. */
export function statFs(fd: number, out: StatFsBlock): number {
  let result = libc.fstatfs(fd, out.address);
  while (interrupted(result)) result = libc.fstatfs(fd, out.address);
  if (result < 0) return orErrno(result);
  out.load();
  return 0;
}

let lastMajor = -1;
let lastMinor = -1;
let lastDevice = 0;

/** The host's `dev_t` of a major and a minor number. */
export function makeDevice(major: number, minor: number): number {
  if (major === lastMajor && minor === lastMinor) return lastDevice; // nearly always the same disk
  lastMajor = major;
  lastMinor = minor;
  lastDevice = scatter(major, files.device.major) + scatter(minor, files.device.minor);
  return lastDevice;
}

/** The bits of `dev` that make up the major or the minor number. */
function gather(dev: number, pieces: readonly DevicePiece[]): number {
  let number = 0;
  for (const { from, bits, to } of pieces) {
    number += (Math.floor(dev / 2 ** from) % 2 ** bits) * 2 ** to;
  }
  return number;
}

function scatter(number: number, pieces: readonly DevicePiece[]): number {
  let dev = 0;
  for (const { from, bits, to } of pieces) {
    dev += (Math.floor(number / 2 ** to) % 2 ** bits) * 2 ** from;
  }
  return dev;
}

/** An unsigned field. */
function get(view: DataView, field: Field): number {
  const at = field.offset;
  if (field.bytes === 8) return view.getUint32(at, true) + view.getUint32(at + 4, true) * TWO32;
  if (field.bytes === 4) return view.getUint32(at, true);
  return field.bytes === 2 ? view.getUint16(at, true) : view.getUint8(at);
}

/** A signed field of 64 bits, or an unsigned one that is shorter. */
function getSigned(view: DataView, field: Field): number {
  const at = field.offset;
  if (field.bytes !== 8) return get(view, field);
  return view.getUint32(at, true) + view.getInt32(at + 4, true) * TWO32;
}

/** A word of 32 bits. */
function at(words: Uint32Array, index: number): number {
  return words[index] as number;
}

/** Two words, the low one first: exact below 2^53. */
function wide(words: Uint32Array, index: number): number {
  return (words[index] as number) + (words[index + 1] as number) * TWO32;
}
