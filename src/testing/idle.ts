/**
 * Says whether a process sleeps while it has nothing to do.
 *
 * @module
 */
import { VhostUserError } from '../util/index.ts';

const WINDOW_MS = 300;
const WINDOWS_MAX = 30;

/**
 * Waits until this process has used CPU time for less than half of 300 ms. What the runtime still
 * compiles or collects ends by itself; whoever spins goes on, and is found out. What a busy machine
 * does for others does not count.
 * @throws VhostUserError `ERR_VHU_MOCK_TIMEOUT` when it was busy for 30 times as long.
 */
export async function expectIdle(): Promise<void> {
  let usedMs = 0;
  for (let window = 0; window < WINDOWS_MAX; window++) {
    const before = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, WINDOW_MS));
    const { user, system } = process.cpuUsage(before);
    usedMs = (user + system) / 1000;
    if (usedMs < WINDOW_MS / 2) return;
  }
  throw new VhostUserError(
    'ERR_VHU_MOCK_TIMEOUT',
    `test: the process does not come to rest: ${String(usedMs)} ms of CPU time within ` +
      `${String(WINDOW_MS)} ms, again and again`,
  );
}
