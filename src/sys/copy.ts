/**
 * Copies between native memory and native memory, by address: without views, so without garbage.
 *
 * @module
 */
import * as libc from './libc.ts';

/**
 * memcpy(3): some 50 ns, however few bytes they are. The ranges do not overlap.
 * SAFETY: the caller keeps both ranges mapped.
 */
export function copyMemory(to: number, from: number, lengthBytes: number): void {
  libc.memcpy(to, from, lengthBytes);
}
