/**
 * The last byte of each message between two guests: whether it ends a record. The Unix sockets that
 * join them keep messages apart, but lose MSG_EOR on Linux.
 *
 * @module
 */
import { NativeBlock } from '../../sys/index.ts';

/** Bytes that a mark adds to a message. */
export const MARK_BYTES = 1;

let marks: NativeBlock | null = null;

/** Where the mark is, for a system call; lives as long as the process. */
export function markAddress(endsRecord: boolean): number {
  if (marks === null) {
    marks = new NativeBlock(2);
    marks.bytes[1] = 1;
  }
  return marks.address + (endsRecord ? 1 : 0);
}
