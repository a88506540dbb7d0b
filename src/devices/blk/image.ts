/**
 * The image behind a disk: a raw file or a block device, opened, checked and locked.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import { closeFd, fileInfo, isMemoryBacked, lockImage, openFile } from '../../sys/index.ts';
import type { FileInfo } from '../../sys/index.ts';
import { SECTOR_BYTES } from './layout.ts';

/** How to open an image. */
export interface ImageOptions {
  readonly path: string;
  readonly readOnly: boolean;
  readonly direct: boolean;
  readonly lock: boolean;
}

/** Magic numbers at the start of image formats that are not raw: serving them raw would show their
 * inside to the guest, and a write would ruin them. */
const FORMATS: readonly (readonly [name: string, magic: string])[] = [
  ['qcow2', 'QFI\xfb'],
  ['VMDK', 'KDMV'],
  ['VHDX', 'vhdxfile'],
  ['VirtualBox VDI', '<<< '],
];
const MAGIC_BYTES_MAX = 8;

/** See the module. Owns its fds. */
export class BlkImage {
  readonly path: string;
  /** For the data path; past the page cache when `direct` was asked for. */
  readonly fd: number;
  /** For requests that direct I/O cannot do; the same as `fd` without it. */
  readonly bufferedFd: number;
  readonly info: FileInfo;
  /** It lives in memory: nothing ever waits for a device. */
  readonly inMemory: boolean;

  /** @throws VhostUserError in words: `ERR_VHU_OPEN`, `ERR_VHU_BLK_IMAGE`, `ERR_VHU_BLK_LOCKED`. */
  constructor(options: ImageOptions) {
    const { path, readOnly, direct } = options;
    this.path = path;
    const writable = !readOnly;
    const bufferedFd = openFile(path, { writable });
    try {
      this.info = fileInfo(bufferedFd);
      checkKind(path, this.info);
      this.inMemory = this.info.kind === 'file' && isMemoryBacked(path);
      if (options.lock) lock(path, bufferedFd, writable);
      this.fd = direct ? openFile(path, { writable, direct }) : bufferedFd;
    } catch (error) {
      closeFd(bufferedFd);
      throw error;
    }
    this.bufferedFd = bufferedFd;
  }

  /** The size as it is now, in whole sectors. */
  get sizeBytes(): number {
    const { sizeBytes } = fileInfo(this.bufferedFd);
    return sizeBytes - (sizeBytes % SECTOR_BYTES);
  }

  /** The name of the format that the first bytes belong to, when it is none that is served. */
  foreignFormat(first: Uint8Array): string | null {
    const text = Buffer.from(first.subarray(0, MAGIC_BYTES_MAX)).toString('latin1');
    return FORMATS.find(([, magic]) => text.startsWith(magic))?.[0] ?? null;
  }

  /** Closes the fds, and with them the lock. */
  close(): void {
    if (this.fd !== this.bufferedFd) closeFd(this.fd);
    closeFd(this.bufferedFd);
  }
}

function checkKind(path: string, info: FileInfo): void {
  if (info.kind === 'other') {
    throw new VhostUserError(
      'ERR_VHU_BLK_IMAGE',
      `${path}: neither a file nor a block device, so it cannot be a disk`,
    );
  }
  if (info.sizeBytes < SECTOR_BYTES) {
    throw new VhostUserError(
      'ERR_VHU_BLK_IMAGE',
      `${path}: it has ${String(info.sizeBytes)} bytes, and a disk has at least one sector of ` +
        `${String(SECTOR_BYTES)}: make it larger, for example with truncate -s 1G ${path}`,
    );
  }
}

function lock(path: string, fd: number, writable: boolean): void {
  if (lockImage(fd, { exclusive: writable })) return;
  throw new VhostUserError(
    'ERR_VHU_BLK_LOCKED',
    `${path}: another process uses it${writable ? '' : ' for writing'}: two writers would ruin ` +
      "the guests' file systems (--no-lock serves it all the same)",
  );
}
