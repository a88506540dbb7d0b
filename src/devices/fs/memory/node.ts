/**
 * A file, a directory or something else in memory.
 *
 * @module
 */
import { timestampNow } from '../tree/index.ts';
import type { NodeKind, Stat, Timestamp } from '../tree/index.ts';
import type { FileData } from './file-data.ts';

const BLOCK_BYTES = 512;
/** What a directory's size shows for each entry, as tmpfs has it. */
const ENTRY_BYTES = 20;

/** Which node to make. */
export interface NodeInit {
  readonly ino: number;
  readonly kind: NodeKind;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly deviceNumber?: number;
  readonly target?: string;
  readonly data?: FileData;
}

/** See above. It is its own `Stat`, so that asking for one makes nothing. */
export class MemoryNode implements Stat {
  readonly ino: number;
  readonly kind: NodeKind;
  mode: number;
  uid: number;
  gid: number;
  linkCount: number;
  readonly deviceNumber: number;
  accessed: Timestamp;
  modified: Timestamp;
  changed: Timestamp;
  readonly created: Timestamp;
  /** Where a symbolic link points to. */
  readonly target: string;
  /** @internal the content of a file */
  readonly data: FileData | null;
  /** What is in a directory. */
  readonly children: Map<string, MemoryNode> | null;
  /** The directory that a directory is in; itself for the root. */
  parent: MemoryNode | null;
  xattrs: Map<string, Uint8Array> | null;
  /** How often it is open: content without a name goes with the last one. */
  opens: number;
  /** Made without a name, and may be given one. */
  isUnnamed: boolean;

  constructor(init: NodeInit) {
    const now = timestampNow();
    this.ino = init.ino;
    this.kind = init.kind;
    this.mode = init.mode;
    this.uid = init.uid;
    this.gid = init.gid;
    this.linkCount = init.kind === 'directory' ? 2 : 1;
    this.deviceNumber = init.deviceNumber ?? 0;
    this.accessed = now;
    this.modified = now;
    this.changed = now;
    this.created = now;
    this.target = init.target ?? '';
    this.data = init.data ?? null;
    this.children = init.kind === 'directory' ? new Map() : null;
    this.parent = null;
    this.xattrs = null;
    this.opens = 0;
    this.isUnnamed = false;
  }

  /** Bytes, as `stat` shows them. */
  get size(): number {
    if (this.data !== null) return this.data.size;
    if (this.children !== null) return this.children.size * ENTRY_BYTES;
    return Buffer.byteLength(this.target);
  }

  /** 512-byte units of memory. */
  get blocks(): number {
    return (this.data?.allocated ?? 0) / BLOCK_BYTES;
  }

  /** What it holds was changed just now. */
  touch(): void {
    this.modified = timestampNow();
    this.changed = this.modified;
  }
}
