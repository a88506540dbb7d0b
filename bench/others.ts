/**
 * How much CPU time went to anybody else while something was measured: other processes, and other
 * virtual machines (steal). Figures of a machine that is shared are only as good as this is small.
 *
 * @module
 */
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { cpuBetweenNs, parseChildren, parseStat, treePids, trySampleCpu } from './proc.ts';
import type { CpuSample } from './proc.ts';

/** What others may use, in CPUs, for a figure to be worth something. */
export const OTHERS_CPUS_MAX = 0.1;

const NS_PER_TICK = 10_000_000; // as in proc.ts
const CPU_COUNT = cpus().length;

/** From its making until `othersCpus`, this process and its descendants are told from others. */
export class OthersMeter {
  readonly #startNs = performance.now() * 1e6;
  readonly #idleNs = idleNs();
  readonly #self = selfNs();
  readonly #children = new Map<number, CpuSample>();

  constructor() {
    for (const pid of treePids(process.pid)) {
      if (pid === process.pid) continue; // its time, and that of its ended children, is `selfNs`
      const sample = trySampleCpu(pid);
      if (sample !== null) this.#children.set(pid, sample);
    }
  }

  /** How many CPUs the others kept busy on average; 0 on a machine that nobody shares. */
  othersCpus(): number {
    const wallNs = performance.now() * 1e6 - this.#startNs;
    const busyNs = wallNs * CPU_COUNT - (idleNs() - this.#idleNs);
    let oursNs = selfNs() - this.#self; // with the children that have ended meanwhile
    for (const [pid, before] of this.#children) {
      const after = trySampleCpu(pid);
      if (after !== null) oursNs += cpuBetweenNs(before, after);
    }
    return Math.max(0, busyNs - oursNs) / wallNs;
  }
}

/** A run of one side, and how much others had of the machine meanwhile. */
interface Disturbed {
  readonly othersCpus: number;
}

/** The turn, one run of each side, that others disturbed most; -1 when none was disturbed. */
export function mostDisturbed(sides: readonly (readonly Disturbed[])[]): number {
  const turns = Math.min(...sides.map((runs) => runs.length));
  const shares = Array.from({ length: turns }, (_, turn) =>
    worstOf(sides.map((runs) => runs[turn] as Disturbed)),
  );
  const most = Math.max(0, ...shares);
  return most > OTHERS_CPUS_MAX ? shares.indexOf(most) : -1;
}

/**
 * Puts new runs of all sides in the place of a turn that others disturbed more. All or none: what
 * is compared was measured side by side.
 */
export function replaceTurn<Run extends Disturbed>(
  sides: readonly Run[][],
  turn: number,
  again: readonly Run[],
): void {
  if (worstOf(again) >= worstOf(sides.map((runs) => runs[turn] as Run))) return;
  for (const [side, runs] of sides.entries()) runs[turn] = again[side] as Run;
}

function worstOf(runs: readonly Disturbed[]): number {
  return Math.max(...runs.map((run) => run.othersCpus));
}

/** Nanoseconds in which CPUs were idle, summed over them, out of `/proc/stat` (proc(5)). */
export function parseIdle(text: string): number {
  const fields = /^cpu +(.*)$/m.exec(text)?.[1]?.split(' ') ?? [];
  return (Number(fields[3]) + Number(fields[4])) * NS_PER_TICK; // idle, and waiting for I/O
}

function idleNs(): number {
  return parseIdle(readFileSync('/proc/stat', 'utf8'));
}

/** CPU time of this process and of the children that it has seen the end of. */
function selfNs(): number {
  const text = readFileSync('/proc/self/stat', 'utf8');
  return parseStat(text) + parseChildren(text);
}
