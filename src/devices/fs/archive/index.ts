/**
 * Archives as read-only file systems.
 *
 * @module
 */
export { ArchiveFileSystem } from './archive-file-system.ts';
export type { ArchiveNode } from './node.ts';
export type { ArchivePlan } from './archive.worker.ts';
export { createOperations as createArchiveOperations } from './archive.worker.ts';
export { archiveFormat, openArchive } from './open-archive.ts';
export type { ArchiveOptions } from './open-archive.ts';
