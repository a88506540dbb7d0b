/**
 * Which QEMU there is on a host, and what it can.
 *
 * @module
 */
export { findQemus, guestArchOf, qemuFolders } from './find.ts';
export { isAtLeast } from './output.ts';
export type { QemuVersion } from './output.ts';
export { PIPES_FAULT, pipesFitness } from './pipes.ts';
export type { PipesFitness } from './pipes.ts';
export { probeQemu, probeQemus, vhostUserDevices } from './probe.ts';
export type { ProbeOptions, QemuProbe } from './probe.ts';
export { ask } from './run.ts';
export type { Answer } from './run.ts';
