/**
 * What a session asks of the thread, or threads, that serve its virtqueues.
 *
 * @module
 */
import type { MemoryRegion } from '../../memory/index.ts';
import type {
  RingConfig,
  RingPlacement,
  RingState,
  VirtqueueFault,
} from '../../virtqueue/index.ts';
import type { LogLevel } from '../device.ts';

/** Everything that starts a ring. The runner owns the fds, and closes them, from the call on. */
export interface RingStart {
  readonly config: RingConfig;
  /** Signalled by the front-end; -1: there is none, the ring is to be polled. */
  readonly kickFd: number;
  /** Signals the front-end; -1: it polls the used ring. */
  readonly callFd: number;
  /** Signalled when the guest broke the ring; -1: none. */
  readonly errFd: number;
  readonly enabled: boolean;
}

/** What a runner tells of itself. */
export interface RunnerEvents {
  /** The guest broke a ring, or the data plane failed on it; other rings go on. */
  fault(index: number, fault: VirtqueueFault): void;
  log(level: LogLevel, text: string): void;
  /** A data plane tells something to its device. */
  told(message: unknown): void;
  /** A thread ended by our own mistake; the runner serves nothing any more. */
  failed(error: Error): void;
}

/**
 * Serves virtqueues. Calls are carried out in order. Starting a running ring, or stopping one that
 * does not run, is a mistake of the caller.
 */
export interface QueueRunner {
  /** Counters of all threads, `COUNTER.LENGTH` slots each. */
  readonly counters: Float64Array;
  /**
   * Resolves when the data planes are made, with how they wait: `io_uring`, `epoll`, `kqueue`,
   * `poll`, `event loop`.
   */
  ready(): Promise<string>;
  setFeatures(features: bigint): Promise<void>;
  /**
   * Replaces the memory. Requests in flight are completed first; running rings move to
   * `placements`, which has one for each of them. When this resolves nothing uses the old regions
   * any more.
   */
  setMemory(regions: readonly MemoryRegion[], placements: readonly RingPlacement[]): Promise<void>;
  /** When it rejects, the ring does not run and its fds are closed. */
  startRing(start: RingStart): Promise<void>;
  /** Completes what is in flight, stops the ring, closes its fds and returns its indices. */
  stopRing(index: number): Promise<RingState>;
  setEnabled(index: number, enabled: boolean): Promise<void>;
  setKickFd(index: number, fd: number): Promise<void>;
  setCallFd(index: number, fd: number): Promise<void>;
  setErrFd(index: number, fd: number): Promise<void>;
  /** Looks at the ring as if the front-end had kicked it. */
  kick(index: number): void;
  /** Hands a message to `control` of every data plane. */
  post(message: unknown): void;
  /** Stops all rings and ends the threads. */
  close(): Promise<void>;
}
