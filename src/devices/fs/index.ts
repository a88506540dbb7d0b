/**
 * virtio-fs: a shared folder, or a file system written in TypeScript.
 *
 * @module
 */
export { PENDING } from './operations.ts';
export type { FuseAbilities, FuseCall, FuseOperations, FuseSession } from './operations.ts';
