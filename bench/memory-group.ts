/**
 * A control group of Linux that bounds the memory of one server, its kernel memory with it, and
 * tells the most that it took. There is none where this user may not make one.
 *
 * @module
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from './process.ts';

const REMOVE_TRIES_MAX = 50; // the kernel lets go of the last process a moment after its end
const REMOVE_MS = 20;

/** The files of a version of control groups that we use (cgroup-v1/memory.rst, cgroup-v2.rst). */
interface Layout {
  readonly limit: string;
  readonly peak: string;
}
const V1: Layout = { limit: 'memory.limit_in_bytes', peak: 'memory.max_usage_in_bytes' };
const V2: Layout = { limit: 'memory.max', peak: 'memory.peak' };

/** The folder of the memory controller that a process is in, and which version it is of. */
export interface GroupPlace {
  readonly folder: string;
  readonly version: 1 | 2;
}

/**
 * Where new groups of this process would be.
 * @param mounts text of `/proc/self/mounts`
 * @param groups text of `/proc/self/cgroup`
 */
export function groupPlace(mounts: string, groups: string): GroupPlace | null {
  const mounted = mounts.split('\n').map((line) => line.split(' '));
  for (const line of groups.split('\n')) {
    const [id = '', controllers = '', ...rest] = line.split(':');
    const path = rest.join(':').replace(/\/$/, '');
    if (controllers.split(',').includes('memory')) {
      const isOurs = (row: readonly string[]): boolean =>
        row[2] === 'cgroup' && (row[3] ?? '').split(',').includes('memory');
      const mount = mounted.find(isOurs)?.[1];
      if (mount !== undefined) return { folder: mount + path, version: 1 };
    }
    if (id === '0' && !/^\d+:([^:]*,)?memory[,:]/m.test(groups)) {
      const mount = mounted.find(([, , type]) => type === 'cgroup2')?.[1];
      if (mount !== undefined) return { folder: mount + path, version: 2 };
    }
  }
  return null;
}

/** See the module. */
export class MemoryGroup {
  readonly #folder: string;
  readonly #layout: Layout;
  /** A signal ends the benchmark by `process.exit`, when its processes are killed. */
  readonly #atExit = (): void => this.#removeNow();

  private constructor(folder: string, layout: Layout) {
    this.#folder = folder;
    this.#layout = layout;
    process.once('exit', this.#atExit);
  }

  /** A group with a limit, which the caller removes; null where there cannot be one. */
  static make(limitBytes: number): MemoryGroup | null {
    const place = ownPlace();
    if (place === null) return null;
    const layout = place.version === 1 ? V1 : V2;
    const folder = `${place.folder}/vhost-user-bench-${process.pid}`;
    try {
      mkdirSync(folder);
    } catch {
      return null; // not ours to make: EACCES, EROFS
    }
    try {
      writeFileSync(`${folder}/${layout.limit}`, String(limitBytes));
      return new MemoryGroup(folder, layout);
    } catch {
      rmdirSync(folder); // version 2 without the controller: there is no such file
      return null;
    }
  }

  /** The same command, in the group from its first instruction on; the process number is kept. */
  inside(command: Command): Command {
    const enter = `echo $$ >'${this.#folder}/cgroup.procs' && exec "$@"`;
    return { ...command, file: 'sh', args: ['-c', enter, 'sh', command.file, ...command.args] };
  }

  /** The most bytes that all of it took; null where the kernel does not say (before Linux 5.19). */
  get peakBytes(): number | null {
    const path = `${this.#folder}/${this.#layout.peak}`;
    return existsSync(path) ? Number(readFileSync(path, 'utf8')) : null;
  }

  /** Removes the group, in which no process is left. */
  async remove(): Promise<void> {
    process.off('exit', this.#atExit);
    for (let tries = 1; ; tries++) {
      try {
        rmdirSync(this.#folder);
        return;
      } catch (error) {
        if (tries === REMOVE_TRIES_MAX) throw error;
        await sleep(REMOVE_MS);
      }
    }
  }

  /** The same, while nothing else of this program runs any more. */
  #removeNow(): void {
    const never = new Int32Array(new SharedArrayBuffer(4));
    for (let tries = 1; tries <= REMOVE_TRIES_MAX; tries++) {
      try {
        rmdirSync(this.#folder);
        return;
      } catch {
        Atomics.wait(never, 0, 0, REMOVE_MS);
      }
    }
  }
}

function ownPlace(): GroupPlace | null {
  try {
    const text = (name: string): string => readFileSync(`/proc/self/${name}`, 'utf8');
    return groupPlace(text('mounts'), text('cgroup'));
  } catch {
    return null; // not Linux, or a kernel without groups
  }
}
