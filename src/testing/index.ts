/**
 * The test kit: both sides of a virtqueue, mock drivers (honest and hostile), a mock front-end, and
 * leak counters. Public, and what our own tests use.
 *
 * @module
 */
export { startNullDevice } from './null-device.ts';
export type { NullDevice } from './null-device.ts';
export { RingPair } from './ring-pair.ts';
export type { RingPairOptions } from './ring-pair.ts';
