/**
 * The front-end's side: a session with any vhost-user back-end, and drivers for its devices.
 *
 * @module
 */
export { runBlkBench } from './blk/bench-core.ts';
export type { BlkBenchOptions, BlkBenchResult } from './blk/bench-core.ts';
export { BlkClient } from './blk/client.ts';
export type { BlkClientOptions } from './blk/client.ts';
export { parseBlkConfig } from './blk/config.ts';
export type { BlkInfo } from './blk/config.ts';
export * from './blk/layout.ts';
export { BlkPoller, STATUS_NOT_WRITTEN, sectorOf, slotMemoryBytes } from './blk/poller.ts';
export type { BlkPollerPlan, BlkSlots } from './blk/poller.ts';
export { FsBench } from './fs/bench-core.ts';
export type {
  FsBenchOpName,
  FsBenchOptions,
  FsBenchResult,
  FsBenchSetup,
} from './fs/bench-core.ts';
export * from './fs/config.ts';
export { FsError, errnoText, linuxErrorName } from './fs/errors.ts';
export type { FsErrorSubject } from './fs/errors.ts';
export { FUSE_CLIENT_FLAGS } from './fs/init.ts';
export type { FuseAgreement, FuseInitRequest } from './fs/init.ts';
export * from './fs/poller.ts';
export { LatencyHistogram } from './latency-histogram.ts';
export { FrontendQueue } from './queue.ts';
export type { QueueSpec, RingAddresses } from './queue.ts';
export { FrontendSession } from './session.ts';
export type { FrontendSessionOptions } from './session.ts';
export { SharedMemory } from './shared-memory.ts';
export type { SharedRange } from './shared-memory.ts';
