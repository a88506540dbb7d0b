/**
 * What this thread does instead of a system call that the kernel refuses: known once it was tried,
 * told to whoever asks, since the way round is often slower and nothing else shows it.
 *
 * @module
 */

/** Takes the name of a system call, and what is done instead of it. */
export type FallbackListener = (call: string, instead: string) => void;

const taken = new Map<string, string>();
let listener: FallbackListener | null = null;

/**
 * Notes that a system call does not work here; may be called each time. A call of which another
 * way round was noted before is noted again.
 */
export function fellBack(call: string, instead: string): void {
  if (taken.get(call) === instead) return;
  taken.set(call, instead);
  listener?.(call, instead);
}

/**
 * Tells of each fallback that this thread takes, once: of those so far at once, and of others as
 * they come. One listener for each thread; null takes it away.
 */
export function onFallback(hear: FallbackListener | null): void {
  listener = hear;
  if (hear !== null) for (const [call, instead] of taken) hear(call, instead);
}

/** The line about it for a log: `eventfd2 is refused here: a pipe instead`. */
export function fallbackText(call: string, instead: string): string {
  return `${call} is refused here: ${instead} instead`;
}
