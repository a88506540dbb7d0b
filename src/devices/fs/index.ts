/**
 * virtio-fs: a shared folder, or a file system written in TypeScript.
 *
 * @module
 */
export { PENDING } from './operations.ts';
export type { FuseAbilities, FuseCall, FuseOperations, FuseSession } from './operations.ts';
export { createOperations } from './passthrough/create-operations.ts';
export { HostFolder } from './passthrough/folder.ts';
export { hostFolderSettings } from './passthrough/options.ts';
export type {
  CachePolicy,
  HostFolderOptions,
  HostFolderSettings,
  OwnerPolicy,
} from './passthrough/options.ts';
