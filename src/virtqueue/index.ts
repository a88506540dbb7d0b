/**
 * Virtqueues: the device side and the driver side of a ring.
 *
 * @module
 */
export * from './layout.ts';
export { Chain } from './chain.ts';
export { SplitVirtqueue } from './split-virtqueue.ts';
export type {
  RingConfig,
  RingPlacement,
  RingState,
  Virtqueue,
  VirtqueueFault,
} from './virtqueue.ts';
