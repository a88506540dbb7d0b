/**
 * Memory that a program does not need any more, given back to the host now.
 *
 * @module
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as libc from './libc.ts';

/** V8's own function, once it was asked for; null where there is none (Bun, Deno). */
let collect: (() => void) | null | undefined;

/**
 * Collects the garbage of this thread, and gives what was in it back to the host. V8 does so by
 * itself when more is allocated, and the buffers that a thread has dropped stay resident until
 * then: in a thread that has become idle, for ever. Takes 10 to 15 ms of this thread, and the C
 * library of all threads 0.3 ms; it is for the moment after tens of megabytes were dropped.
 */
export function releaseMemory(): void {
  collect ??= findCollector();
  // Another thread frees the buffers that were found; the second time waits for it to have ended.
  collect?.();
  collect?.();
  // glibc keeps freed blocks for the next allocation, all that lies below one that is in use. It
  // does so for large ones, too, once one of that size was freed: M_MMAP_THRESHOLD of mallopt(3).
  libc.malloc_trim?.(0);
}

function findCollector(): (() => void) | null {
  try {
    setFlagsFromString('--expose-gc'); // which only contexts that are made from now on obey
    const found: unknown = runInNewContext('typeof gc === "function" ? gc : null');
    return found as (() => void) | null;
  } catch {
    return null; // another engine
  }
}
