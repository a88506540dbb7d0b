/**
 * File systems in memory.
 *
 * @module
 */
export type { MemoryPlan } from './memory.worker.ts';
export { MemoryFileSystem } from './memory-file-system.ts';
export type { MemoryOptions } from './memory-file-system.ts';
export type { MemoryNode } from './node.ts';
export { copyTree, preload } from './preload.ts';
