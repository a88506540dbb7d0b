/**
 * The engine of every POSIX host: each call is carried out at once.
 *
 * @module
 */
import {
  blockDeviceZero,
  dataSync,
  pread,
  preadv,
  punchHole,
  pwrite,
  pwritev,
  zeroRange,
} from '../../../sys/index.ts';
import { RANGE_OP } from './engine.ts';
import type { BlkEngine } from './engine.ts';

/** See the module. `isDevice` says whether the image is a block device. */
export function preadEngine(isDevice: boolean): BlkEngine {
  return {
    name: 'pread',
    read: (_slot, fd, address, lengthBytes, offset) => pread(fd, address, lengthBytes, offset),
    write: (_slot, fd, address, lengthBytes, offset) => pwrite(fd, address, lengthBytes, offset),
    readv: (_slot, fd, iov, iovCount, offset) => preadv(fd, iov, iovCount, offset),
    writev: (_slot, fd, iov, iovCount, offset) => pwritev(fd, iov, iovCount, offset),
    sync: (_slot, fd) => dataSync(fd),
    range: (_slot, fd, op, offset, lengthBytes) =>
      isDevice ? deviceRange(fd, op, offset, lengthBytes) : fileRange(fd, op, offset, lengthBytes),
  };
}

/** Discards or zeroes a range of a block device, at once. */
export function deviceRange(fd: number, op: number, offset: number, lengthBytes: number): number {
  // A discarded block need not read as zeroes: zeroing never discards here.
  return blockDeviceZero(fd, offset, lengthBytes, op !== RANGE_OP.discard);
}

function fileRange(fd: number, op: number, offset: number, lengthBytes: number): number {
  return op === RANGE_OP.zeroKeep
    ? zeroRange(fd, offset, lengthBytes)
    : punchHole(fd, offset, lengthBytes);
}
