/**
 * Virtqueues: the device side and the driver side of a ring.
 *
 * @module
 */
export * from './layout.ts';
export { Chain } from './chain.ts';
export type { NativeBytes } from './chain.ts';
export { splitRingLayout } from './driver-layout.ts';
export type { SplitRingLayout } from './driver-layout.ts';
export { DriverRing } from './driver-ring.ts';
export type { DriverRingConfig, IndirectTables, Segment } from './driver-ring.ts';
export { SplitVirtqueue } from './split-virtqueue.ts';
export type {
  RingConfig,
  RingPlacement,
  RingState,
  Virtqueue,
  VirtqueueFault,
} from './virtqueue.ts';
