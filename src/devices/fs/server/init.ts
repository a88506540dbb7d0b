/**
 * FUSE_INIT: what the guest's kernel and a file system agree on.
 *
 * @module
 */
import {
  FUSE_INIT,
  FUSE_INIT2,
  FUSE_INIT_IN,
  FUSE_INIT_OUT,
  FUSE_MAJOR,
  FUSE_MAX_PAGES_LIMIT,
  FUSE_MINOR,
  FUSE_MINOR_MIN,
  FUSE_PAGE_BYTES,
  LINUX_E,
} from '../../../fuse/index.ts';
import type { FuseAbilities, FuseOperations, FuseSession } from '../operations.ts';

/** When the guest asks for attributes together with names; `auto` leaves it to its kernel. */
export type ReaddirPlus = 'auto' | 'always' | 'never';

/** What the server itself knows to handle, whatever the file system is. */
const SERVER_FLAGS =
  FUSE_INIT.ASYNC_READ |
  FUSE_INIT.BIG_WRITES |
  FUSE_INIT.PARALLEL_DIROPS |
  FUSE_INIT.ASYNC_DIO |
  FUSE_INIT.MAX_PAGES |
  FUSE_INIT.SETXATTR_EXT |
  FUSE_INIT.INIT_EXT;

/** What a file system may ask for; the rest is the server's own business, or nobody's. */
const FILE_SYSTEM_FLAGS =
  ~(FUSE_INIT.MAP_ALIGNMENT | FUSE_INIT.DO_READDIRPLUS | FUSE_INIT.READDIRPLUS_AUTO) >>> 0;
/** DAX windows are not there. */
const FILE_SYSTEM_FLAGS2 = ~FUSE_INIT2.HAS_INODE_DAX >>> 0;

const MAX_WRITE_BYTES = FUSE_MAX_PAGES_LIMIT * FUSE_PAGE_BYTES;
/** Without MAX_PAGES a kernel never makes a request of more (FUSE_DEFAULT_MAX_PAGES_PER_REQ). */
const DEFAULT_MAX_WRITE_BYTES = 32 * FUSE_PAGE_BYTES;
/** Read-ahead and write-back requests that the guest may have under way. */
const MAX_BACKGROUND = 1024;
const CONGESTION_THRESHOLD = 768;

/** The outcome of an INIT. */
export interface InitOutcome {
  /** Null when there is none yet: the guest speaks a newer major version, and asks again. */
  readonly session: FuseSession | null;
  /** Bytes of the answer, or a negative errno. */
  readonly result: number;
}

/**
 * Negotiates: reads `fuse_init_in`, whose missing end is zeroes, and writes `fuse_init_out`.
 */
export function negotiate(
  input: DataView,
  out: DataView,
  operations: FuseOperations,
  readdirPlus: ReaddirPlus,
): InitOutcome {
  const major = input.getUint32(FUSE_INIT_IN.major, true);
  const minor = input.getUint32(FUSE_INIT_IN.minor, true);
  for (let at = 0; at < FUSE_INIT_OUT.SIZE; at += 4) out.setUint32(at, 0, true);
  out.setUint32(FUSE_INIT_OUT.major, FUSE_MAJOR, true);
  out.setUint32(FUSE_INIT_OUT.minor, FUSE_MINOR, true);
  if (major > FUSE_MAJOR) return { session: null, result: FUSE_INIT_OUT.SIZE };
  if (major < FUSE_MAJOR || minor < FUSE_MINOR_MIN)
    return { session: null, result: -LINUX_E.PROTO };
  const offered = input.getUint32(FUSE_INIT_IN.flags, true);
  const extended = (offered & FUSE_INIT.INIT_EXT) !== 0;
  const offered2 = extended ? input.getUint32(FUSE_INIT_IN.flags2, true) : 0;
  const wanted = wantedFlags(operations, readdirPlus);
  const flags = (offered & wanted) >>> 0;
  const flags2 = (offered2 & operations.abilities.flags2 & FILE_SYSTEM_FLAGS2) >>> 0;
  const session = { minor: Math.min(minor, FUSE_MINOR), flags, flags2 };
  answer(input, out, session, operations.abilities);
  return { session, result: FUSE_INIT_OUT.SIZE };
}

function wantedFlags(operations: FuseOperations, readdirPlus: ReaddirPlus): number {
  let flags = SERVER_FLAGS | (operations.abilities.flags & FILE_SYSTEM_FLAGS);
  if (operations.readdirplus !== undefined && readdirPlus !== 'never') {
    flags |= FUSE_INIT.DO_READDIRPLUS;
    if (readdirPlus === 'auto') flags |= FUSE_INIT.READDIRPLUS_AUTO;
  }
  return flags;
}

function answer(
  input: DataView,
  out: DataView,
  session: FuseSession,
  { timeGranularityNs }: FuseAbilities,
): void {
  const manyPages = (session.flags & FUSE_INIT.MAX_PAGES) !== 0;
  const maxReadahead = input.getUint32(FUSE_INIT_IN.maxReadahead, true);
  out.setUint32(FUSE_INIT_OUT.minor, session.minor, true);
  out.setUint32(FUSE_INIT_OUT.maxReadahead, maxReadahead, true);
  out.setUint32(FUSE_INIT_OUT.flags, session.flags, true);
  out.setUint16(FUSE_INIT_OUT.maxBackground, MAX_BACKGROUND, true);
  out.setUint16(FUSE_INIT_OUT.congestionThreshold, CONGESTION_THRESHOLD, true);
  const maxWrite = manyPages ? MAX_WRITE_BYTES : DEFAULT_MAX_WRITE_BYTES;
  out.setUint32(FUSE_INIT_OUT.maxWrite, maxWrite, true);
  out.setUint32(FUSE_INIT_OUT.timeGran, timeGranularityNs, true);
  out.setUint16(FUSE_INIT_OUT.maxPages, manyPages ? FUSE_MAX_PAGES_LIMIT : 0, true);
  out.setUint32(FUSE_INIT_OUT.flags2, session.flags2, true);
}
