/**
 * Zip archives: the index is read at once; a file is unpacked when it is read for the first time,
 * into a file without a name that all of them share.
 *
 * @module
 */
import { closeSync, fstatSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import type { Entry, ZipFile } from 'yauzl';
import { VhostUserError, errorCode, errorMessage } from '../../../util/index.ts';
import { S_IF } from '../../../fuse/index.ts';
import { fsError, nameText } from '../tree/index.ts';
import type { NodeKind } from '../tree/index.ts';
import type { ArchiveContents } from './archive-file-system.ts';
import { ArchiveTree } from './node.ts';
import type { ArchiveNode } from './node.ts';
import { openTemporaryFile, readAt, truncateTo, writeWhole } from './temporary-file.ts';

const STORED = 0;
const DEFLATED = 8;
/** `version made by`, upper byte: the systems whose attributes hold a mode. */
const UNIX_LIKE: readonly number[] = [3, 19];
const TARGET_BYTES_MAX = 4095;
const PERMISSIONS = 0o7777;
const COPY_BYTES = 65_536;

const KINDS: ReadonlyMap<number, NodeKind> = new Map([
  [S_IF.DIR, 'directory'],
  [S_IF.LNK, 'symlink'],
  [S_IF.IFO, 'fifo'],
  [S_IF.SOCK, 'socket'],
]);

/** What came of reading the index of an archive. */
export interface ZipIndex {
  readonly tree: ArchiveTree;
  readonly contents: ArchiveContents;
}

/**
 * Reads the index. The fd belongs to the contents from now on, also when this fails.
 * `unpackedBytesMax` bounds what is unpacked at any time.
 */
export async function indexZip(
  fd: number,
  label: string,
  unpackedBytesMax: number,
): Promise<ZipIndex> {
  let contents: ZipContents | null = null;
  try {
    const { fromFdPromise, getFileNameLowLevel } = await loadYauzl();
    const options = { lazyEntries: true, autoClose: false, decodeStrings: false };
    const zip = await fromFdPromise(fd, options);
    contents = new ZipContents(zip, fd, unpackedBytesMax);
    const seconds = Math.floor(fstatSync(fd).mtimeMs / 1000);
    const tree = new ArchiveTree({ seconds, nanoseconds: 0 });
    for await (const entry of zip.eachEntry()) {
      const { generalPurposeBitFlag, fileNameRaw, extraFields } = entry;
      const name = getFileNameLowLevel(generalPurposeBitFlag, fileNameRaw, extraFields, false);
      await addEntry(tree, contents, entry, name);
    }
    return { tree, contents };
  } catch (cause) {
    if (contents === null) closeSync(fd);
    else contents.close();
    if (cause instanceof VhostUserError) throw cause;
    const text = `${label}: ${errorMessage(cause)}`;
    throw new VhostUserError('ERR_VHU_FS_ARCHIVE', text, { cause });
  }
}

async function loadYauzl(): Promise<typeof import('yauzl')> {
  try {
    return (await import('yauzl')).default;
  } catch (cause) {
    const text = 'zip archives are read by the package yauzl, which is not installed';
    throw new VhostUserError('ERR_VHU_FS_ARCHIVE', text, { cause });
  }
}

async function addEntry(
  tree: ArchiveTree,
  contents: ZipContents,
  entry: Entry,
  name: string,
): Promise<void> {
  const isUnix = UNIX_LIKE.includes(entry.versionMadeBy >>> 8);
  const attributes = isUnix ? entry.externalFileAttributes >>> 16 : 0;
  const isDirectory = name.endsWith('/');
  const named = KINDS.get(attributes & S_IF.MT) ?? 'file';
  const kind = isDirectory ? 'directory' : named;
  const usualMode = kind === 'directory' ? 0o755 : 0o644;
  const { uid, gid } = ownerOf(entry);
  const node = tree.add(name, {
    kind,
    mode: attributes === 0 ? usualMode : attributes & PERMISSIONS,
    uid,
    gid,
    size: kind === 'file' || kind === 'symlink' ? entry.uncompressedSize : 0,
    modified: { seconds: Math.floor(entry.getLastModDate().getTime() / 1000), nanoseconds: 0 },
  });
  if (kind === 'file') contents.add(node, entry);
  if (kind === 'symlink') await contents.addLink(node, entry, name);
}

/** Info-ZIP's field 0x7875: version, then each number after its length. */
function ownerOf(entry: Entry): { readonly uid: number; readonly gid: number } {
  const data = entry.extraFields.find(({ id }) => id === 0x7875)?.data;
  if (data?.[0] !== 1 || data[1] !== 4 || data.length < 11 || data[6] !== 4) {
    return { uid: 0, gid: 0 };
  }
  return { uid: data.readUInt32LE(2), gid: data.readUInt32LE(7) };
}

/** See the module. */
class ZipContents implements ArchiveContents {
  readonly fd: number;
  readonly #zip: ZipFile;
  readonly #archiveFd: number;
  readonly #unpackedBytesMax: number;
  readonly #entries = new Map<ArchiveNode, Entry>();
  /** What is being unpacked, or waits for a place. */
  readonly #running = new Map<ArchiveNode, Promise<void>>();
  /** What has a place, and is being written to it. */
  readonly #writing = new Set<Promise<void>>();
  /** What has been. */
  readonly #unpacked = new Set<ArchiveNode>();
  /** Where the next place is; while room is made, there is none. */
  #end = 0;
  #clearing: Promise<void> | null = null;
  #isClosed = false;

  constructor(zip: ZipFile, archiveFd: number, unpackedBytesMax: number) {
    this.#zip = zip;
    this.#archiveFd = archiveFd;
    this.#unpackedBytesMax = unpackedBytesMax;
    this.fd = openTemporaryFile();
  }

  /** A file, whose content is not looked at before it is read. */
  add(node: ArchiveNode, entry: Entry): void {
    this.#entries.set(node, entry);
  }

  /** A symbolic link: its content is where it points to. */
  async addLink(node: ArchiveNode, entry: Entry, name: string): Promise<void> {
    const bytes = entry.uncompressedSize;
    if (bytes === 0 || bytes > TARGET_BYTES_MAX) {
      const text = `${name}: a symbolic link of ${String(bytes)} bytes`;
      throw new VhostUserError('ERR_VHU_FS_ARCHIVE', text);
    }
    const parts: Uint8Array[] = [];
    for await (const part of await this.#open(entry)) parts.push(part as Uint8Array);
    node.target = nameText(Buffer.concat(parts));
  }

  provide(node: ArchiveNode): Promise<void> {
    const running = this.#running.get(node);
    if (running !== undefined) return running;
    const started = this.#unpack(node).finally(() => this.#running.delete(node));
    this.#running.set(node, started);
    return started;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // What is being unpacked still has both, and notices below.
    void Promise.allSettled(this.#running.values()).then(() => {
      closeSync(this.fd);
      closeSync(this.#archiveFd);
    });
  }

  async #unpack(node: ArchiveNode): Promise<void> {
    const entry = this.#entries.get(node);
    if (entry === undefined) throw fsError('EIO');
    const bytes = entry.uncompressedSize;
    if (bytes > this.#unpackedBytesMax) throw fsError('EFBIG');
    // Who waits has no place, so that those who are waited for come to an end.
    while (this.#end + bytes > this.#unpackedBytesMax) {
      if (this.#writing.size > 0) await Promise.allSettled(this.#writing);
      else await this.#clear();
    }
    const place = this.#end;
    this.#end += bytes;
    const writing = this.#write(entry, place);
    this.#writing.add(writing);
    try {
      await writing;
    } finally {
      this.#writing.delete(writing);
    }
    node.place = place;
    this.#unpacked.add(node);
  }

  async #write(entry: Entry, place: number): Promise<void> {
    try {
      let at = place;
      for await (const part of await this.#open(entry)) {
        if (this.#isClosed) throw fsError('EIO');
        // yauzl gives no more bytes than the entry has said there are, nor fewer.
        at += await writeWhole(this.fd, part as Uint8Array, at);
      }
      await this.#checkSum(entry, place);
    } catch (error) {
      if (errorCode(error) === 'ENOSPC') throw fsError('ENOSPC');
      if (errorCode(error) === 'EOPNOTSUPP') throw error;
      throw fsError('EIO', errorMessage(error));
    }
  }

  /** What was unpacked makes room. To give back gigabytes takes a while, so others go on. */
  #clear(): Promise<void> {
    if (this.#clearing !== null) return this.#clearing;
    for (const node of this.#unpacked) node.place = -1;
    this.#unpacked.clear();
    this.#end = this.#unpackedBytesMax; // nobody gets a place that is about to go
    this.#clearing = truncateTo(this.fd, 0).finally(() => {
      this.#end = 0;
      this.#clearing = null;
    });
    return this.#clearing;
  }

  #open(entry: Entry): Promise<Readable> {
    const isKnown = entry.compressionMethod === STORED || entry.compressionMethod === DEFLATED;
    if (!isKnown || entry.isEncrypted()) throw fsError('EOPNOTSUPP');
    return this.#zip.openReadStreamPromise(entry);
  }

  async #checkSum(entry: Entry, place: number): Promise<void> {
    const buffer = new Uint8Array(COPY_BYTES);
    let sum = 0;
    for (let at = 0; at < entry.uncompressedSize;) {
      const count = Math.min(COPY_BYTES, entry.uncompressedSize - at);
      const { bytesRead } = await readAt(this.fd, buffer, 0, count, place + at);
      if (bytesRead === 0) throw fsError('EIO');
      sum = crc32(buffer.subarray(0, bytesRead), sum);
      at += bytesRead;
    }
    if (sum !== entry.crc32) throw fsError('EIO', 'the checksum is another');
  }
}
