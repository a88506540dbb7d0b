/**
 * What can be chosen for an entropy device, on the command line and in a configuration file.
 *
 * @module
 */

/** The choices, by commander's names. */
export interface RngChoices {
  readonly file?: string | undefined;
  readonly maxBytes?: number | undefined;
  readonly period?: number | undefined;
}

/** Why the choices of `socketCount` sockets cannot be; null when nothing is wrong. */
export function shareFault(maxBytes: number | undefined, socketCount: number): string | null {
  if (maxBytes === undefined || maxBytes >= socketCount) return null;
  return (
    `${maxBytes} bytes cannot be shared by ${socketCount} sockets: each of them needs one byte ` +
    'at least'
  );
}
