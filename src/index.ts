/**
 * vhost-user in TypeScript: serve virtual devices to virtual machines, and drive any back-end
 * without one.
 *
 * - A back-end: {@link startBackend} with a device, such as the disk of {@link openBlk}, the shared
 *   folder of {@link openFs}, the console of {@link openConsole}, the random bytes of
 *   {@link openRng}, or one that you write ({@link Device}).
 * - A file system in TypeScript: {@link FileSystem}.
 * - A front-end: {@link FrontendSession} speaks to any back-end, {@link BlkClient} to any disk,
 *   {@link RngClient} to any entropy device, {@link FsClient} mounts any shared folder,
 *   {@link VsockClient} is a guest's end of any vsock, {@link ConsoleClient} has the ports of any
 *   console.
 * - For programs of the host: {@link VsockHost} connects to the ports of a guest, and listens.
 * - The parts: {@link protocol}, {@link virtqueue}, {@link GuestMemory}. The test kit is
 *   `vhost-user/testing`.
 *
 * ```ts
 * import { openBlk, startBackend } from 'vhost-user';
 *
 * const disk = openBlk({ image: 'disk.img' });
 * const backend = await startBackend(disk, { kind: 'listen', path: '/tmp/disk.sock' });
 * process.once('SIGTERM', () => void backend.close());
 * ```
 *
 * @module
 */
export { Backend, COUNTER, MESSAGES_CHANNEL, startBackend } from './backend/index.ts';
export type {
  BackendAddress,
  BackendEvents,
  DataPlane,
  DataPlaneContext,
  DataPlaneFactory,
  Device,
  DeviceLink,
  LocalDataPlane,
  LogLevel,
  Reactor,
  ReactorTimer,
  ReactorWatch,
  WorkerDataPlane,
} from './backend/index.ts';
export {
  FsDevice,
  MemoryFileSystem,
  fsError,
  nameBytes,
  nameText,
  openArchive,
  openFs,
  treeOperations,
} from './devices/fs/index.ts';
export type {
  ArchiveOptions,
  FileSystem,
  FsOptions,
  FsRequest,
  FsSource,
  FuseAbilities,
  FuseCall,
  FuseOperations,
  FuseSession,
  MemoryOptions,
  NodeKind,
  Stat,
  StatChanges,
} from './devices/fs/index.ts';
export { ConsoleDevice, openConsole } from './devices/console/index.ts';
export type {
  ConsoleEnd,
  ConsoleOptions,
  EndEvents,
  EndOptions,
  LogFileOptions,
  NamedPortOptions,
  PortOptions,
  ResizeOrder,
  Unattended,
} from './devices/console/index.ts';
export { BlkDevice, openBlk } from './devices/blk/index.ts';
export type { BlkEngineName, BlkOptions } from './devices/blk/index.ts';
export { VsockDevice, VsockNetwork, openVsock } from './devices/vsock/index.ts';
export type {
  NetworkMember,
  VsockForward,
  VsockListen,
  VsockOptions,
  VsockSocketType,
  VsockSource,
  VsockTarget,
} from './devices/vsock/index.ts';
export { RngDevice, openRng } from './devices/rng/index.ts';
export type { RngOptions } from './devices/rng/index.ts';
export {
  BlkClient,
  ConsoleClient,
  ConsoleClientPort,
  FrontendQueue,
  FrontendSession,
  FsClient,
  FsError,
  FuseConnection,
  RngClient,
  SharedMemory,
  VsockClient,
  VsockClientError,
  VsockSocket,
} from './frontend/index.ts';
export type {
  BlkClientOptions,
  BlkInfo,
  ConsoleClientOptions,
  FrontendSessionOptions,
  FsClientOptions,
  FuseConnectionOptions,
  QueueSpec,
  RngClientOptions,
  VsockClientErrorCode,
  VsockClientOptions,
  VsockDialOptions,
  VsockListener,
} from './frontend/index.ts';
export { GuestMemory } from './memory/index.ts';
export type { MemoryRegion } from './memory/index.ts';
export { READABLE, WRITABLE } from './sys/index.ts';
export type { Uring } from './sys/index.ts';
export { VhostUserError } from './util/index.ts';
export type { VhostUserErrorOptions } from './util/index.ts';
export { Chain } from './virtqueue/index.ts';
export type { Virtqueue, VirtqueueFault } from './virtqueue/index.ts';
export { VsockError, VsockHost } from './vsock/index.ts';
export type {
  GuestPorts,
  GuestSocket,
  VsockConnectOptions,
  VsockErrorCode,
  VsockErrorPlace,
  VsockListenOptions,
} from './vsock/index.ts';

export * as fuse from './fuse/index.ts';
export * as protocol from './protocol/index.ts';
export * as virtqueue from './virtqueue/index.ts';
