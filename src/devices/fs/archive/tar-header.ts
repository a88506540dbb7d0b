/**
 * One header block of a tar archive: ustar, what GNU made of it, and the fields of older ones.
 *
 * @module
 */
import { nameText } from '../tree/index.ts';

/** Everything in a tar archive is made of these. */
export const TAR_BLOCK_BYTES = 512;

/** Where a field is: offset and length. */
const FIELD = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  type: [156, 1],
  linkName: [157, 100],
  magic: [257, 6],
  deviceMajor: [329, 8],
  deviceMinor: [337, 8],
  prefix: [345, 155],
} as const;

const SPACE = 0x20;
const ZERO = 0x30;
const SEVEN = 0x37;
const BASE_256 = 0x80;
const NEGATIVE = 0xff;

/** A header; numbers that are none are NaN. */
export interface TarHeader {
  readonly name: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: number;
  /** One character; '0' for the NUL of old archives. */
  readonly type: string;
  readonly linkName: string;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
}

/** Whether a block is empty, as the two at the end of an archive are. */
export function isZeroBlock(block: Uint8Array): boolean {
  return block.every((byte) => byte === 0);
}

/** Reads a block; null when it is no header, which its checksum tells. */
export function parseTarHeader(block: Uint8Array): TarHeader | null {
  if (!hasChecksum(block)) return null;
  // GNU has other things where ustar has the prefix.
  const isUstar = textOf(block, FIELD.magic) === 'ustar' && block[262] === 0;
  const prefix = isUstar ? textOf(block, FIELD.prefix) : '';
  const name = textOf(block, FIELD.name);
  const type = block[FIELD.type[0]] ?? 0;
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    mode: numberOf(block, FIELD.mode),
    uid: numberOf(block, FIELD.uid),
    gid: numberOf(block, FIELD.gid),
    size: numberOf(block, FIELD.size),
    mtime: numberOf(block, FIELD.mtime),
    type: type === 0 ? '0' : String.fromCharCode(type),
    linkName: textOf(block, FIELD.linkName),
    deviceMajor: numberOf(block, FIELD.deviceMajor),
    deviceMinor: numberOf(block, FIELD.deviceMinor),
  };
}

/** The sum of all bytes, with the checksum's own as spaces; some old tars added signed ones. */
function hasChecksum(block: Uint8Array): boolean {
  const [at, length] = FIELD.checksum;
  let sum = 0;
  let signed = 0;
  for (let i = 0; i < TAR_BLOCK_BYTES; i++) {
    const byte = i >= at && i < at + length ? SPACE : (block[i] ?? 0);
    sum += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  const expected = numberOf(block, FIELD.checksum);
  return expected === sum || expected === signed;
}

function textOf(block: Uint8Array, [at, length]: readonly [number, number]): string {
  const field = block.subarray(at, at + length);
  const end = field.indexOf(0);
  return nameText(end === -1 ? field : field.subarray(0, end));
}

/** Octal digits between blanks, or binary where the first bit is set; an empty field is 0. */
function numberOf(block: Uint8Array, [at, length]: readonly [number, number]): number {
  const first = block[at] ?? 0;
  if ((first & BASE_256) !== 0) return binaryNumber(block.subarray(at, at + length));
  let value = 0;
  let i = at;
  while (i < at + length && block[i] === SPACE) i++;
  for (; i < at + length; i++) {
    const byte = block[i] ?? 0;
    if (byte === 0 || byte === SPACE) break;
    if (byte < ZERO || byte > SEVEN) return NaN;
    value = value * 8 + byte - ZERO;
  }
  return value;
}

function binaryNumber(field: Uint8Array): number {
  const isNegative = field[0] === NEGATIVE;
  let value = isNegative ? -1 : (field[0] ?? 0) & ~BASE_256;
  for (const byte of field.subarray(1)) value = value * 256 + byte;
  return Number.isSafeInteger(value) ? value : NaN;
}
