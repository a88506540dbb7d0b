/**
 * Extended headers of tar archives (POSIX pax): lines of `length key=value`.
 *
 * @module
 */
import { VhostUserError } from '../../../util/index.ts';
import { nameText } from '../tree/index.ts';
import type { Timestamp } from '../tree/index.ts';

const SPACE = 0x20;
const NEWLINE = 0x0a;
const EQUALS = 0x3d;
const DIGITS_MAX = 10;
const NS_PER_S_DIGITS = 9;

/** Values by key; they may be any bytes. */
export type PaxRecords = ReadonlyMap<string, Uint8Array>;

/** Reads records; `where` is for the message. */
export function parsePax(bytes: Uint8Array, where: string): Map<string, Uint8Array> {
  const records = new Map<string, Uint8Array>();
  for (let at = 0; at < bytes.length && bytes[at] !== 0;) {
    const space = bytes.indexOf(SPACE, at);
    const digits = Buffer.from(bytes.subarray(at, Math.max(at, space))).toString('latin1');
    const end = at + Number(digits);
    const isSound = /^[0-9]+$/.test(digits) && digits.length <= DIGITS_MAX && end > space + 1;
    if (!isSound || end > bytes.length || bytes[end - 1] !== NEWLINE) throw malformed(where);
    const record = bytes.subarray(space + 1, end - 1);
    const equals = record.indexOf(EQUALS);
    if (equals < 1) throw malformed(where);
    records.set(nameText(record.subarray(0, equals)), record.slice(equals + 1));
    at = end;
  }
  return records;
}

/** A text, or undefined; an empty value takes back what a global header said. */
export function paxText(records: PaxRecords, key: string): string | undefined {
  const value = records.get(key);
  return value === undefined || value.length === 0 ? undefined : nameText(value);
}

/** A whole number that is not negative, or undefined; NaN for what is none. */
export function paxNumber(records: PaxRecords, key: string): number | undefined {
  const text = paxText(records, key);
  if (text === undefined) return undefined;
  const value = /^[0-9]+$/.test(text) ? Number(text) : NaN;
  return Number.isSafeInteger(value) ? value : NaN;
}

/** Seconds with a fraction, or undefined. */
export function paxTime(records: PaxRecords, key: string): Timestamp | undefined {
  const match = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/.exec(paxText(records, key) ?? '');
  if (match === null) return undefined;
  const [, sign, whole = '', fraction = ''] = match;
  const ns = Number(fraction.slice(0, NS_PER_S_DIGITS).padEnd(NS_PER_S_DIGITS, '0'));
  const seconds = Number(whole);
  if (sign !== '-') return { seconds, nanoseconds: ns };
  return ns === 0
    ? { seconds: -seconds, nanoseconds: 0 }
    : { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - ns };
}

function malformed(where: string): VhostUserError {
  return new VhostUserError('ERR_VHU_FS_ARCHIVE', `${where}: a pax header is damaged`);
}
