/**
 * The options of the device, checked.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';

/** What `openRng` takes; all of it may be left out. */
export interface RngOptions {
  /**
   * Where the bytes come from: a file, a device such as `/dev/hwrng`, or a FIFO. Default: this
   * host's cryptographic generator.
   */
  readonly file?: string;
  /** The guest gets at most so many bytes in each period. Default: there is no limit. */
  readonly maxBytes?: number;
  /** That period, in milliseconds: 1 to 86 400 000, a day. Default: 65 536. */
  readonly periodMs?: number;
}

/** All options with their defaults filled in; null stands for none. */
export interface RngSettings {
  readonly file: string | null;
  readonly maxBytes: number | null;
  readonly periodMs: number;
}

/** That of vhost-device-rng, whose command lines have to mean the same here. */
export const PERIOD_MS = 65_536;

/** The longest period: a day. */
export const PERIOD_MS_MAX = 86_400_000;

/**
 * Fills in defaults.
 * @throws VhostUserError `ERR_VHU_OPTION` naming the option, its value and its limits.
 */
export function rngSettings(options: RngOptions): RngSettings {
  const settings: RngSettings = {
    file: options.file ?? null,
    maxBytes: options.maxBytes ?? null,
    periodMs: options.periodMs ?? PERIOD_MS,
  };
  if (settings.file === '') throw optionError('file is empty: the path of a file is wanted');
  if (settings.maxBytes !== null) {
    inRange('max-bytes', settings.maxBytes, 1, Number.MAX_SAFE_INTEGER);
  }
  inRange('period', settings.periodMs, 1, PERIOD_MS_MAX);
  return settings;
}

function inRange(name: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw optionError(
    `${name} is ${String(value)}: a whole number from ${String(min)} to ${String(max)} is wanted`,
  );
}

function optionError(text: string): VhostUserError {
  return new VhostUserError('ERR_VHU_OPTION', text);
}
