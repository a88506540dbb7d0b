/**
 * The one error class of the package. Match on `code`; the message is for people and may change.
 *
 * @module
 */

/** Options of {@link VhostUserError}: what caused it. */
export interface VhostUserErrorOptions {
  readonly cause?: unknown;
}

/**
 * An error that a peer, an operator or the host caused; our own mistakes are assertions.
 * `code` is stable and begins with `ERR_VHU_`; the message names the value, the limit and what to
 * do.
 */
export class VhostUserError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options: VhostUserErrorOptions = {}) {
    super(message, options);
    this.name = 'VhostUserError';
    this.code = code;
  }
}

/** The `code` of an error of ours or of Node's, or undefined when it has none. */
export function errorCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** The text of anything that was thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
