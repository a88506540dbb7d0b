/**
 * Small things that every layer uses; this layer imports nothing.
 *
 * @module
 */
export { assert } from './assert.ts';
export { VhostUserError, errorCode, errorMessage } from './errors.ts';
export type { VhostUserErrorOptions } from './errors.ts';
