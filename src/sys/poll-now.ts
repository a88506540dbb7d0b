/**
 * poll(2) of one fd, without waiting.
 *
 * @module
 */
import * as libc from './libc.ts';
import { NativeBlock } from './native.ts';

/** `struct pollfd`. | fd 4 | events 2 | revents 2 | */
const entry = new NativeBlock(8);

/** What poll(2) says about an fd at this moment; errors and hang-ups are told unasked. */
export function pollNow(fd: number, events: number): number {
  const { view } = entry;
  view.setInt32(0, fd, true);
  view.setInt32(4, events, true); // and no returned events yet
  if (libc.poll(entry.address, 1, 0) <= 0) return 0;
  return view.getInt16(6, true);
}
