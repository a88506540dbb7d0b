/**
 * The byte order of a big-endian guest: its requests are turned around before anything looks at
 * them, and its answers after all is written, so that nothing else knows of it. A little-endian
 * guest comes by no line of this.
 *
 * @module
 */
import {
  FUSE_BATCH_FORGET_IN,
  FUSE_FORGET_ONE_WIDTHS,
  FUSE_GETXATTR_IN,
  FUSE_IN_HEADER,
  FUSE_IN_HEADER_WIDTHS,
  FUSE_OPCODE,
  fuseOrderRow,
  swapFuseDirents,
  swapFuseFields,
  swapU32,
} from '../../../fuse/index.ts';
import type { ServerCall } from './call.ts';

/** INIT's opcode as it looks in the other byte order. */
const TURNED_INIT = swapU32(FUSE_OPCODE.INIT);

/**
 * Whether a header is that of an INIT in the other byte order than the one it was read in, which
 * begins a session in that order: virtio 1.3, section 5.11.6 has the device look at the opcode.
 */
export function isTurnedInit(opcode: number, lengthBytes: number, readableBytes: number): boolean {
  const turnedBytes = swapU32(lengthBytes);
  const isWhole = turnedBytes >= FUSE_IN_HEADER.SIZE && turnedBytes <= readableBytes;
  return opcode === TURNED_INIT && isWhole;
}

/** Turns the header of a request around. */
export function swapHeader(header: DataView): void {
  swapFuseFields(header, 0, FUSE_IN_HEADER.SIZE, FUSE_IN_HEADER_WIDTHS);
}

/** Turns the numbers of a request around; `bytes` of its arguments are there. */
export function swapArguments(input: DataView, opcode: number, bytes: number): void {
  let at = swapFuseFields(input, 0, bytes, fuseOrderRow(opcode)?.arguments ?? []);
  if (opcode !== FUSE_OPCODE.BATCH_FORGET || at < FUSE_BATCH_FORGET_IN.SIZE) return;
  while (at < bytes) {
    const next = swapFuseFields(input, at, bytes, FUSE_FORGET_ONE_WIDTHS);
    if (next === at) return;
    at = next;
  }
}

/** Whether a request is for an attribute's bytes, or a list of names, and not for their number. */
export function wantsValue(input: DataView, opcode: number): boolean {
  if (opcode !== FUSE_OPCODE.GETXATTR && opcode !== FUSE_OPCODE.LISTXATTR) return false;
  return input.getUint32(FUSE_GETXATTR_IN.size, true) > 0;
}

/** Turns the numbers of an answer around: `bytes` of it; nothing for an error, which is below 0. */
export function swapAnswer(out: DataView, call: ServerCall, bytes: number): void {
  const { opcode } = call;
  if (opcode === FUSE_OPCODE.READDIR || opcode === FUSE_OPCODE.READDIRPLUS) {
    swapFuseDirents(out, bytes, opcode === FUSE_OPCODE.READDIRPLUS);
  } else if (!call.wantsValue) {
    swapFuseFields(out, 0, bytes, fuseOrderRow(opcode)?.answer ?? []);
  }
}
