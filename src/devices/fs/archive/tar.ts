/**
 * The index of a tar archive: its headers are read once, and its contents stay where they are.
 *
 * @module
 */
import { fstatSync, readSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { VhostUserError } from '../../../util/index.ts';
import { encodeDev } from '../../../fuse/index.ts';
import { nameText } from '../tree/index.ts';
import type { NodeKind } from '../tree/index.ts';
import { ArchiveTree } from './node.ts';
import { TAR_BLOCK_BYTES, isZeroBlock, parseTarHeader } from './tar-header.ts';
import type { TarHeader } from './tar-header.ts';
import { parsePax, paxNumber, paxText, paxTime } from './tar-pax.ts';
import type { PaxRecords } from './tar-pax.ts';

/** Names and attributes in front of an entry. Linux's attributes of a file may have 64 KiB each. */
const EXTENSION_BYTES_MAX = 1024 * 1024;
/** Reasons to leave an entry out that are kept; one that counts the rest follows. */
const SKIPPED_MAX = 100;
/** Headers are read for so long at a time, in milliseconds. */
const TURN_MS = 5;
/** Where a header of a sparse file, and a block of its map, says that another block follows. */
const SPARSE_MORE = 482;
const SPARSE_MORE_OF_MAP = 504;
const XATTR = 'SCHILY.xattr.';
const PERMISSIONS = 0o7777;
const ID_MAX = 0xffff_ffff;

/** What an entry's type says it is; hard links and extensions are looked at before. */
const KINDS: Readonly<Record<string, NodeKind>> = {
  '0': 'file',
  '2': 'symlink',
  '3': 'character-device',
  '4': 'block-device',
  '5': 'directory',
  '6': 'fifo',
  '7': 'file', // was to be contiguous, once
  D: 'directory', // GNU's, with a list of names for content
};

/** What came of reading an archive. */
export interface TarIndex {
  readonly tree: ArchiveTree;
  /** Entries that are not shown, and why. */
  readonly skipped: readonly string[];
}

/**
 * Reads all headers. `label` is what the archive is called in messages.
 * @throws VhostUserError `ERR_VHU_FS_ARCHIVE` for what is no tar archive, or is damaged.
 */
export function indexTar(fd: number, label: string): Promise<TarIndex> {
  return new TarReader(fd, label).read();
}

class TarReader {
  readonly #fd: number;
  readonly #label: string;
  readonly #bytes: number;
  readonly #tree: ArchiveTree;
  readonly #block = new Uint8Array(TAR_BLOCK_BYTES);
  readonly #skipped: string[] = [];
  #skippedCount = 0;
  #at = 0;
  /** What the next entry is given by extensions in front of it. */
  #globals: PaxRecords = new Map();
  #locals: PaxRecords = new Map();
  #longName: string | undefined;
  #longLink: string | undefined;

  constructor(fd: number, label: string) {
    this.#fd = fd;
    this.#label = label;
    const { size, mtimeMs } = fstatSync(fd);
    this.#bytes = size;
    this.#tree = new ArchiveTree({ seconds: Math.floor(mtimeMs / 1000), nanoseconds: 0 });
  }

  async read(): Promise<TarIndex> {
    let zeroBlocks = 0;
    let sinceMs = performance.now();
    // An archive without its last blocks is still one; two of them end it.
    while (zeroBlocks < 2 && this.#nextBlock()) {
      // An archive may have millions of headers, and this thread other things to do.
      if (performance.now() - sinceMs > TURN_MS) {
        await setImmediate();
        sinceMs = performance.now();
      }
      if (isZeroBlock(this.#block)) {
        zeroBlocks++;
        continue;
      }
      zeroBlocks = 0;
      const header = parseTarHeader(this.#block);
      if (header !== null) this.#entry(header);
      else if (this.#at === TAR_BLOCK_BYTES) throw this.#fault('this is no tar archive');
      else throw this.#fault(`it is damaged at byte ${String(this.#at - TAR_BLOCK_BYTES)}`);
    }
    if (this.#at === 0) throw this.#fault('this is no tar archive: it is empty');
    const more = this.#skippedCount - this.#skipped.length;
    if (more > 0) this.#skipped.push(`and ${String(more)} more`);
    return { tree: this.#tree, skipped: this.#skipped };
  }

  #entry(header: TarHeader): void {
    switch (header.type) {
      case 'L':
        this.#longName = this.#longText(header);
        break;
      case 'K':
        this.#longLink = this.#longText(header);
        break;
      case 'x':
        this.#locals = parsePax(this.#extension(header), this.#label);
        break;
      case 'g':
        this.#globals = new Map([
          ...this.#globals,
          ...parsePax(this.#extension(header), this.#label),
        ]);
        break;
      default:
        this.#member(header, new Map([...this.#globals, ...this.#locals]));
        this.#locals = new Map();
        this.#longName = undefined;
        this.#longLink = undefined;
    }
  }

  /** A file, a directory, or whatever else is to be seen. */
  #member(header: TarHeader, pax: PaxRecords): void {
    const name = this.#longName ?? paxText(pax, 'path') ?? header.name;
    const size = paxNumber(pax, 'size') ?? header.size;
    if (!(size >= 0)) throw this.#fault(`the size of ${name} is no number`);
    const target = this.#longLink ?? paxText(pax, 'linkpath') ?? header.linkName;
    if (header.type === '1') {
      if (!this.#tree.link(name, target))
        this.#skip(`${name}: a link to ${target}, which is not there`);
      if (size > 0 && this.#hasContent()) this.#pass(size, name);
      return;
    }
    // Very old archives mark a directory by its name only.
    const isOldDirectory = header.type === '0' && name.endsWith('/');
    const kind = isOldDirectory ? 'directory' : KINDS[header.type];
    const isSparse = pax.has('GNU.sparse.major') || pax.has('GNU.sparse.map');
    if (kind === undefined || isSparse) {
      const what = isSparse || header.type === 'S' ? 'a sparse file' : `of type "${header.type}"`;
      this.#skip(`${paxText(pax, 'GNU.sparse.name') ?? name}: ${what}`);
      if (header.type === 'S') this.#passSparseMap();
      this.#pass(size, name);
      return;
    }
    const place = this.#at;
    // Of other kinds a size means nothing, but for GNU's lists of names.
    const hasContent = kind === 'file' || header.type === 'D';
    this.#tree.add(name, {
      kind,
      mode: header.mode & PERMISSIONS,
      uid: idOf(paxNumber(pax, 'uid') ?? header.uid),
      gid: idOf(paxNumber(pax, 'gid') ?? header.gid),
      size: kind === 'file' ? size : Buffer.byteLength(kind === 'symlink' ? target : ''),
      modified: paxTime(pax, 'mtime') ?? { seconds: header.mtime || 0, nanoseconds: 0 },
      deviceNumber: encodeDev(header.deviceMajor || 0, header.deviceMinor || 0),
      target: kind === 'symlink' ? target : '',
      ...xattrsOf(pax),
      place,
    });
    if (hasContent) this.#pass(size, name);
  }

  /** Whether content follows a hard link: only pax says so, and only some programs write it. */
  #hasContent(): boolean {
    const at = this.#at;
    if (!this.#nextBlock()) return false;
    this.#at = at;
    return !isZeroBlock(this.#block) && parseTarHeader(this.#block) === null;
  }

  /** GNU's old sparse files have more about their holes in blocks of their own. */
  #passSparseMap(): void {
    let hasMore = this.#block[SPARSE_MORE] === 1;
    while (hasMore && this.#nextBlock()) hasMore = this.#block[SPARSE_MORE_OF_MAP] === 1;
  }

  #longText(header: TarHeader): string {
    const bytes = this.#extension(header);
    const end = bytes.indexOf(0);
    return nameText(end === -1 ? bytes : bytes.subarray(0, end));
  }

  /** The content of an entry that describes the next one. */
  #extension(header: TarHeader): Uint8Array {
    const { size } = header;
    if (!(size >= 0 && size <= EXTENSION_BYTES_MAX)) {
      throw this.#fault(`it has an extended header of ${String(size)} bytes`);
    }
    const bytes = new Uint8Array(size);
    const at = this.#at;
    this.#pass(size, 'an extended header');
    if (readSync(this.#fd, bytes, 0, size, at) < size) throw this.#fault('it was cut off');
    return bytes;
  }

  /** Goes to what follows some content. */
  #pass(size: number, name: string): void {
    if (this.#at + size > this.#bytes) throw this.#fault(`it ends in the middle of ${name}`);
    this.#at += Math.ceil(size / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
  }

  #nextBlock(): boolean {
    const bytes = readSync(this.#fd, this.#block, 0, TAR_BLOCK_BYTES, this.#at);
    if (bytes < TAR_BLOCK_BYTES) return false;
    this.#at += TAR_BLOCK_BYTES;
    return true;
  }

  #skip(reason: string): void {
    this.#skippedCount++;
    if (this.#skipped.length < SKIPPED_MAX) this.#skipped.push(reason);
  }

  #fault(text: string): VhostUserError {
    return new VhostUserError('ERR_VHU_FS_ARCHIVE', `${this.#label}: ${text}`);
  }
}

/** An owner that Linux cannot have is nobody. */
function idOf(id: number): number {
  return id >= 0 && id < ID_MAX ? id : 65_534;
}

function xattrsOf(pax: PaxRecords): { readonly xattrs?: ReadonlyMap<string, Uint8Array> } {
  const all = [...pax].filter(([key]) => key.startsWith(XATTR));
  if (all.length === 0) return {};
  return { xattrs: new Map(all.map(([key, value]) => [key.slice(XATTR.length), value])) };
}
