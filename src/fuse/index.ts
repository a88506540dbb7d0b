/**
 * The FUSE protocol as data: requests, structures, flags, and Linux's numbers. Both sides of
 * virtio-fs use it; it does nothing by itself.
 *
 * @module
 */
export * from './flags.ts';
export * from './layout.ts';
export * from './linux.ts';
export * from './opcode.ts';
