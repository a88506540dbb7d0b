/**
 * File systems written in TypeScript, and how they become those of a guest.
 *
 * @module
 */
export { treeOperations } from './adapter.ts';
export type { TreeOptions } from './core.ts';
export { FileSystemError, errnoOf, fsError } from './errors.ts';
export type { FsErrorCode } from './errors.ts';
export type * from './file-system.ts';
export { hooksOf } from './hooks.ts';
export { LockTable } from './lock-table.ts';
export type { Lock } from './lock-table.ts';
export { nameBytes, nameText } from './names.ts';
export { timestampNow } from './wire.ts';
