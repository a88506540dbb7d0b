/**
 * The end of this process or thread, for owners of threads that block in system calls: such a
 * thread cannot be ended from outside, and an exiting process waits for it for ever.
 *
 * @module
 */

const hooks = new Set<() => void>();

/**
 * Calls `run` when this process (in a worker: this thread) exits, however it does; returns a
 * function that takes the call back. One listener serves all, so that any number may ask.
 */
export function atExit(run: () => void): () => void {
  if (hooks.size === 0) process.on('exit', runAll);
  hooks.add(run);
  return () => {
    if (hooks.delete(run) && hooks.size === 0) process.off('exit', runAll);
  };
}

function runAll(): void {
  for (const run of hooks) run();
}
