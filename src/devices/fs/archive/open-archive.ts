/**
 * Opens an archive as a file system, whichever format it has.
 *
 * @module
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { VhostUserError, errorMessage } from '../../../util/index.ts';
import { ArchiveFileSystem } from './archive-file-system.ts';
import { indexTar } from './tar.ts';
import { openTemporaryFile, readAt, writeWhole } from './temporary-file.ts';
import { indexZip } from './zip.ts';

/** How an archive is opened. */
export interface ArchiveOptions {
  /**
   * What unpacking may take of the disk for temporary files, in bytes: all of a compressed tar
   * archive, the files of a zip archive that are in use. 8 GiB by default.
   */
  readonly unpackedBytesMax?: number;
  /** Told how much of a compressed tar archive has been read, of how many bytes. */
  readonly onProgress?: (doneBytes: number, allBytes: number) => void;
}

/** What an archive is: `gzip` is a compressed tar archive. */
export type ArchiveFormat = 'tar' | 'gzip' | 'zip';

const UNPACKED_BYTES_MAX = 8 * 1024 ** 3;
const PIECE_BYTES = 256 * 1024;
const MAGIC_BYTES = 8;
/** A first entry; the end of an index, when there is none. */
const ZIP = [
  [0x50, 0x4b, 3, 4],
  [0x50, 0x4b, 5, 6],
];

/** How archives and compressed files of other formats begin. */
const OTHERS: readonly (readonly [name: string, magic: readonly number[]])[] = [
  ['compressed by xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a]],
  ['compressed by zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['compressed by bzip2', [0x42, 0x5a, 0x68]],
  ['compressed by compress', [0x1f, 0x9d]],
  ['a 7-zip archive', [0x37, 0x7a, 0xbc, 0xaf]],
  ['a rar archive', [0x52, 0x61, 0x72, 0x21]],
];

/**
 * Opens a tar archive, a gzipped one, or a zip archive; what it is, its first bytes say. Give it to
 * a device, or call `end()`.
 *
 * ```ts
 * const files = await openArchive('release.tar.gz');
 * const device = openFs({ tag: 'release', source: { kind: 'file-system', fileSystem: files } });
 * ```
 *
 * @throws VhostUserError `ERR_VHU_FS_ARCHIVE`, with the file and what is wrong with it.
 */
export async function openArchive(
  path: string,
  options: ArchiveOptions = {},
): Promise<ArchiveFileSystem> {
  const unpackedBytesMax = options.unpackedBytesMax ?? UNPACKED_BYTES_MAX;
  const fd = openFile(path);
  let format: ArchiveFormat;
  try {
    format = formatOf(fd, path);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  switch (format) {
    case 'zip': {
      const { tree, contents } = await indexZip(fd, path, unpackedBytesMax);
      return new ArchiveFileSystem(tree, contents, []);
    }
    case 'tar':
      return await openTar(fd, path);
    case 'gzip':
      try {
        return await openTar(await gunzipped(fd, path, { ...options, unpackedBytesMax }), path);
      } finally {
        closeSync(fd);
      }
  }
}

/**
 * Which format a file has, by its first bytes; `tar` for what none can be told by.
 * @throws VhostUserError `ERR_VHU_FS_ARCHIVE` for one that is known, and cannot be shown.
 */
export function archiveFormat(path: string): ArchiveFormat {
  const fd = openFile(path);
  try {
    return formatOf(fd, path);
  } finally {
    closeSync(fd);
  }
}

/** Takes the fd over, also when this fails. */
async function openTar(fd: number, path: string): Promise<ArchiveFileSystem> {
  try {
    const { tree, skipped } = await indexTar(fd, path);
    let isOpen = true;
    const close = (): void => {
      if (isOpen) closeSync(fd);
      isOpen = false;
    };
    return new ArchiveFileSystem(tree, { fd, close, provide: () => undefined }, skipped);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function openFile(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (cause) {
    const text = `the archive cannot be opened: ${errorMessage(cause)}`;
    throw new VhostUserError('ERR_VHU_FS_ARCHIVE', text, { cause });
  }
}

function formatOf(fd: number, path: string): ArchiveFormat {
  if (!fstatSync(fd).isFile()) {
    throw new VhostUserError('ERR_VHU_FS_ARCHIVE', `${path} is no file`);
  }
  const magic = new Uint8Array(MAGIC_BYTES);
  readSync(fd, magic, 0, MAGIC_BYTES, 0);
  const other = OTHERS.find(([, bytes]) => beginsWith(magic, bytes));
  if (other !== undefined) {
    const text = `${path} is ${other[0]}: .tar, .tar.gz and .zip can be shown; unpack it first`;
    throw new VhostUserError('ERR_VHU_FS_ARCHIVE', text);
  }
  if (beginsWith(magic, [0x1f, 0x8b])) return 'gzip';
  const isZip = ZIP.some((bytes) => beginsWith(magic, bytes));
  return isZip ? 'zip' : 'tar';
}

function beginsWith(bytes: Uint8Array, magic: readonly number[]): boolean {
  return magic.every((byte, i) => bytes[i] === byte);
}

/** The archive unpacked, in a file without a name. */
async function gunzipped(
  fd: number,
  path: string,
  options: ArchiveOptions & { readonly unpackedBytesMax: number },
): Promise<number> {
  const { unpackedBytesMax, onProgress } = options;
  const target = openTemporaryFile();
  const allBytes = fstatSync(fd).size;
  // Streams of Node's own would close the fds when something goes wrong.
  const source = async function* (): AsyncGenerator<Uint8Array> {
    for (let at = 0; ;) {
      const { bytesRead, buffer } = await readAt(
        fd,
        new Uint8Array(PIECE_BYTES),
        0,
        PIECE_BYTES,
        at,
      );
      if (bytesRead === 0) return;
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
      onProgress?.(at, allBytes);
    }
  };
  const sink = async (pieces: AsyncIterable<Uint8Array>): Promise<void> => {
    let at = 0;
    for await (const piece of pieces) {
      if (at + piece.length > unpackedBytesMax) {
        throw new Error(`it unpacks to more than ${String(unpackedBytesMax)} bytes`);
      }
      at += await writeWhole(target, piece, at);
    }
  };
  try {
    await pipeline(source, createGunzip(), sink);
    return target;
  } catch (cause) {
    closeSync(target);
    const text = `${path}: ${errorMessage(cause)}`;
    throw new VhostUserError('ERR_VHU_FS_ARCHIVE', text, { cause });
  }
}
