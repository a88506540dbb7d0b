/**
 * A small file system in memory, at the level of the wire, for tests of a FUSE server: files and
 * folders without owners, locks that wait, and a record of what was asked.
 *
 * @module
 */
import {
  FATTR,
  FUSE_ATTR,
  FUSE_ATTR_OUT,
  FUSE_CREATE_IN,
  FUSE_DIRENT,
  FUSE_ENTRY_OUT,
  FUSE_INIT,
  FUSE_LK_IN,
  FUSE_MKDIR_IN,
  FUSE_OPEN_OUT,
  FUSE_READ_IN,
  FUSE_RELEASE_IN,
  FUSE_ROOT_ID,
  FUSE_SETATTR_IN,
  FUSE_WRITE_IN,
  FUSE_WRITE_OUT,
  LINUX_E,
  LINUX_F,
  S_IF,
  direntType,
  fuseRecordBytes,
} from '../fuse/index.ts';
import { PENDING } from '../devices/fs/index.ts';
import type { FuseAbilities, FuseCall, FuseOperations, FuseSession } from '../devices/fs/index.ts';

/** What a file may grow to. */
const FILE_BYTES_MAX = 16 * 1024 * 1024;

/** A file or folder. */
export interface StubNode {
  readonly id: number;
  mode: number;
  data: Uint8Array;
  readonly children: Map<string, StubNode>;
  /** Lookups that the guest has not forgotten. */
  lookups: number;
}

/** See the module. */
export class StubFileSystem implements FuseOperations {
  abilities: FuseAbilities = {
    flags: FUSE_INIT.POSIX_LOCKS | FUSE_INIT.FLOCK_LOCKS | FUSE_INIT.ATOMIC_O_TRUNC,
    flags2: 0,
    timeGranularityNs: 1,
  };
  /** `init`, `destroy`, `close`, `interrupt 7`, in order. */
  readonly events: string[] = [];
  session: FuseSession | null = null;
  readonly nodes: Map<number, StubNode> = new Map<number, StubNode>();
  readonly handles: Map<number, StubNode> = new Map<number, StubNode>();
  /** Called once a waiting call was answered. */
  readonly #answered: () => void;
  #nextId: number = FUSE_ROOT_ID;
  #lockOwner: bigint | null = null;
  readonly #waiting: FuseCall[] = [];

  constructor(answered: () => void = () => undefined) {
    this.#answered = answered;
    this.#make(S_IF.DIR | 0o755);
  }

  /** The root folder. */
  get root(): StubNode {
    return this.nodes.get(FUSE_ROOT_ID) as StubNode;
  }

  /** Adds a file below a folder, the root by default. */
  addFile(name: string, data: Uint8Array, folder: StubNode = this.root): StubNode {
    const node = this.#make(S_IF.REG | 0o644);
    node.data = data;
    folder.children.set(name, node);
    return node;
  }

  init(session: FuseSession): void {
    this.session = session;
    this.events.push('init');
  }

  destroy(): void {
    this.events.push('destroy');
    this.handles.clear();
    for (const node of this.nodes.values()) node.lookups = 0;
  }

  close(): void {
    this.events.push('close');
  }

  forget(nodeId: number, count: number): void {
    const node = this.nodes.get(nodeId);
    if (node !== undefined) node.lookups = Math.max(0, node.lookups - count);
  }

  interrupt(unique: number): void {
    this.events.push(`interrupt ${String(unique)}`);
    const at = this.#waiting.findIndex((call) => call.unique === unique);
    if (at < 0) return;
    const [call] = this.#waiting.splice(at, 1);
    call?.finish(-LINUX_E.INTR);
    this.#answered();
  }

  lookup(call: FuseCall): number {
    const folder = this.nodes.get(call.nodeId);
    if (folder === undefined) return -LINUX_E.STALE;
    const name = nameOf(call);
    const node = name === '.' || name === '..' ? folder : folder.children.get(name);
    return node === undefined ? -LINUX_E.NOENT : putEntry(call, node);
  }

  getattr(call: FuseCall): number {
    const node = this.nodes.get(call.nodeId);
    return node === undefined ? -LINUX_E.STALE : putAttr(call, node);
  }

  setattr(call: FuseCall): number {
    const node = this.nodes.get(call.nodeId);
    if (node === undefined) return -LINUX_E.STALE;
    const valid = call.input.getUint32(FUSE_SETATTR_IN.valid, true);
    if ((valid & FATTR.SIZE) !== 0) {
      const size = readU64(call.input, FUSE_SETATTR_IN.size);
      if (size > FILE_BYTES_MAX) return -LINUX_E.FBIG;
      node.data = resized(node.data, size);
    }
    return putAttr(call, node);
  }

  mkdir(call: FuseCall): number {
    return this.#add(call, S_IF.DIR | call.input.getUint32(FUSE_MKDIR_IN.mode, true));
  }

  create(call: FuseCall): number {
    const result = this.#add(call, S_IF.REG | call.input.getUint32(FUSE_CREATE_IN.mode, true));
    if (result < 0) return result;
    const node = this.nodes.get(this.#nextId - 1) as StubNode;
    return result + this.#putOpen(call, node, result);
  }

  unlink(call: FuseCall): number {
    const folder = this.nodes.get(call.nodeId);
    if (folder === undefined) return -LINUX_E.STALE;
    return folder.children.delete(nameOf(call)) ? 0 : -LINUX_E.NOENT;
  }

  rename(call: FuseCall, newDir: number, flags: number): number {
    const [from, to] = [this.nodes.get(call.nodeId), this.nodes.get(newDir)];
    if (from === undefined || to === undefined) return -LINUX_E.STALE;
    if (flags !== 0) return -LINUX_E.INVAL;
    const node = from.children.get(nameOf(call));
    if (node === undefined) return -LINUX_E.NOENT;
    from.children.delete(nameOf(call));
    to.children.set(secondOf(call), node);
    return 0;
  }

  open(call: FuseCall): number {
    const node = this.nodes.get(call.nodeId);
    return node === undefined ? -LINUX_E.STALE : this.#putOpen(call, node, 0);
  }

  opendir(call: FuseCall): number {
    return this.open(call);
  }

  release(call: FuseCall): number {
    const fh = readU64(call.input, FUSE_RELEASE_IN.fh);
    return this.handles.delete(fh) ? 0 : -LINUX_E.BADF;
  }

  releasedir(call: FuseCall): number {
    return this.release(call);
  }

  flush(): number {
    return 0;
  }

  fsync(): number {
    return 0;
  }

  read(call: FuseCall): number {
    const node = this.handles.get(readU64(call.input, FUSE_READ_IN.fh));
    if (node === undefined) return -LINUX_E.BADF;
    const offset = readU64(call.input, FUSE_READ_IN.offset);
    return call.putData(node.data.subarray(offset, offset + call.dataBytes));
  }

  write(call: FuseCall): number {
    const node = this.handles.get(readU64(call.input, FUSE_WRITE_IN.fh));
    if (node === undefined) return -LINUX_E.BADF;
    const offset = readU64(call.input, FUSE_WRITE_IN.offset);
    const end = offset + call.dataBytes;
    if (end > FILE_BYTES_MAX) return -LINUX_E.FBIG;
    if (end > node.data.length) node.data = resized(node.data, end);
    call.copyData(node.data.subarray(offset, end));
    call.out.setUint32(FUSE_WRITE_OUT.size, call.dataBytes, true);
    call.out.setUint32(FUSE_WRITE_OUT.size + 4, 0, true);
    return FUSE_WRITE_OUT.SIZE;
  }

  readdir(call: FuseCall): number {
    const folder = this.handles.get(readU64(call.input, FUSE_READ_IN.fh));
    if (folder === undefined) return -LINUX_E.BADF;
    const size = Math.min(call.input.getUint32(FUSE_READ_IN.size, true), call.outBytesMax);
    const names = [...folder.children];
    let at = 0;
    for (let i = readU64(call.input, FUSE_READ_IN.offset); i < names.length; i++) {
      const [name, node] = names[i] as [string, StubNode];
      const bytes = fuseRecordBytes(FUSE_DIRENT.SIZE, name.length);
      if (at + bytes > size) break;
      call.outArray.fill(0, at, at + bytes);
      writeU64(call.out, at + FUSE_DIRENT.ino, node.id);
      writeU64(call.out, at + FUSE_DIRENT.off, i + 1);
      call.out.setUint32(at + FUSE_DIRENT.namelen, name.length, true);
      call.out.setUint32(at + FUSE_DIRENT.type, direntType(node.mode), true);
      call.outArray.set(Buffer.from(name, 'latin1'), at + FUSE_DIRENT.name);
      at += bytes;
    }
    return at;
  }

  /** One lock for everything; who has it is not asked for what. */
  setlk(call: FuseCall, wait: boolean): number {
    const owner = call.input.getBigUint64(FUSE_LK_IN.owner, true);
    const type = call.input.getUint32(FUSE_LK_IN.lk + 16, true);
    if (type === LINUX_F.UNLCK) {
      if (this.#lockOwner !== owner) return 0;
      this.#lockOwner = null;
      const next = this.#waiting.shift();
      if (next === undefined) return 0;
      this.#lockOwner = BigInt(next.tag);
      next.finish(0);
      return 0;
    }
    if (this.#lockOwner === null || this.#lockOwner === owner) {
      this.#lockOwner = owner;
      return 0;
    }
    if (!wait) return -LINUX_E.AGAIN;
    call.tag = Number(owner);
    this.#waiting.push(call);
    return PENDING;
  }

  #make(mode: number): StubNode {
    const id = this.#nextId++;
    const node = { id, mode, data: new Uint8Array(0), children: new Map(), lookups: 0 };
    this.nodes.set(id, node);
    return node;
  }

  #add(call: FuseCall, mode: number): number {
    const folder = this.nodes.get(call.nodeId);
    if (folder === undefined) return -LINUX_E.STALE;
    const name = nameOf(call);
    if (folder.children.has(name)) return -LINUX_E.EXIST;
    const node = this.#make(mode);
    folder.children.set(name, node);
    return putEntry(call, node);
  }

  #putOpen(call: FuseCall, node: StubNode, at: number): number {
    const fh = this.#nextId++;
    this.handles.set(fh, node);
    writeU64(call.out, at + FUSE_OPEN_OUT.fh, fh);
    writeU64(call.out, at + FUSE_OPEN_OUT.openFlags, 0);
    return FUSE_OPEN_OUT.SIZE;
  }
}

function nameOf({ inputArray, nameOffset, nameBytes }: FuseCall): string {
  return Buffer.from(inputArray.subarray(nameOffset, nameOffset + nameBytes)).toString('latin1');
}

function secondOf({ inputArray, secondOffset, secondBytes }: FuseCall): string {
  const bytes = inputArray.subarray(secondOffset, secondOffset + secondBytes);
  return Buffer.from(bytes).toString('latin1');
}

function putEntry(call: FuseCall, node: StubNode): number {
  call.outArray.fill(0, 0, FUSE_ENTRY_OUT.SIZE);
  writeU64(call.out, FUSE_ENTRY_OUT.nodeid, node.id);
  putAttrAt(call, node, FUSE_ENTRY_OUT.attr);
  node.lookups++;
  return FUSE_ENTRY_OUT.SIZE;
}

function putAttr(call: FuseCall, node: StubNode): number {
  call.outArray.fill(0, 0, FUSE_ATTR_OUT.SIZE);
  putAttrAt(call, node, FUSE_ATTR_OUT.attr);
  return FUSE_ATTR_OUT.SIZE;
}

function putAttrAt({ out }: FuseCall, node: StubNode, at: number): void {
  writeU64(out, at + FUSE_ATTR.ino, node.id);
  writeU64(out, at + FUSE_ATTR.size, node.data.length);
  out.setUint32(at + FUSE_ATTR.mode, node.mode, true);
  out.setUint32(at + FUSE_ATTR.nlink, 1, true);
}

function resized(data: Uint8Array, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  bytes.set(data.subarray(0, sizeBytes));
  return bytes;
}

function readU64(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}

function writeU64(view: DataView, at: number, value: number): void {
  view.setBigUint64(at, BigInt(value), true);
}
