/**
 * The names in a request: where they are, and whether they may be names.
 *
 * @module
 */
import { FUSE_SETXATTR_IN, LINUX_E, NAME_BYTES_MAX } from '../../../fuse/index.ts';
import { NAMES } from './requests.ts';

/** The longest target of a symbolic link (PATH_MAX without its NUL). */
export const TARGET_BYTES_MAX = 4095;

const EINVAL = -LINUX_E.INVAL;
const ENAMETOOLONG = -LINUX_E.NAMETOOLONG;
const SLASH = 0x2f;
const DOT = 0x2e;

/** Where the names are: offsets in the arguments, and bytes without the NUL. */
export interface NamePlaces {
  nameOffset: number;
  nameBytes: number;
  secondOffset: number;
  secondBytes: number;
}

/**
 * Finds the names of a kind (of `NAMES`) in `bytes`, from `start` to `end`, and checks them.
 * Returns 0, or a negative errno.
 */
export function findNames(
  places: NamePlaces,
  kind: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): number {
  const nameEnd = endOfText(bytes, start, end);
  if (nameEnd >= end || nameEnd === start) return EINVAL;
  const nameBytes = nameEnd - start;
  if (nameBytes > NAME_BYTES_MAX) return ENAMETOOLONG;
  places.nameOffset = start;
  places.nameBytes = nameBytes;
  places.secondOffset = nameEnd + 1;
  places.secondBytes = 0;
  if (kind === NAMES.xattr) return 0;
  if (kind === NAMES.xattrValue) return takeValue(places, bytes, start, end);
  const fault = checkName(bytes, start, nameEnd, kind === NAMES.lookup);
  if (fault < 0 || kind === NAMES.one || kind === NAMES.lookup) return fault;
  return takeSecond(places, kind, bytes, end);
}

/** Where the NUL is; `end` when there is none. */
function endOfText(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && bytes[at] !== 0) at++;
  return at;
}

/** Whether a name may be that of a directory entry: no slash, no `.` or `..`. */
function checkName(bytes: Uint8Array, start: number, end: number, dots: boolean): number {
  for (let i = start; i < end; i++) if (bytes[i] === SLASH) return EINVAL;
  if (dots || bytes[start] !== DOT || end - start > 2) return 0;
  return end - start === 1 || bytes[start + 1] === DOT ? EINVAL : 0;
}

function takeSecond(places: NamePlaces, kind: number, bytes: Uint8Array, end: number): number {
  const start = places.secondOffset;
  const secondEnd = endOfText(bytes, start, end);
  if (secondEnd >= end || secondEnd === start) return EINVAL;
  places.secondBytes = secondEnd - start;
  const limit = kind === NAMES.target ? TARGET_BYTES_MAX : NAME_BYTES_MAX;
  if (places.secondBytes > limit) return ENAMETOOLONG;
  return kind === NAMES.target ? 0 : checkName(bytes, start, secondEnd, false);
}

/** The value of SETXATTR: as many bytes as the arguments before the name say. */
function takeValue(places: NamePlaces, bytes: Uint8Array, start: number, end: number): number {
  const at = start - FUSE_SETXATTR_IN.SIZE + FUSE_SETXATTR_IN.size;
  const low = (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
  const high = (bytes[at + 2] as number) | ((bytes[at + 3] as number) << 8);
  const valueBytes = high * 0x1_0000 + low;
  if (places.secondOffset + valueBytes > end) return EINVAL;
  places.secondBytes = valueBytes;
  return 0;
}
