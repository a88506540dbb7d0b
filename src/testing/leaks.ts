/**
 * Counts what a process holds, so that a test can say that nothing was left behind.
 *
 * @module
 */
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { VhostUserError } from '../util/index.ts';
import { openFdCount, openMappingCount } from '../sys/index.ts';

const SETTLE_MS = 30_000; // for a busy machine: only a test that fails waits for so long
const LOOK_MS = 10;

/** What a process holds. */
export interface Holdings {
  readonly fds: number;
  /** Mappings that our own code made and did not unmap; -1 for another process. */
  readonly mappings: number;
  /** Shared mappings that the kernel knows of (Linux; -1 elsewhere). */
  readonly sharedMappings: number;
}

/** What this process, or another one of this user (Linux only), holds now. */
export function holdings(pid: number = process.pid): Holdings {
  const own = pid === process.pid;
  return {
    fds: own ? openFdCount() : readdirSync(`/proc/${String(pid)}/fd`).length,
    mappings: own ? openMappingCount() : -1,
    sharedMappings: sharedMappingCount(pid),
  };
}

/**
 * Waits until a process holds no more than `before`: closing may take a few turns of its event
 * loop.
 * @throws VhostUserError `ERR_VHU_LEAK` with both counts and, on Linux, the list of fds.
 */
export async function expectNoLeak(before: Holdings, pid: number = process.pid): Promise<void> {
  const end = performance.now() + SETTLE_MS;
  for (;;) {
    const now = holdings(pid);
    const leaked =
      now.fds > before.fds ||
      now.mappings > before.mappings ||
      now.sharedMappings > before.sharedMappings;
    if (!leaked) return;
    if (performance.now() > end) {
      throw new VhostUserError(
        'ERR_VHU_LEAK',
        `process ${String(pid)} held ${describe(before)} before and ${describe(now)} after: ` +
          openFiles(pid).join(', '),
      );
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

function describe(held: Holdings): string {
  const { fds, mappings, sharedMappings } = held;
  return `${String(fds)} fds, ${String(mappings)} mappings, ${String(sharedMappings)} shared ones`;
}

function sharedMappingCount(pid: number): number {
  try {
    const lines = readFileSync(`/proc/${String(pid)}/maps`, 'latin1').split('\n');
    return lines.filter((line) => /^\S+ ...s /.test(line)).length;
  } catch {
    return -1;
  }
}

/** `7 -> socket:[4711]`, where /proc tells. */
function openFiles(pid: number): string[] {
  const folder = `/proc/${String(pid)}/fd`;
  const list: string[] = [];
  try {
    for (const name of readdirSync(folder)) {
      try {
        list.push(`${name} -> ${readlinkSync(`${folder}/${name}`)}`);
      } catch {
        // closed meanwhile
      }
    }
  } catch {
    // no /proc here
  }
  return list;
}
