/**
 * What Linux's /proc says of a process: its CPU time, its memory, and whether it listens.
 *
 * @module
 */
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { VhostUserError } from '../src/util/index.ts';

const NS_PER_TICK = 10_000_000; // USER_HZ is 100 on every architecture that Node runs on
const TREE_PIDS_MAX = 1000; // of one of our children; more are not looked at
const LISTENING_FLAG = 0x10000; // __SO_ACCEPTCON in /proc/net/unix

/** CPU time of a process up to some moment. */
export interface CpuSample {
  /** Nanoseconds of each live thread, by its id. */
  readonly threads: ReadonlyMap<number, number>;
  /** Of all threads, also of those that have ended, in steps of a clock tick. */
  readonly coarseNs: number;
}

/**
 * Reads the CPU time of all threads of a process.
 * @throws VhostUserError `ERR_VHU_BENCH_PROCESS` when it is gone.
 */
export function sampleCpu(pid: number): CpuSample {
  try {
    return sampleThreads(pid);
  } catch (error) {
    const text = `process ${pid} cannot be measured: it is gone`;
    throw new VhostUserError('ERR_VHU_BENCH_PROCESS', text, { cause: error });
  }
}

/**
 * The same for a process and all of its descendants: a server may wait in the process that was
 * started, and serve in another one.
 */
export function sampleTree(pid: number): CpuSample {
  const threads = new Map<number, number>();
  let coarseNs = 0;
  for (const each of treePids(pid)) {
    const sample = each === pid ? sampleCpu(each) : trySampleCpu(each);
    if (sample === null) continue;
    for (const [tid, ns] of sample.threads) threads.set(tid, ns);
    coarseNs += sample.coarseNs;
  }
  return { threads, coarseNs };
}

/** A sample of a process that may have ended; null then. */
export function trySampleCpu(pid: number): CpuSample | null {
  try {
    return sampleThreads(pid);
  } catch {
    return null;
  }
}

/** A process and its descendants, as they are now; a process that is gone has none. */
export function treePids(pid: number): number[] {
  const found = [pid];
  for (let at = 0; at < found.length && at < TREE_PIDS_MAX; at++) {
    found.push(...childrenOf(found[at] as number));
  }
  return found;
}

function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((tid) => {
      const text = readFileSync(`/proc/${pid}/task/${tid}/children`, 'utf8');
      return text
        .split(' ')
        .filter((word) => word !== '')
        .map(Number);
    });
  } catch {
    return []; // it has ended
  }
}

function sampleThreads(pid: number): CpuSample {
  const threads = new Map<number, number>();
  for (const tid of readdirSync(`/proc/${pid}/task`)) {
    try {
      const text = readFileSync(`/proc/${pid}/task/${tid}/schedstat`, 'utf8');
      threads.set(Number(tid), parseSchedstat(text));
    } catch {
      // The thread has ended in between: `coarseNs` has its time.
    }
  }
  return { threads, coarseNs: parseStat(readFileSync(`/proc/${pid}/stat`, 'utf8')) };
}

/** Nanoseconds of CPU that a process used between two samples. */
export function cpuBetweenNs(before: CpuSample, after: CpuSample): number {
  let ns = 0;
  for (const [tid, until] of after.threads) ns += until - (before.threads.get(tid) ?? 0);
  const allLive = [...before.threads.keys()].every((tid) => after.threads.has(tid));
  // The time of a thread that has ended can be seen in the coarse sum alone.
  return allLive ? ns : Math.max(ns, after.coarseNs - before.coarseNs);
}

/** Nanoseconds on a CPU, out of a `schedstat` file. */
export function parseSchedstat(text: string): number {
  return Number(text.split(' ', 1)[0]);
}

/** Nanoseconds in user and kernel mode, out of a `stat` file: fields 14 and 15 (proc(5)). */
export function parseStat(text: string): number {
  return ticksNs(text, 14);
}

/** The same of all children that have ended: fields 16 and 17. */
export function parseChildren(text: string): number {
  return ticksNs(text, 16);
}

function ticksNs(text: string, field: number): number {
  // The second field is the name in brackets, which may hold blanks and brackets.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[field - 3]) + Number(fields[field - 2])) * NS_PER_TICK;
}

/** Bytes of a process's own resident memory (anonymous and file pages), without the guest's. */
export function ownResidentBytes(pid: number): number {
  return parseStatus(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

/** That of the largest process among one and its descendants: the one that serves. */
export function treeResidentBytes(pid: number): number {
  return treePids(pid).reduce((most, each) => {
    try {
      return Math.max(most, ownResidentBytes(each));
    } catch {
      return most; // it has ended
    }
  }, 0);
}

/** See {@link ownResidentBytes}: out of a `status` file. */
export function parseStatus(text: string): number {
  return (statusKib(text, 'RssAnon') + statusKib(text, 'RssFile')) * 1024;
}

/** The most of it that there ever was, as well as it can be told: shared memory comes and stays. */
export function parsePeak(text: string): number {
  return (statusKib(text, 'VmHWM') - statusKib(text, 'RssShmem')) * 1024;
}

/** None of a process that has ended and was not waited for: it has no such lines. */
function statusKib(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0);
}

/** What a server takes of its host: the largest of each among a process and its descendants. */
export interface Footprint {
  /** Resident memory without the guest's. */
  readonly bytes: number;
  /** The most of it since the process began. */
  readonly peakBytes: number;
  /** Open file descriptors. */
  readonly descriptors: number;
}

/** Looks at a process and its descendants; zeroes of those that have ended. */
export function treeFootprint(pid: number): Footprint {
  let [bytes, peakBytes, descriptors] = [0, 0, 0];
  for (const each of treePids(pid)) {
    try {
      const text = readFileSync(`/proc/${each}/status`, 'utf8');
      bytes = Math.max(bytes, parseStatus(text));
      peakBytes = Math.max(peakBytes, parsePeak(text));
      descriptors = Math.max(descriptors, descriptorCount(each));
    } catch {
      // It has ended.
    }
  }
  return { bytes, peakBytes, descriptors };
}

/** The folder's size is their number from Linux 6.2 on; before that they have to be counted. */
function descriptorCount(pid: number): number {
  const path = `/proc/${pid}/fd`;
  return statSync(path).size || readdirSync(path).length;
}

/** Whether somebody listens on a Unix socket, seen without connecting to it. */
export function isListeningOn(socketPath: string): boolean {
  const text = readFileSync('/proc/net/unix', 'utf8');
  return hasListener(text, socketPath) || (existsSync(socketPath) && hasHidden(text, socketPath));
}

/** A server in a mount namespace has made its socket by way of a descriptor of the folder. */
function hasHidden(text: string, socketPath: string): boolean {
  const hidden = text.matchAll(/(\/proc\/self\/fd\/\d+\/\S+)$/gm);
  return Array.from(hidden, ([path]) => path).some(
    (path) => basename(path) === basename(socketPath) && hasListener(text, path),
  );
}

/** See {@link isListeningOn}: out of `/proc/net/unix`. */
export function hasListener(text: string, socketPath: string): boolean {
  return text.split('\n').some((line) => {
    const [, , , flags, , , , path] = line.trim().split(/\s+/);
    return path === socketPath && (parseInt(flags ?? '0', 16) & LISTENING_FLAG) !== 0;
  });
}
