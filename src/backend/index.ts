/**
 * The back-end side of vhost-user: serving a device to front-ends.
 *
 * @module
 */
export { Backend, startBackend } from './backend.ts';
export type { BackendAddress } from './backend.ts';
export { COUNTER } from './device.ts';
export type {
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
} from './device.ts';
export { MESSAGES_CHANNEL } from './events.ts';
export type { BackendEvents } from './events.ts';
export { MEM_SLOTS_MAX } from './memory-table.ts';
