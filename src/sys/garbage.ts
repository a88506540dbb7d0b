/**
 * Memory that a program does not need any more, given back to the host now.
 *
 * @module
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** V8's own function, once it was asked for; null where there is none (Bun, Deno). */
let collect: (() => void) | null | undefined;

/**
 * Collects the garbage of this thread. V8 does so by itself when more is allocated, and the buffers
 * that a thread has dropped stay resident until then: in a thread that has become idle, for ever.
 * Takes milliseconds; it is for the moment after tens of megabytes were dropped.
 */
export function collectGarbage(): void {
  collect ??= findCollector();
  collect?.();
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
