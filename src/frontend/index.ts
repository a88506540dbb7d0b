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
export type { ConsoleBenchAddress } from './console/bench-hosts.ts';
export { ConsoleBench } from './console/bench.ts';
export type {
  ConsoleBenchOpName,
  ConsoleBenchOptions,
  ConsoleBenchResult,
  ConsoleBenchSetup,
} from './console/bench.ts';
export { ConsoleClient } from './console/client.ts';
export type { ConsoleClientOptions } from './console/client.ts';
export * from './console/layout.ts';
export { ConsoleClientPort } from './console/port.ts';
export type { ConsolePortOwner } from './console/port.ts';
export { FsBench } from './fs/bench-core.ts';
export type {
  FsBenchOpName,
  FsBenchOptions,
  FsBenchResult,
  FsBenchSetup,
} from './fs/bench-options.ts';
export { FuseCalls } from './fs/calls.ts';
export type { FuseChanges, FuseHandle, FuseLock, FuseLockRequest } from './fs/calls.ts';
export { ACCESS } from './fs/access.ts';
export { FsClient } from './fs/client.ts';
export type { FsClientOptions, ReaddirOptions, WriteFileOptions } from './fs/client-options.ts';
export * from './fs/config.ts';
export { FuseConnection } from './fs/connection.ts';
export type { FuseConnectionOptions, FuseRequestOptions } from './fs/connection.ts';
export { FsDir } from './fs/directory.ts';
export { FsError, errnoText, linuxErrorName } from './fs/errors.ts';
export type { FsErrorSubject } from './fs/errors.ts';
export { FsFileHandle } from './fs/file-handle.ts';
export type {
  FsData,
  LockOptions,
  LockRange,
  ReadFileOptions,
  WriteDataOptions,
} from './fs/file-handle.ts';
export { FUSE_CLIENT_FLAGS } from './fs/init.ts';
export type { FuseAgreement, FuseInitRequest } from './fs/init.ts';
export type { FuseIdentity, RawChain } from './fs/lane.ts';
export type { LinkOptions } from './fs/paths.ts';
export type { SetXattrOptions } from './fs/client-xattrs.ts';
export * from './fs/poller.ts';
export { FsDirent, FsStats, parseDirents } from './fs/structures.ts';
export type { FsName, FsStatFs, FsTime, FuseDirent, FuseEntry } from './fs/structures.ts';
export type { FsPath } from './fs/walk.ts';
export { LatencyHistogram } from './latency-histogram.ts';
export { FrontendQueue } from './queue.ts';
export type { QueueSpec, RingAddresses } from './queue.ts';
export { RngBench } from './rng/bench.ts';
export type { RngBenchOptions, RngBenchResult, RngBenchSetup } from './rng/bench.ts';
export { RngClient } from './rng/client.ts';
export type { RngClientOptions } from './rng/client.ts';
export { FrontendSession } from './session.ts';
export type { FrontendSessionOptions } from './session.ts';
export { SharedMemory } from './shared-memory.ts';
export type { SharedRange } from './shared-memory.ts';
export { VsockBench } from './vsock/bench.ts';
export type {
  VsockBenchOpName,
  VsockBenchOptions,
  VsockBenchResult,
  VsockBenchSetup,
} from './vsock/bench.ts';
export { VsockClient } from './vsock/client.ts';
export type { VsockClientOptions, VsockDialOptions, VsockListener } from './vsock/client.ts';
export type { VsockDriverOptions } from './vsock/driver.ts';
export { VsockClientError } from './vsock/errors.ts';
export type { VsockClientErrorCode } from './vsock/errors.ts';
export * from './vsock/layout.ts';
export type { VsockPacket, VsockRawPacket } from './vsock/packet.ts';
export { VsockPoller, vsockMemoryBytes } from './vsock/poller.ts';
export type { VsockPollerPlan, VsockQueuePlan, VsockSlots } from './vsock/poller.ts';
export { VsockSocket } from './vsock/socket.ts';
