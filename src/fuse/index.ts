/**
 * The FUSE protocol as data: requests, structures in both byte orders, flags, and Linux's numbers.
 * Both sides of virtio-fs use it; it does nothing by itself.
 *
 * @module
 */
export * from './byte-order.ts';
export * from './flags.ts';
export * from './layout.ts';
export * from './linux.ts';
export * from './opcode.ts';
