/**
 * FUSE_INIT from the guest kernel's side: what a client asks for, and what a server has agreed to.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import {
  FUSE_INIT,
  FUSE_INIT_IN,
  FUSE_INIT_OUT,
  FUSE_MAJOR,
  FUSE_MINOR,
  FUSE_MINOR_MIN,
  FUSE_PAGE_BYTES,
} from '../../fuse/index.ts';

const MAX_READAHEAD_BYTES = 128 * 1024; // Linux's
const WRITE_BYTES_MIN = 4096; // what fuse(4) has always been able to write
const PAGES_WITHOUT_MAX_PAGES = 32; // FUSE_DEFAULT_MAX_PAGES_PER_REQ

/**
 * What {@link FsClient} asks for: what it makes use of, and what changes nothing for it. Not the
 * write-back cache, which would leave appending and times to it.
 */
export const FUSE_CLIENT_FLAGS: number =
  FUSE_INIT.ASYNC_READ |
  FUSE_INIT.POSIX_LOCKS |
  FUSE_INIT.ATOMIC_O_TRUNC |
  FUSE_INIT.BIG_WRITES |
  FUSE_INIT.FLOCK_LOCKS |
  FUSE_INIT.DO_READDIRPLUS |
  FUSE_INIT.ASYNC_DIO |
  FUSE_INIT.NO_OPEN_SUPPORT |
  FUSE_INIT.PARALLEL_DIROPS |
  FUSE_INIT.ABORT_ERROR |
  FUSE_INIT.MAX_PAGES |
  FUSE_INIT.CACHE_SYMLINKS |
  FUSE_INIT.NO_OPENDIR_SUPPORT |
  FUSE_INIT.SUBMOUNTS |
  FUSE_INIT.INIT_EXT;

/** What is sent with FUSE_INIT. */
export interface FuseInitRequest {
  /** `FUSE_INIT` bits; {@link FUSE_CLIENT_FLAGS} by default. */
  readonly flags?: number;
  /** `FUSE_INIT2` bits; none by default. */
  readonly flags2?: number;
  /** The protocol's minor version; the newest that this package knows by default. */
  readonly minor?: number;
}

/** What was agreed on. */
export interface FuseAgreement {
  /** The minor version that both speak. */
  readonly minor: number;
  /** `FUSE_INIT` bits that the server wants, of those that were offered. */
  readonly flags: number;
  readonly flags2: number;
  /** The longest read and the longest write. */
  readonly readBytesMax: number;
  readonly writeBytesMax: number;
  /** Requests that may wait at the server (of a kernel's background). */
  readonly maxBackground: number;
  readonly timeGranularityNs: number;
}

/** Writes `fuse_init_in` to `at`. */
export function encodeInit(view: DataView, at: number, request: FuseInitRequest): void {
  const flags = request.flags ?? FUSE_CLIENT_FLAGS;
  for (let i = 0; i < FUSE_INIT_IN.SIZE; i += 4) view.setUint32(at + i, 0, true);
  view.setUint32(at + FUSE_INIT_IN.major, FUSE_MAJOR, true);
  view.setUint32(at + FUSE_INIT_IN.minor, request.minor ?? FUSE_MINOR, true);
  view.setUint32(at + FUSE_INIT_IN.maxReadahead, MAX_READAHEAD_BYTES, true);
  view.setUint32(at + FUSE_INIT_IN.flags, flags >>> 0, true);
  view.setUint32(at + FUSE_INIT_IN.flags2, (request.flags2 ?? 0) >>> 0, true);
}

/**
 * Reads `fuse_init_out`.
 * @throws VhostUserError `ERR_VHU_FS_INIT` when it is another protocol.
 */
export function parseInit(view: DataView, at: number, request: FuseInitRequest): FuseAgreement {
  const major = view.getUint32(at + FUSE_INIT_OUT.major, true);
  const minor = view.getUint32(at + FUSE_INIT_OUT.minor, true);
  if (major !== FUSE_MAJOR || minor < FUSE_MINOR_MIN) {
    throw new VhostUserError(
      'ERR_VHU_FS_INIT',
      `FUSE_INIT: the server speaks FUSE ${String(major)}.${String(minor)}; ` +
        `${String(FUSE_MAJOR)}.${String(FUSE_MINOR_MIN)} or newer is needed`,
    );
  }
  const offered = request.flags ?? FUSE_CLIENT_FLAGS;
  const flags = view.getUint32(at + FUSE_INIT_OUT.flags, true) & offered;
  const extended = (flags & FUSE_INIT.INIT_EXT) !== 0;
  const flags2 = extended ? view.getUint32(at + FUSE_INIT_OUT.flags2, true) : 0;
  const maxWrite = view.getUint32(at + FUSE_INIT_OUT.maxWrite, true);
  const maxPages = view.getUint16(at + FUSE_INIT_OUT.maxPages, true);
  const pages = (flags & FUSE_INIT.MAX_PAGES) !== 0 ? maxPages : PAGES_WITHOUT_MAX_PAGES;
  const pageBytes = Math.max(1, pages) * FUSE_PAGE_BYTES;
  return {
    minor: Math.min(minor, request.minor ?? FUSE_MINOR),
    flags,
    flags2: flags2 & (request.flags2 ?? 0),
    readBytesMax: pageBytes,
    writeBytesMax: Math.min(pageBytes, Math.max(WRITE_BYTES_MIN, maxWrite)),
    maxBackground: view.getUint16(at + FUSE_INIT_OUT.maxBackground, true),
    timeGranularityNs: Math.max(1, view.getUint32(at + FUSE_INIT_OUT.timeGran, true)),
  };
}
