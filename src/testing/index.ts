/**
 * The test kit: both sides of a virtqueue, mock drivers (honest and hostile), a mock front-end, and
 * leak counters. Public, and what our own tests use.
 *
 * @module
 */
export { RingPair } from './ring-pair.ts';
export type { RingPairOptions } from './ring-pair.ts';
