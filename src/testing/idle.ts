/**
 * Says whether a process sleeps while it has nothing to do.
 *
 * @module
 */
import { readFileSync, readdirSync } from 'node:fs';
import { VhostUserError, errorCode } from '../util/index.ts';

const WINDOW_MS = 300;
const WINDOWS_MAX = 30;
/** In a row: one alone may be one in which the whole machine was stopped. */
const CALM_WINDOWS = 2;
const TASKS = '/proc/self/task';

/**
 * Waits until this process has not wanted the CPU for more than half of 300 ms, twice in a row.
 * What the runtime still compiles or collects ends by itself; whoever spins goes on. On Linux the
 * time that its threads waited for a CPU counts, too, so that one that spins on a busy machine is
 * found out; elsewhere only what it got.
 *
 * @param windowsMax how often 300 ms are looked at, before it counts as busy
 * @throws VhostUserError `ERR_VHU_MOCK_TIMEOUT` when it was busy for all of that.
 */
export async function expectIdle(windowsMax: number = WINDOWS_MAX): Promise<void> {
  let wantedMs = 0;
  for (let window = 0, calm = 0; window < windowsMax; window++) {
    const before = wantedCpuMs();
    await new Promise((resolve) => setTimeout(resolve, WINDOW_MS));
    wantedMs = wantedCpuMs() - before;
    calm = wantedMs < WINDOW_MS / 2 ? calm + 1 : 0;
    if (calm === CALM_WINDOWS) return;
  }
  throw new VhostUserError(
    'ERR_VHU_MOCK_TIMEOUT',
    `test: the process does not come to rest: it wanted ${String(wantedMs)} ms of CPU time ` +
      `within ${String(WINDOW_MS)} ms, again and again`,
  );
}

/** What all threads have run, and have waited for a CPU where the system tells. */
function wantedCpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000 + waitedMs();
}

function waitedMs(): number {
  try {
    return readdirSync(TASKS).reduce((total, task) => total + waitedNs(task), 0) / 1e6;
  } catch {
    return 0; // another system, a kernel that does not count, or no file may be opened any more
  }
}

function waitedNs(task: string): number {
  try {
    return Number(readFileSync(`${TASKS}/${task}/schedstat`, 'utf8').split(' ')[1]);
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ESRCH') return 0; // it has ended
    throw error;
  }
}
