/**
 * A file system by paths, on top of {@link FuseCaller}: enough of it for tests, with each request
 * made as a kernel makes it.
 *
 * @module
 */
import {
  FATTR,
  FUSE_ATTR,
  FUSE_ATTR_OUT,
  FUSE_CREATE_IN,
  FUSE_DIRENT,
  FUSE_DIRENTPLUS,
  FUSE_ENTRY_OUT,
  FUSE_LINK_IN,
  FUSE_MKDIR_IN,
  FUSE_MKNOD_IN,
  FUSE_OPEN_IN,
  FUSE_OPEN_OUT,
  FUSE_READ_IN,
  FUSE_RELEASE_IN,
  FUSE_ROOT_ID,
  FUSE_SETATTR_IN,
  FUSE_WRITE_IN,
  LINUX_E,
  LINUX_O,
  S_IF,
  fuseRecordBytes,
} from '../fuse/index.ts';
import type { FuseOutcome, FuseCaller, FuseRequest } from './fuse-caller.ts';

const U32 = 0x1_0000_0000;
const READ_BYTES = 65_536;
const READDIR_BYTES = 4096; // a page, as kernels ask for
const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(LINUX_E).map(([name, number]) => [number, `E${name}`]),
);

/** What `stat` finds: numbers as FUSE has them. */
export interface MountStat {
  readonly nodeId: number;
  readonly ino: number;
  readonly size: number;
  readonly blocks: number;
  readonly mode: number;
  readonly linkCount: number;
  readonly uid: number;
  readonly gid: number;
  readonly deviceNumber: number;
  readonly mtime: number;
  readonly mtimeNs: number;
}

/** An entry that a directory listed. */
export interface MountEntry {
  readonly name: string;
  readonly ino: number;
  readonly type: number;
  /** What a seek to behind it needs. */
  readonly cookie: number;
  /** READDIRPLUS: 0 for what was not looked up. */
  readonly nodeId: number;
}

/** A negative errno as an error, with `code` as Node's errors have it. */
export class MountError extends Error {
  readonly code: string;

  constructor(request: FuseRequest, errno: number) {
    const code = NAMES.get(errno) ?? `errno ${String(errno)}`;
    super(`${request.opcode} ${String(request.name ?? request.nodeId)}: ${code}`);
    this.code = code;
  }
}

/** The arguments of a request: 64-bit numbers at the offsets of `wide`, 32-bit ones at others. */
export function fuseInput(
  bytes: number,
  narrow: Readonly<Record<number, number>>,
  wide: Readonly<Record<number, number>> = {},
): Uint8Array {
  const input = new Uint8Array(bytes);
  const view = new DataView(input.buffer);
  for (const [at, value] of Object.entries(narrow)) view.setUint32(Number(at), value, true);
  for (const [at, value] of Object.entries(wide)) {
    view.setUint32(Number(at), value % U32, true);
    view.setUint32(Number(at) + 4, Math.floor(value / U32), true);
  }
  return input;
}

function u64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * U32;
}

function readStat(view: DataView, at: number, nodeId: number): MountStat {
  return {
    nodeId,
    ino: u64(view, at + FUSE_ATTR.ino),
    size: u64(view, at + FUSE_ATTR.size),
    blocks: u64(view, at + FUSE_ATTR.blocks),
    mode: view.getUint32(at + FUSE_ATTR.mode, true),
    linkCount: view.getUint32(at + FUSE_ATTR.nlink, true),
    uid: view.getUint32(at + FUSE_ATTR.uid, true),
    gid: view.getUint32(at + FUSE_ATTR.gid, true),
    deviceNumber: view.getUint32(at + FUSE_ATTR.rdev, true),
    mtime: u64(view, at + FUSE_ATTR.mtime),
    mtimeNs: view.getUint32(at + FUSE_ATTR.mtimensec, true),
  };
}

/** See the module. Paths have no `..` and no links in them. */
export class FuseMount {
  readonly caller: FuseCaller;

  constructor(caller: FuseCaller) {
    this.caller = caller;
  }

  /** Makes a request; throws a {@link MountError}. */
  async ask(request: FuseRequest): Promise<FuseOutcome> {
    const answer = await this.caller.request(request);
    if (answer.result < 0) throw new MountError(request, -answer.result);
    return answer;
  }

  /** The node of a path, and what it is; a lookup for each of its names. */
  async stat(path: string): Promise<MountStat> {
    let nodeId = FUSE_ROOT_ID;
    let stat: MountStat | null = null;
    for (const name of path.split('/').filter((each) => each !== '')) {
      const { view } = await this.ask({ opcode: 'LOOKUP', nodeId, name });
      nodeId = u64(view, FUSE_ENTRY_OUT.nodeid);
      stat = readStat(view, FUSE_ENTRY_OUT.attr, nodeId);
    }
    return stat ?? this.getattr(nodeId);
  }

  /** What a node is. */
  async getattr(nodeId: number): Promise<MountStat> {
    const { view } = await this.ask({ opcode: 'GETATTR', nodeId, input: new Uint8Array(16) });
    return readStat(view, FUSE_ATTR_OUT.attr, nodeId);
  }

  /** A request about a name: its directory's node, and the name. */
  async place(path: string): Promise<{ readonly nodeId: number; readonly name: string }> {
    const at = path.lastIndexOf('/');
    const { nodeId, mode } = await this.stat(path.slice(0, Math.max(0, at)));
    const name = path.slice(at + 1);
    const request = { opcode: 'LOOKUP', nodeId, name } as const;
    if ((mode & S_IF.MT) !== S_IF.DIR) throw new MountError(request, LINUX_E.NOTDIR);
    return { nodeId, name };
  }

  /** Opens a node; returns the number and the flags of FOPEN. */
  async open(nodeId: number, flags: number): Promise<{ fh: number; openFlags: number }> {
    const input = fuseInput(FUSE_OPEN_IN.SIZE, { [FUSE_OPEN_IN.flags]: flags });
    const { view } = await this.ask({ opcode: 'OPEN', nodeId, input });
    return {
      fh: u64(view, FUSE_OPEN_OUT.fh),
      openFlags: view.getUint32(FUSE_OPEN_OUT.openFlags, true),
    };
  }

  /** Makes a file, or opens the one that there is. */
  async create(path: string, flags: number, mode = 0o644): Promise<{ fh: number; nodeId: number }> {
    const input = fuseInput(FUSE_CREATE_IN.SIZE, {
      [FUSE_CREATE_IN.flags]: flags | LINUX_O.CREAT,
      [FUSE_CREATE_IN.mode]: mode,
    });
    const { view } = await this.ask({ opcode: 'CREATE', input, ...(await this.place(path)) });
    const fh = u64(view, FUSE_ENTRY_OUT.SIZE + FUSE_OPEN_OUT.fh);
    return { fh, nodeId: u64(view, FUSE_ENTRY_OUT.nodeid) };
  }

  /** One READ. */
  async read(fh: number, offset: number, bytes: number): Promise<Uint8Array> {
    const at = FUSE_READ_IN;
    const wide = { [at.fh]: fh, [at.offset]: offset };
    const input = fuseInput(at.SIZE, { [at.size]: bytes }, wide);
    return (await this.ask({ opcode: 'READ', nodeId: 1, input, outBytes: bytes })).bytes;
  }

  /** One WRITE; `writeFlags` as FUSE has them. */
  async write(
    fh: number,
    offset: number,
    data: Uint8Array | string,
    options: { writeFlags?: number; flags?: number } = {},
  ): Promise<number> {
    const at = FUSE_WRITE_IN;
    const bytes = Buffer.from(data);
    const { writeFlags = 0, flags = LINUX_O.RDWR } = options;
    const narrow = { [at.size]: bytes.length, [at.writeFlags]: writeFlags, [at.flags]: flags };
    const input = fuseInput(at.SIZE, narrow, { [at.fh]: fh, [at.offset]: offset });
    const { view } = await this.ask({ opcode: 'WRITE', nodeId: 1, input, data: bytes });
    return view.getUint32(0, true);
  }

  /** Closes a file. */
  async release(fh: number): Promise<void> {
    const input = fuseInput(FUSE_RELEASE_IN.SIZE, {}, { [FUSE_RELEASE_IN.fh]: fh });
    await this.ask({ opcode: 'RELEASE', nodeId: 1, input });
  }

  /** A whole file. */
  async readFile(path: string): Promise<Buffer> {
    const { nodeId } = await this.stat(path);
    const { fh } = await this.open(nodeId, LINUX_O.RDONLY);
    const parts: Uint8Array[] = [];
    for (let at = 0; ;) {
      const part = await this.read(fh, at, READ_BYTES);
      if (part.length === 0) break;
      parts.push(part);
      at += part.length;
    }
    await this.release(fh);
    return Buffer.concat(parts);
  }

  /** Makes or replaces a whole file. */
  async writeFile(path: string, data: Uint8Array | string, mode = 0o644): Promise<number> {
    const { fh, nodeId } = await this.create(path, LINUX_O.WRONLY | LINUX_O.TRUNC, mode);
    const bytes = Buffer.from(data);
    for (let at = 0; at < bytes.length; at += READ_BYTES) {
      await this.write(fh, at, bytes.subarray(at, at + READ_BYTES));
    }
    await this.release(fh);
    return nodeId;
  }

  /** Makes a directory. */
  async mkdir(path: string, mode = 0o755): Promise<void> {
    const input = fuseInput(FUSE_MKDIR_IN.SIZE, { [FUSE_MKDIR_IN.mode]: mode });
    await this.ask({ opcode: 'MKDIR', input, ...(await this.place(path)) });
  }

  /** Makes a node of the kind that its mode says. */
  async mknod(path: string, mode: number, deviceNumber = 0): Promise<void> {
    const at = FUSE_MKNOD_IN;
    const input = fuseInput(at.SIZE, { [at.mode]: mode, [at.rdev]: deviceNumber });
    await this.ask({ opcode: 'MKNOD', input, ...(await this.place(path)) });
  }

  /** Makes a symbolic link. */
  async symlink(target: string | Uint8Array, path: string): Promise<void> {
    await this.ask({ opcode: 'SYMLINK', second: target, ...(await this.place(path)) });
  }

  /** Where a link points to. */
  async readlink(path: string): Promise<Buffer> {
    const { nodeId } = await this.stat(path);
    return Buffer.from((await this.ask({ opcode: 'READLINK', nodeId })).bytes);
  }

  /** Makes a hard link. */
  async link(path: string, newPath: string): Promise<void> {
    const { nodeId } = await this.stat(path);
    const input = fuseInput(FUSE_LINK_IN.SIZE, {}, { [FUSE_LINK_IN.oldnodeid]: nodeId });
    await this.ask({ opcode: 'LINK', input, ...(await this.place(newPath)) });
  }

  /** Removes a name. */
  async unlink(path: string): Promise<void> {
    await this.ask({ opcode: 'UNLINK', ...(await this.place(path)) });
  }

  /** Removes a directory. */
  async rmdir(path: string): Promise<void> {
    await this.ask({ opcode: 'RMDIR', ...(await this.place(path)) });
  }

  /** Gives another name; flags are RENAME2's. */
  async rename(path: string, newPath: string, flags = 0): Promise<void> {
    const from = await this.place(path);
    const to = await this.place(newPath);
    await this.ask({
      opcode: 'RENAME2',
      ...from,
      newDirectory: to.nodeId,
      second: to.name,
      flags,
    });
  }

  /** Changes size, mode and owners of a node. */
  async setattr(
    nodeId: number,
    changes: { size?: number; mode?: number; uid?: number; gid?: number; more?: number },
  ): Promise<MountStat> {
    const at = FUSE_SETATTR_IN;
    let valid = changes.more ?? 0;
    if (changes.size !== undefined) valid |= FATTR.SIZE;
    if (changes.mode !== undefined) valid |= FATTR.MODE;
    if (changes.uid !== undefined) valid |= FATTR.UID;
    if (changes.gid !== undefined) valid |= FATTR.GID;
    const { size = 0, mode = 0, uid = 0, gid = 0 } = changes;
    const narrow = { [at.valid]: valid, [at.mode]: mode, [at.uid]: uid, [at.gid]: gid };
    const input = fuseInput(at.SIZE, narrow, { [at.size]: size });
    const { view } = await this.ask({ opcode: 'SETATTR', nodeId, input });
    return readStat(view, FUSE_ATTR_OUT.attr, nodeId);
  }

  /** Opens a directory. */
  async opendir(path: string): Promise<number> {
    const { nodeId } = await this.stat(path);
    const input = new Uint8Array(FUSE_OPEN_IN.SIZE);
    return u64((await this.ask({ opcode: 'OPENDIR', nodeId, input })).view, FUSE_OPEN_OUT.fh);
  }

  /** What one READDIR or READDIRPLUS gives from a cookie on. */
  async entries(
    fh: number,
    cookie: number,
    opcode: 'READDIR' | 'READDIRPLUS' = 'READDIR',
    bytesMax: number = READDIR_BYTES,
    nodeId: number = 1,
  ): Promise<MountEntry[]> {
    const at = FUSE_READ_IN;
    const wide = { [at.fh]: fh, [at.offset]: cookie };
    const input = fuseInput(at.SIZE, { [at.size]: bytesMax }, wide);
    const answer = await this.ask({ opcode, nodeId, input, outBytes: bytesMax });
    const { bytes, view } = answer;
    const head = opcode === 'READDIR' ? 0 : FUSE_DIRENTPLUS.dirent;
    const entries: MountEntry[] = [];
    for (let start = 0; start < bytes.length;) {
      const dirent = start + head;
      const nameBytes = view.getUint32(dirent + FUSE_DIRENT.namelen, true);
      const nameAt = dirent + FUSE_DIRENT.name;
      entries.push({
        name: Buffer.from(bytes.subarray(nameAt, nameAt + nameBytes)).toString('latin1'),
        ino: u64(view, dirent + FUSE_DIRENT.ino),
        cookie: u64(view, dirent + FUSE_DIRENT.off),
        type: view.getUint32(dirent + FUSE_DIRENT.type, true),
        nodeId: head === 0 ? 0 : u64(view, start + FUSE_ENTRY_OUT.nodeid),
      });
      start += fuseRecordBytes(head + FUSE_DIRENT.SIZE, nameBytes);
    }
    return entries;
  }

  /** The names in a directory, but `.` and `..`. Bytes of names are characters (latin1). */
  async readdir(path: string, opcode: 'READDIR' | 'READDIRPLUS' = 'READDIR'): Promise<string[]> {
    const fh = await this.opendir(path);
    const names: string[] = [];
    for (let cookie = 0; ;) {
      const entries = await this.entries(fh, cookie, opcode);
      const last = entries.at(-1);
      if (last === undefined) break;
      names.push(...entries.map((entry) => entry.name));
      cookie = last.cookie;
    }
    const input = fuseInput(FUSE_RELEASE_IN.SIZE, {}, { [FUSE_RELEASE_IN.fh]: fh });
    await this.ask({ opcode: 'RELEASEDIR', nodeId: 1, input });
    return names.filter((name) => name !== '.' && name !== '..');
  }
}
