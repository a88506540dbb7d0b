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

/** The bounds of the settings of a block device. */
export const LIMITS: Readonly<
  Record<'queueCount' | 'queueSize' | 'pollUs' | 'threads' | 'blockBytes' | 'fd', NumberRule>
> = {
  queueCount: { min: 1, max: 256 }, // a kick message has eight bits for the index
  queueSize: { min: 2, max: 32768, powerOfTwo: true }, // virtio 1.3, section 2.7
  pollUs: { min: 0, max: 1_000_000 },
  threads: { min: 1, max: 64 },
  blockBytes: { min: 512, max: 4096, powerOfTwo: true },
  fd: { min: 0, max: 1_048_576 },
};

/** VIRTIO_BLK_ID_BYTES: what a serial number has room for. */
export const SERIAL_BYTES_MAX = 20;

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
