/**
 * What the main thread and a worker thread say to each other. Plain data.
 *
 * @module
 */
import type { MemoryRegion } from '../../memory/index.ts';
import type { RingPlacement, VirtqueueFault } from '../../virtqueue/index.ts';
import type { LogLevel } from '../device.ts';
import type { RingStart } from './queue-runner.ts';

/** An order for the worker; each that has an `id` is answered, in order. */
export type WorkerOrder =
  | { readonly kind: 'features'; readonly features: bigint }
  | {
      readonly kind: 'memory';
      readonly regions: readonly MemoryRegion[];
      readonly placements: readonly RingPlacement[];
    }
  | { readonly kind: 'start'; readonly start: RingStart }
  | { readonly kind: 'stop'; readonly index: number }
  | { readonly kind: 'enable'; readonly index: number; readonly enabled: boolean }
  | {
      readonly kind: 'fd';
      readonly which: 'kick' | 'call' | 'err';
      readonly index: number;
      readonly fd: number;
    }
  | { readonly kind: 'kick'; readonly index: number }
  | { readonly kind: 'control'; readonly message: unknown }
  | { readonly kind: 'close' };

/** An order with the number that its answer carries. */
export interface NumberedOrder {
  readonly id: number;
  readonly order: WorkerOrder;
}

/** What a worker says. */
export type WorkerReport =
  | { readonly kind: 'ready'; readonly io: string }
  | { readonly kind: 'done'; readonly id: number; readonly result: unknown }
  | { readonly kind: 'refused'; readonly id: number; readonly error: unknown }
  | { readonly kind: 'fault'; readonly index: number; readonly fault: VirtqueueFault }
  | { readonly kind: 'told'; readonly message: unknown }
  | { readonly kind: 'log'; readonly level: LogLevel; readonly text: string };

/** What a worker is started with. */
export interface WorkerStart {
  /** URL of the module that exports `createDataPlane`. */
  readonly module: string;
  readonly options: unknown;
  readonly pollUs: number;
  /** `COUNTER.LENGTH` slots of this thread's own. */
  readonly counters: Float64Array;
  /** One word: how many orders were sent; looked at while polling. */
  readonly ordersSent: Int32Array;
  /** Signalled with each order; the worker owns and closes it. */
  readonly wakeFd: number;
}
