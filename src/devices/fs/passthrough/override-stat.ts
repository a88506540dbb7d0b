/**
 * Owner and mode of a file as text in an extended attribute, for hosts where this process is not
 * root and cannot give files away. The name and the format are those of containers/storage,
 * fuse-overlayfs and libkrun, so that a folder prepared by one is understood by the others:
 *
 * ```text
 * uid:gid:mode[:type]      0:0:0644   1000:1000:0100755   0:6:0660:block-8-0
 * ```
 *
 * Numbers are decimal, the mode octal. The kind of file is told by `type` (containers/storage) or
 * by the upper bits of the mode (libkrun).
 *
 * @module
 */
import { S_IF } from '../../../fuse/index.ts';

/** The attribute's name. */
export const OVERRIDE_STAT_NAME = 'user.containers.override_stat';

/** What an attribute says. Reused: {@link parseOverrideStat} fills it in. */
export class OverrideStat {
  uid = 0;
  gid = 0;
  /** Permissions, with setuid, setgid and sticky; -1 for none. */
  mode = -1;
  /** The kind of file, one of `S_IF`; 0 when the attribute does not say. */
  type = 0;
  /** Of a block or character device: at most 12 and 20 bits, as FUSE carries them. */
  major = 0;
  minor = 0;
}

const ID_MAX = 0xffff_fffe; // one more would be "no owner"
const MODE_MAX = 0o177777;
const PERMISSIONS = 0o7777;
const MAJOR_MAX = 0xfff;
const MINOR_MAX = 0xf_ffff;
const COLON = 0x3a;
const HYPHEN = 0x2d;
const ZERO = 0x30;

/** More is in none of the formats; whoever wrote it meant something else. */
const VALUE_BYTES_MAX = 64;

const TYPE_NAMES: readonly (readonly [number, Uint8Array])[] = (
  [
    [S_IF.REG, 'file'],
    [S_IF.DIR, 'dir'],
    [S_IF.LNK, 'symlink'],
    [S_IF.IFO, 'pipe'],
    [S_IF.SOCK, 'socket'],
    [S_IF.BLK, 'block'],
    [S_IF.CHR, 'char'],
  ] as const
).map(([type, name]) => [type, new TextEncoder().encode(name)]);

/** Where {@link readNumber} and {@link parseType} stand. Module state, so that nothing is made. */
let cursor = 0;

/**
 * Reads the first `length` bytes of an attribute's value into `out`. False for anything that is
 * not wholly understood; `out` is then not to be used. What follows a fourth `:` is for the future
 * and is passed over.
 */
export function parseOverrideStat(bytes: Uint8Array, length: number, out: OverrideStat): boolean {
  if (length > VALUE_BYTES_MAX || length > bytes.length) return false;
  cursor = 0;
  out.uid = readNumber(bytes, length, 10, ID_MAX);
  if (out.uid < 0 || !skip(bytes, length, COLON)) return false;
  out.gid = readNumber(bytes, length, 10, ID_MAX);
  if (out.gid < 0 || !skip(bytes, length, COLON)) return false;
  const mode = readNumber(bytes, length, 8, MODE_MAX);
  if (mode < 0) return false;
  out.mode = mode & PERMISSIONS;
  out.type = mode & S_IF.MT;
  out.major = 0;
  out.minor = 0;
  if (cursor < length) {
    if (!skip(bytes, length, COLON) || !parseType(bytes, length, out)) return false;
  }
  return out.type === 0 || TYPE_NAMES.some(([type]) => type === out.type);
}

/** `file`, `block-8-0` and so on; a kind that the mode has said already must be the same one. */
function parseType(bytes: Uint8Array, length: number, out: OverrideStat): boolean {
  const type = readTypeName(bytes, length);
  if (type === 0 || (out.type !== 0 && out.type !== type)) return false;
  out.type = type;
  if (type === S_IF.BLK || type === S_IF.CHR) {
    if (!skip(bytes, length, HYPHEN)) return false;
    out.major = readNumber(bytes, length, 10, MAJOR_MAX);
    if (out.major < 0 || !skip(bytes, length, HYPHEN)) return false;
    out.minor = readNumber(bytes, length, 10, MINOR_MAX);
    if (out.minor < 0) return false;
  }
  return cursor === length || bytes[cursor] === COLON;
}

function readTypeName(bytes: Uint8Array, length: number): number {
  for (const [type, name] of TYPE_NAMES) {
    if (cursor + name.length > length) continue;
    let same = 0;
    while (same < name.length && bytes[cursor + same] === name[same]) same++;
    if (same < name.length) continue;
    cursor += same;
    return type;
  }
  return 0;
}

/** Digits at the cursor, which is moved behind them; -1 when there is none, or too big a number. */
function readNumber(bytes: Uint8Array, length: number, radix: number, max: number): number {
  const start = cursor;
  let value = 0;
  while (cursor < length) {
    const digit = (bytes[cursor] ?? 0) - ZERO;
    if (digit < 0 || digit >= radix) break;
    value = value * radix + digit;
    if (value > max) return -1;
    cursor++;
  }
  return cursor === start ? -1 : value;
}

function skip(bytes: Uint8Array, length: number, byte: number): boolean {
  if (cursor >= length || bytes[cursor] !== byte) return false;
  cursor++;
  return true;
}

/**
 * Writes a value for the attribute, at most 64 bytes, and returns its bytes; -1 when `into` is too
 * small or a number is none (a mode of -1, for one). The kind is left out when `type` is 0.
 */
export function formatOverrideStat(stat: OverrideStat, into: Uint8Array): number {
  const { uid, gid, mode, type, major, minor } = stat;
  if (!isWithin(uid, ID_MAX) || !isWithin(gid, ID_MAX) || !isWithin(mode, PERMISSIONS)) return -1;
  cursor = 0;
  writeNumber(into, uid, 10, 1);
  writeByte(into, COLON);
  writeNumber(into, gid, 10, 1);
  writeByte(into, COLON);
  writeNumber(into, mode, 8, 4);
  if (type !== 0) {
    const entry = TYPE_NAMES.find(([known]) => known === type);
    if (entry === undefined) return -1;
    writeByte(into, COLON);
    for (const byte of entry[1]) writeByte(into, byte);
    if (type === S_IF.BLK || type === S_IF.CHR) {
      if (!isWithin(major, MAJOR_MAX) || !isWithin(minor, MINOR_MAX)) return -1;
      writeByte(into, HYPHEN);
      writeNumber(into, major, 10, 1);
      writeByte(into, HYPHEN);
      writeNumber(into, minor, 10, 1);
    }
  }
  return cursor <= into.length ? cursor : -1;
}

function isWithin(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= max;
}

function writeByte(into: Uint8Array, byte: number): void {
  into[cursor++] = byte; // beyond the end nothing is written, and the caller looks at the cursor
}

function writeNumber(into: Uint8Array, value: number, radix: number, digitsMin: number): void {
  let digits = 1;
  for (let rest = Math.floor(value / radix); rest > 0; rest = Math.floor(rest / radix)) digits++;
  digits = Math.max(digits, digitsMin);
  let rest = value;
  for (let i = digits - 1; i >= 0; i--) {
    into[cursor + i] = ZERO + (rest % radix);
    rest = Math.floor(rest / radix);
  }
  cursor += digits;
}
