/**
 * Arguments and answers of FUSE requests as values: what {@link FuseCalls} sends and gets.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import {
  FUSE_ATTR,
  FUSE_ATTR_SUBMOUNT,
  FUSE_DIRENT,
  FUSE_DIRENTPLUS,
  FUSE_ENTRY_OUT,
  FUSE_KSTATFS,
  S_IF,
  direntType,
  fuseRecordBytes,
} from '../../fuse/index.ts';
import { getU64 } from './wire.ts';

const NS_PER_SECOND = 1_000_000_000n;
const NS_PER_MS = 1_000_000n;

/** A name in a folder: text is UTF-8; bytes are for names that are not. */
export type FsName = string | Uint8Array;

/** A moment: seconds since 1970 as Node has them, a date, nanoseconds, or the server's clock. */
export type FsTime = number | bigint | Date | 'now';

/** Arguments of a request: a structure that is zeroes at first, and names with their NULs. */
export class FuseArguments {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(structBytes: number, ...names: readonly FsName[]) {
    const parts = names.map((name) => (typeof name === 'string' ? Buffer.from(name) : name));
    const total = parts.reduce((sum, part) => sum + part.length + 1, structBytes);
    this.bytes = new Uint8Array(total);
    this.#view = new DataView(this.bytes.buffer);
    let at = structBytes;
    for (const part of parts) {
      this.bytes.set(part, at);
      at += part.length + 1;
    }
  }

  /** Sets 32 bits. */
  u32(at: number, value: number): this {
    this.#view.setUint32(at, value, true);
    return this;
  }

  /** Sets 64 bits; a negative number is two's complement. */
  u64(at: number, value: number | bigint): this {
    this.#view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true);
    return this;
  }
}

/** What a file is: `struct fuse_attr`, with the names of Node's `fs.Stats`. */
export class FsStats {
  readonly ino: number;
  readonly size: number;
  /** In units of 512 bytes. */
  readonly blocks: number;
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
  readonly blksize: number;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  /** The root of another file system (a server that announces submounts says so). */
  readonly isSubmount: boolean;

  /** Reads a `struct fuse_attr`. */
  constructor(view: DataView, at: number) {
    const u32 = (field: number): number => view.getUint32(at + field, true);
    const time = (seconds: number, ns: number): bigint =>
      view.getBigInt64(at + seconds, true) * NS_PER_SECOND + BigInt(u32(ns));
    this.ino = getU64(view, at + FUSE_ATTR.ino);
    this.size = getU64(view, at + FUSE_ATTR.size);
    this.blocks = getU64(view, at + FUSE_ATTR.blocks);
    this.mode = u32(FUSE_ATTR.mode);
    this.nlink = u32(FUSE_ATTR.nlink);
    this.uid = u32(FUSE_ATTR.uid);
    this.gid = u32(FUSE_ATTR.gid);
    this.rdev = u32(FUSE_ATTR.rdev);
    this.blksize = u32(FUSE_ATTR.blksize);
    this.atimeNs = time(FUSE_ATTR.atime, FUSE_ATTR.atimensec);
    this.mtimeNs = time(FUSE_ATTR.mtime, FUSE_ATTR.mtimensec);
    this.ctimeNs = time(FUSE_ATTR.ctime, FUSE_ATTR.ctimensec);
    this.isSubmount = (u32(FUSE_ATTR.flags) & FUSE_ATTR_SUBMOUNT) !== 0;
  }

  /** Milliseconds since 1970. */
  get atimeMs(): number {
    return msOf(this.atimeNs);
  }

  /** See `atimeMs`. */
  get mtimeMs(): number {
    return msOf(this.mtimeNs);
  }

  /** See `atimeMs`. */
  get ctimeMs(): number {
    return msOf(this.ctimeNs);
  }

  /** The same as a date. */
  get atime(): Date {
    return new Date(this.atimeMs);
  }

  /** See `atime`. */
  get mtime(): Date {
    return new Date(this.mtimeMs);
  }

  /** See `atime`. */
  get ctime(): Date {
    return new Date(this.ctimeMs);
  }

  /** Whether it is a regular file. */
  isFile(): boolean {
    return (this.mode & S_IF.MT) === S_IF.REG;
  }

  /** Whether it is a folder. */
  isDirectory(): boolean {
    return (this.mode & S_IF.MT) === S_IF.DIR;
  }

  /** Whether it is a symbolic link. */
  isSymbolicLink(): boolean {
    return (this.mode & S_IF.MT) === S_IF.LNK;
  }

  /** Whether it is a FIFO. */
  isFIFO(): boolean {
    return (this.mode & S_IF.MT) === S_IF.IFO;
  }

  /** Whether it is a socket. */
  isSocket(): boolean {
    return (this.mode & S_IF.MT) === S_IF.SOCK;
  }

  /** Whether it is a block device. */
  isBlockDevice(): boolean {
    return (this.mode & S_IF.MT) === S_IF.BLK;
  }

  /** Whether it is a character device. */
  isCharacterDevice(): boolean {
    return (this.mode & S_IF.MT) === S_IF.CHR;
  }
}

/** What a server says of a name: the node behind it. Each one counts as a lookup of the node. */
export interface FuseEntry {
  readonly nodeId: number;
  readonly generation: bigint;
  readonly stats: FsStats;
  /** How long the name and the attributes hold, in nanoseconds. */
  readonly entryValidNs: bigint;
  readonly attrValidNs: bigint;
}

/** Reads a `struct fuse_entry_out`; null: the name is known not to exist. */
export function parseEntry(view: DataView, at: number): FuseEntry | null {
  const nodeId = getU64(view, at + FUSE_ENTRY_OUT.nodeid);
  if (nodeId === 0) return null;
  if (!Number.isSafeInteger(nodeId)) {
    throw new VhostUserError('ERR_VHU_FS_REPLY', 'a node id from 2^53 up is not supported');
  }
  const valid = (seconds: number, ns: number): bigint =>
    view.getBigUint64(at + seconds, true) * NS_PER_SECOND + BigInt(view.getUint32(at + ns, true));
  return {
    nodeId,
    generation: view.getBigUint64(at + FUSE_ENTRY_OUT.generation, true),
    stats: new FsStats(view, at + FUSE_ENTRY_OUT.attr),
    entryValidNs: valid(FUSE_ENTRY_OUT.entryValid, FUSE_ENTRY_OUT.entryValidNsec),
    attrValidNs: valid(FUSE_ENTRY_OUT.attrValid, FUSE_ENTRY_OUT.attrValidNsec),
  };
}

/** An entry of a folder, as a listing has it. */
export interface FuseDirent {
  readonly ino: number;
  /** Where the listing goes on after it. */
  readonly cookie: bigint;
  /** `d_type`: a mode's kind, shifted by 12; 0 is unknown. */
  readonly type: number;
  readonly name: Buffer;
  /** Of READDIRPLUS: the node, with a lookup; null without one, and for `.` and `..`. */
  readonly entry: FuseEntry | null;
}

/**
 * Reads the answer to READDIR or READDIRPLUS.
 * @throws VhostUserError `ERR_VHU_FS_REPLY` for what is cut off, or has no name.
 */
export function parseDirents(bytes: Uint8Array, plus: boolean): FuseDirent[] {
  const view = viewOf(bytes);
  const head = plus ? FUSE_DIRENTPLUS.SIZE : FUSE_DIRENT.SIZE;
  const list: FuseDirent[] = [];
  for (let at = 0; at < bytes.length;) {
    const dirent = at + (plus ? FUSE_DIRENTPLUS.dirent : 0);
    const fits = at + head <= bytes.length;
    const nameBytes = fits ? view.getUint32(dirent + FUSE_DIRENT.namelen, true) : 0;
    const end = at + head + nameBytes;
    if (nameBytes === 0 || end > bytes.length) {
      throw new VhostUserError('ERR_VHU_FS_REPLY', 'a listing holds an entry that is cut off');
    }
    const name = Buffer.from(bytes.subarray(at + head, end));
    const dots = name.equals(Buffer.from('.')) || name.equals(Buffer.from('..'));
    list.push({
      ino: getU64(view, dirent + FUSE_DIRENT.ino),
      cookie: view.getBigUint64(dirent + FUSE_DIRENT.off, true),
      type: view.getUint32(dirent + FUSE_DIRENT.type, true),
      name,
      entry: plus && !dots ? parseEntry(view, at + FUSE_DIRENTPLUS.entryOut) : null,
    });
    at += fuseRecordBytes(head, nameBytes);
  }
  return list;
}

/** An entry of a folder, with the methods of Node's `fs.Dirent`. */
export class FsDirent<Name extends string | Buffer = string> {
  readonly name: Name;
  /** The path of the folder that it is in. */
  readonly parentPath: string;
  readonly ino: number;
  /** What `readdir` was asked for with `withStats`; else null. */
  readonly stats: FsStats | null;
  readonly #type: number;

  constructor(
    name: Name,
    parentPath: string,
    from: { readonly ino: number; readonly type: number; readonly stats: FsStats | null },
  ) {
    this.name = name;
    this.parentPath = parentPath;
    this.ino = from.ino;
    this.stats = from.stats;
    this.#type = from.stats === null ? from.type : direntType(from.stats.mode);
  }

  /** Whether it is a regular file. */
  isFile(): boolean {
    return this.#type === direntType(S_IF.REG);
  }

  /** Whether it is a folder. */
  isDirectory(): boolean {
    return this.#type === direntType(S_IF.DIR);
  }

  /** Whether it is a symbolic link. */
  isSymbolicLink(): boolean {
    return this.#type === direntType(S_IF.LNK);
  }

  /** Whether it is a FIFO. */
  isFIFO(): boolean {
    return this.#type === direntType(S_IF.IFO);
  }

  /** Whether it is a socket. */
  isSocket(): boolean {
    return this.#type === direntType(S_IF.SOCK);
  }

  /** Whether it is a block device. */
  isBlockDevice(): boolean {
    return this.#type === direntType(S_IF.BLK);
  }

  /** Whether it is a character device. */
  isCharacterDevice(): boolean {
    return this.#type === direntType(S_IF.CHR);
  }
}

/** What a file system has, in blocks of `bsize` bytes: Node's `fs.StatFs`. */
export interface FsStatFs {
  readonly bsize: number;
  /** The unit of `blocks`, `bfree` and `bavail`. */
  readonly frsize: number;
  readonly blocks: number;
  readonly bfree: number;
  readonly bavail: number;
  readonly files: number;
  readonly ffree: number;
  /** The longest name, in bytes. */
  readonly namelen: number;
}

/** Reads a `struct fuse_kstatfs`. */
export function parseStatFs(bytes: Uint8Array): FsStatFs {
  const view = viewOf(bytes);
  return {
    bsize: view.getUint32(FUSE_KSTATFS.bsize, true),
    frsize: view.getUint32(FUSE_KSTATFS.frsize, true),
    blocks: getU64(view, FUSE_KSTATFS.blocks),
    bfree: getU64(view, FUSE_KSTATFS.bfree),
    bavail: getU64(view, FUSE_KSTATFS.bavail),
    files: getU64(view, FUSE_KSTATFS.files),
    ffree: getU64(view, FUSE_KSTATFS.ffree),
    namelen: view.getUint32(FUSE_KSTATFS.namelen, true),
  };
}

/** A time of SETATTR: whole seconds, which may be negative, and nanoseconds; null: now. */
export function splitTime(time: FsTime): { seconds: bigint; ns: number } | null {
  if (time === 'now') return null;
  const ns = typeof time === 'bigint' ? time : nsOf(time);
  const rest = ((ns % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
  return { seconds: (ns - rest) / NS_PER_SECOND, ns: Number(rest) };
}

/** A view of bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function nsOf(time: number | Date): bigint {
  if (time instanceof Date) return BigInt(time.getTime()) * NS_PER_MS;
  const seconds = Math.floor(time);
  return BigInt(seconds) * NS_PER_SECOND + BigInt(Math.round((time - seconds) * 1e9));
}

function msOf(ns: bigint): number {
  return Number(ns / NS_PER_MS) + Number(ns % NS_PER_MS) / 1e6;
}
