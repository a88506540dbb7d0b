/**
 * What a file is and how full its file system is: results in blocks that are used again and again.
 *
 * @module
 */
import type { DevicePiece, Field } from '../abi/index.ts';
import { abi, posixOnly } from './host.ts';
import * as libc from './libc-files.ts';
import { NativeBlock, interrupted, orErrno } from './native.ts';

const { files } = abi;
const LAYOUT = files.stat;
const { AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH = 0 } = files;
const TWO32 = 0x1_0000_0000;
const HIGH_MAX = 0x20_0000; // a high word below this makes a number below 2^53
const NAMELEN_DEFAULT = 255;
const STATX_MAY_SYNC = 0;

/** statx(2) tells the mount, and is the same structure everywhere; one call costs the same. */
const statx = posixOnly || files.statx === null ? null : libc.statx;
const X = files.statx ?? { ...LAYOUT, ...noStatx() };
const STATX_MASK = X.STATX_BASIC_STATS | X.STATX_MNT_ID;

/** An empty name, and the room for structures; the block is this thread's own. */
const scratch = new NativeBlock(16);

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
  /** Which mount the file was found by, where the host tells, else `dev`. */
  mountId = 0;
  readonly #block: NativeBlock;

  constructor() {
    this.#block = new NativeBlock(Math.max(LAYOUT.SIZE, X.SIZE));
    this.address = this.#block.address;
  }

  /** Gives the memory back; the block is not used after that. */
  free(): void {
    this.#block.free();
  }

  /** Reads the fields out of `struct stat`. */
  loadStat(): void {
    const { view } = this.#block;
    this.#loadCommon(view, LAYOUT);
    this.dev = get(view, LAYOUT.dev);
    const rdev = get(view, LAYOUT.rdev);
    this.rdevMajor = gather(rdev, files.device.major);
    this.rdevMinor = gather(rdev, files.device.minor);
    this.mountId = this.dev;
  }

  /** Reads the fields out of `struct statx`. */
  loadStatx(): void {
    const { view } = this.#block;
    this.#loadCommon(view, X);
    this.dev = makeDevice(get(view, X.devMajor), get(view, X.devMinor));
    this.rdevMajor = get(view, X.rdevMajor);
    this.rdevMinor = get(view, X.rdevMinor);
    const told = (get(view, X.mask) & X.STATX_MNT_ID) !== 0; // Linux 5.8
    this.mountId = told ? get(view, X.mountId) : this.dev;
  }

  #loadCommon(view: DataView, layout: Omit<typeof LAYOUT, 'dev' | 'rdev'>): void {
    const low = view.getUint32(layout.ino.offset, true);
    const high = view.getUint32(layout.ino.offset + 4, true);
    this.inoLow = low;
    this.inoHigh = high;
    this.ino = high < HIGH_MAX ? high * TWO32 + low : Infinity;
    this.mode = get(view, layout.mode);
    this.nlink = get(view, layout.nlink);
    this.uid = get(view, layout.uid);
    this.gid = get(view, layout.gid);
    this.size = get(view, layout.size);
    this.blocks = get(view, layout.blocks);
    this.blockBytes = get(view, layout.blksize);
    this.atimeSec = getSigned(view, layout.atimeSec);
    this.atimeNsec = get(view, layout.atimeNsec);
    this.mtimeSec = getSigned(view, layout.mtimeSec);
    this.mtimeNsec = get(view, layout.mtimeNsec);
    this.ctimeSec = getSigned(view, layout.ctimeSec);
    this.ctimeNsec = get(view, layout.ctimeNsec);
  }
}

/** What is under a name, never following a symbolic link there; 0 or -errno. */
export function statAt(dirFd: number, name: number, stat: StatBlock): number {
  if (statx !== null) {
    const flags = AT_SYMLINK_NOFOLLOW | STATX_MAY_SYNC;
    let result = statx(dirFd, name, flags, STATX_MASK, stat.address);
    while (interrupted(result)) result = statx(dirFd, name, flags, STATX_MASK, stat.address);
    if (result < 0) return orErrno(result);
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
    let result = statx(fd, scratch.address, AT_EMPTY_PATH, STATX_MASK, stat.address);
    while (interrupted(result)) {
      result = statx(fd, scratch.address, AT_EMPTY_PATH, STATX_MASK, stat.address);
    }
    if (result < 0) return orErrno(result);
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

/** Stands for the layout of statx on a host that has none: it is never read. */
function noStatx(): Pick<
  NonNullable<typeof files.statx>,
  | 'devMajor'
  | 'devMinor'
  | 'rdevMajor'
  | 'rdevMinor'
  | 'mask'
  | 'mountId'
  | 'STATX_BASIC_STATS'
  | 'STATX_MNT_ID'
> {
  const none: Field = { offset: 0, bytes: 4 };
  return {
    devMajor: none,
    devMinor: none,
    rdevMajor: none,
    rdevMinor: none,
    mask: none,
    mountId: none,
    STATX_BASIC_STATS: 0,
    STATX_MNT_ID: 0,
  };
}
