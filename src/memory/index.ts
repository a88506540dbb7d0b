/**
 * Guest memory: regions and address translation. Knows mappings as numbers, never a socket or a
 * ring.
 *
 * @module
 */
export { GuestMemory, VIEW_BYTES_MAX, joinU64 } from './guest-memory.ts';
export type { MemoryRegion } from './guest-memory.ts';
