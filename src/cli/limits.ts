/**
 * What numbers and texts are allowed, for the command line and for configuration files alike.
 *
 * @module
 */

/** A whole number within bounds. */
export interface NumberRule {
  readonly min: number;
  readonly max: number;
  readonly powerOfTwo?: boolean;
}

/** The settings that have bounds. */
type Setting =
  | 'queueCount'
  | 'queueSize'
  | 'pollUs'
  | 'threads'
  | 'blockBytes'
  | 'fd'
  | 'requestQueueCount'
  | 'id'
  | 'openFiles'
  | 'threadPool'
  | 'guestCid'
  | 'clients'
  | 'logKeep'
  | 'vsockPort'
  | 'tcpPort'
  | 'listenPort'
  | 'connections'
  | 'txBuffer'
  | 'seconds'
  | 'periodMs'
  | 'socketCount';

/** The bounds of the settings of devices. */
export const LIMITS: Readonly<Record<Setting, NumberRule>> = {
  queueCount: { min: 1, max: 256 }, // a kick message has eight bits for the index
  queueSize: { min: 2, max: 32768, powerOfTwo: true }, // virtio 1.3, section 2.7
  pollUs: { min: 0, max: 1_000_000 },
  threads: { min: 1, max: 64 },
  blockBytes: { min: 512, max: 4096, powerOfTwo: true },
  fd: { min: 0, max: 1_048_576 },
  requestQueueCount: { min: 1, max: 64 }, // beside the queue of high priority
  id: { min: 0, max: 0xffff_fffe }, // the last number stands for none
  openFiles: { min: 0, max: 1_073_741_824 },
  threadPool: { min: 0, max: 65_536 },
  guestCid: { min: 3, max: 0xffff_fffe }, // virtio 1.3, section 5.10.4: the others are reserved
  clients: { min: 1, max: 1024 },
  logKeep: { min: 0, max: 1000 },
  vsockPort: { min: 0, max: 0xffff_fffe }, // the number above stands for any port
  tcpPort: { min: 1, max: 65_535 },
  listenPort: { min: 0, max: 65_535 }, // 0: one that is free
  connections: { min: 1, max: 65_536 },
  txBuffer: { min: 4096, max: 16 * 1024 * 1024 },
  seconds: { min: 0, max: 86_400 },
  periodMs: { min: 1, max: 86_400_000 }, // a day
  socketCount: { min: 1, max: 1024 },
};

/** VIRTIO_BLK_ID_BYTES: what a serial number has room for. */
export const SERIAL_BYTES_MAX = 20;

/** What the configuration space of a file system has room for (virtio 1.3, section 5.11.4). */
export const TAG_BYTES_MAX = 36;

/** What a size has to look like. */
export const SIZE_RULE = 'a size such as 512M or 2G';

const SIZE_UNITS = 'KMGT';

/** The bytes that a text such as `512M` means, in powers of 1024; null when it is no size. */
export function parseSize(text: string): number | null {
  const [, digits = '', unit = ''] = /^([0-9]+)([KMGT]?)(?:i?B)?$/i.exec(text) ?? [];
  const power = unit === '' ? 0 : SIZE_UNITS.indexOf(unit.toUpperCase()) + 1;
  const bytes = Number(digits) * 1024 ** power;
  return digits !== '' && bytes > 0 && Number.isSafeInteger(bytes) ? bytes : null;
}

/** The most that 64 bits hold, and what a program with such a limit means by none. */
const BYTE_LIMIT_MAX = 2n ** 64n - 1n;

/**
 * The bytes that a limit allows, as {@link parseSize} reads them, up to 64 bits; null when it is no
 * size. Beyond 2^53 - 1 it is that number: no device gets there in a day.
 */
export function parseByteLimit(value: string | number): number | null {
  const [, digits = '', unit = ''] = /^([0-9]+)([KMGT]?)(?:i?B)?$/i.exec(String(value)) ?? [];
  if (digits === '') return null;
  const power = unit === '' ? 0 : SIZE_UNITS.indexOf(unit.toUpperCase()) + 1;
  // A number of YAML that is too large to be exact was rounded up already.
  const isRounded = typeof value === 'number' && value === Number(BYTE_LIMIT_MAX);
  const bytes = isRounded ? BYTE_LIMIT_MAX : BigInt(digits) * 1024n ** BigInt(power);
  if (bytes === 0n || bytes > BYTE_LIMIT_MAX) return null;
  return Math.min(Number(bytes), Number.MAX_SAFE_INTEGER);
}

/** What is wrong with a limit of bytes in each period; null when nothing is. */
export function byteLimitFault(value: string | number): string | null {
  if (parseByteLimit(value) !== null) return null;
  if (/^-|^0+[A-Za-z]?$/.test(String(value))) {
    return 'nothing would ever come: leave it out for no limit, or give a size such as 512 or 4K';
  }
  return 'a number of bytes below 2^64, or a size such as 4K, is needed';
}

/** The rule in words: `a power of two from 4 to 32768`. */
export function ruleText(rule: NumberRule): string {
  const kind = rule.powerOfTwo === true ? 'a power of two' : 'a whole number';
  return `${kind} from ${rule.min} to ${rule.max}`;
}

/** Whether a number keeps a rule. */
export function keepsRule(value: number, rule: NumberRule): boolean {
  if (!Number.isInteger(value) || value < rule.min || value > rule.max) return false;
  return rule.powerOfTwo !== true || (value & (value - 1)) === 0;
}

/** What is wrong with a serial number; null when nothing is. */
export function serialFault(serial: string): string | null {
  const count = Buffer.byteLength(serial);
  if (count > SERIAL_BYTES_MAX) {
    return `at most ${SERIAL_BYTES_MAX} bytes are allowed, and it has ${count}`;
  }
  return /^[\x20-\x7e]*$/.test(serial) ? null : 'only printable ASCII is allowed';
}

/** The permissions that an octal text such as `660` or `0660` means; null when it is none. */
export function parseMode(text: string): number | null {
  return /^0?[0-7]{3}$/.test(text) ? Number.parseInt(text, 8) : null;
}
