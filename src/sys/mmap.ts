/**
 * Mappings: files and shared memory as addresses, and views over them.
 *
 * @module
 */
import { fstatSync } from 'node:fs';
import { VhostUserError } from '../util/index.ts';
import { fdKind } from './fd.ts';
import { fileInfo } from './file.ts';
import { abi } from './host.ts';
import { ERRNO, SystemError } from './errno.ts';
import * as libc from './libc.ts';
import { check } from './native.ts';

const { constants, optional } = abi;

/**
 * Offsets of a mapping are multiples of this: the largest page that a supported host has (16 KiB).
 * Objects of huge pages have larger ones.
 */
const PAGE_BYTES_MAX = 16384;

/**
 * The longest view: an ArrayBuffer of more than 4 GiB ends the process on Node 20, and indexes from
 * 2^31 on are slow there.
 */
export const WINDOW_BYTES_MAX: number = 2 ** 31 - PAGE_BYTES_MAX;

let mappingCount = 0;

/**
 * A mapped range. Owned by whoever made it, who calls `unmap` after the last use of its addresses.
 */
export class Mapping {
  /** Host address of the first byte that was asked for. */
  readonly address: number;
  readonly lengthBytes: number;
  readonly #base: number;
  readonly #baseBytes: number;
  readonly #pageBytes: number;
  #mapped = true;

  /** `baseBytes` from `base` on are mapped, in pages of `pageBytes`, since `address` was wanted. */
  constructor(
    base: number,
    baseBytes: number,
    pageBytes: number,
    address: number,
    lengthBytes: number,
  ) {
    this.#base = base;
    this.#baseBytes = baseBytes;
    this.#pageBytes = pageBytes;
    this.address = address;
    this.lengthBytes = lengthBytes;
    mappingCount++;
  }

  /** Unmaps; may be called again. SAFETY: no view and no request uses the range any more. */
  unmap(): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    mappingCount--;
    if (libc.munmap(this.#base, this.#baseBytes) === 0) return;
    // Linux maps whole huge pages for whatever length, and unmaps none for a part of one.
    const pages = Math.ceil(this.#baseBytes / this.#pageBytes);
    libc.munmap(this.#base, pages * this.#pageBytes);
  }

  [Symbol.dispose](): void {
    this.unmap();
  }
}

/** How many mappings are alive; for tests that look for leaks. */
export function openMappingCount(): number {
  return mappingCount;
}

/** Options of {@link mapFd}. */
export interface MapOptions {
  readonly writable: boolean;
  /** What is being mapped, for messages. */
  readonly label?: string;
}

/**
 * Maps a range of a file or of shared memory. Any offset will do: the mapping begins at the page
 * before it.
 *
 * @throws VhostUserError `ERR_VHU_MAP_PAST_END` when the object ends before the range does:
 *   touching what lies beyond would end the process (SIGBUS). `ERR_VHU_MAP_KIND` when the fd is a
 *   pipe, a socket or a folder. `ERR_VHU_SYSTEM` when mmap fails or the fd is closed.
 */
export function mapFd(
  fd: number,
  lengthBytes: number,
  offsetBytes: number,
  options: MapOptions,
): Mapping {
  const what = options.label ?? `fd ${String(fd)}`;
  const pageBytes = checkEnd(fd, offsetBytes + lengthBytes, what);
  const skew = offsetBytes % pageBytes;
  const bytes = lengthBytes + skew;
  const protection = constants.PROT_READ | (options.writable ? constants.PROT_WRITE : 0);
  const flags = constants.MAP_SHARED | (optional.MAP_NORESERVE ?? 0);
  const offset = offsetBytes - skew;
  const call = `mmap(${what}, ${String(bytes)} bytes at ${String(offset)})`;
  const advice = 'is the fd a file or shared memory, and are there limits on memory (ulimit -v)?';
  const base = check(libc.mmap(0, bytes, protection, flags, fd, offset), call, advice);
  return new Mapping(base, bytes, pageBytes, base + skew, lengthBytes);
}

/** Maps zeroed private memory; it takes up room only where it is touched. */
export function mapAnonymous(lengthBytes: number): Mapping {
  const protection = constants.PROT_READ | constants.PROT_WRITE;
  const flags = constants.MAP_PRIVATE | constants.MAP_ANON | (optional.MAP_NORESERVE ?? 0);
  const call = `mmap(${String(lengthBytes)} bytes of private memory)`;
  const base = check(libc.mmap(0, lengthBytes, protection, flags, -1, 0), call);
  return new Mapping(base, lengthBytes, PAGE_BYTES_MAX, base, lengthBytes);
}

/**
 * Zeroes in the place of what `mapAnonymous` mapped, at another address: what was touched goes back
 * to the host. The same mapping, as it is, where the host has no room for both.
 * SAFETY: no view and no request uses `before` any more.
 */
export function mapAnew(before: Mapping): Mapping {
  let anew: Mapping;
  try {
    anew = mapAnonymous(before.lengthBytes);
  } catch {
    return before;
  }
  before.unmap();
  return anew;
}

/**
 * A view of mapped memory, borrowed: a new ArrayBuffer at each call, so keep it.
 * SAFETY: the caller keeps the range mapped for as long as the view is used.
 */
export function viewMemory(address: number, lengthBytes: number): ArrayBuffer {
  if (lengthBytes > WINDOW_BYTES_MAX) {
    throw new VhostUserError(
      'ERR_VHU_VIEW_LENGTH',
      `a view of ${String(lengthBytes)} bytes: the limit is ${String(WINDOW_BYTES_MAX)}`,
    );
  }
  return libc.rawView(address, lengthBytes);
}

/** Checks that an object does not end before the range does; returns what to align offsets to. */
function checkEnd(fd: number, endBytes: number, what: string): number {
  const { sizeBytes, pageBytes } = mappable(fd, what);
  // The size may be rounded up to a page on some hosts: that much can be touched as well.
  if (sizeBytes === null || endBytes <= sizeBytes) return pageBytes;
  throw new VhostUserError(
    'ERR_VHU_MAP_PAST_END',
    `${what}: the range ends at byte ${String(endBytes)}, but the object has ` +
      `${String(sizeBytes)}: touching what lies beyond would end this process`,
  );
}

/** How much of an object there is to map, null when it has no size; and how large its pages are. */
function mappable(fd: number, what: string): { sizeBytes: number | null; pageBytes: number } {
  let sizeBytes: number;
  let blockBytes: number;
  try {
    const { size, blksize } = fstatSync(fd);
    sizeBytes = size;
    blockBytes = blksize;
  } catch {
    throw new SystemError(`fstat(${what})`, ERRNO.EBADF as number, 'the fd is not open');
  }
  const kind = fdKind(fd);
  if (kind === 'pipe' || kind === 'socket' || kind === 'directory') {
    throw new VhostUserError(
      'ERR_VHU_MAP_KIND',
      `${what}: a ${kind} cannot be mapped: a file or shared memory is needed`,
    );
  }
  // The block size of an object of huge pages is its page, and its offsets are multiples of that.
  // Offsets of others may be as well.
  const isPage = blockBytes > PAGE_BYTES_MAX && Number.isInteger(Math.log2(blockBytes));
  const pageBytes = isPage ? blockBytes : PAGE_BYTES_MAX;
  if (kind !== 'block' && kind !== 'char') return { sizeBytes, pageBytes };
  const device = fileInfo(fd);
  return { sizeBytes: device.kind === 'block' ? device.sizeBytes : null, pageBytes };
}
