/**
 * What the turns of a side in one boot say together. Pure.
 *
 * @module
 */
import { median } from '../stats.ts';
import type { FsRun, Side } from './result.ts';

/** One measurement of a line, in one turn of a side. */
export interface Measured {
  readonly side: Side;
  readonly id: string;
  readonly count: number;
  readonly ms: number;
  readonly cpuNs: number;
  readonly othersCpus: number;
}

/**
 * The turns of a side in one boot as one run. The median of their rates: one turn in which the
 * machine did something else for a second would otherwise decide the boot. The CPU time is of all.
 */
export function together(turns: readonly Measured[]): FsRun {
  const sum = (key: 'count' | 'cpuNs'): number =>
    turns.reduce((total, each) => total + each[key], 0);
  return {
    perSecond: median(turns.map(({ count, ms }) => (count / ms) * 1000)),
    cpuUs: sum('cpuNs') / 1000 / sum('count'),
    p50Us: null,
    othersCpus: Math.max(...turns.map(({ othersCpus }) => othersCpus)),
  };
}
