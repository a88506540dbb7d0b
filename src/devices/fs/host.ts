/**
 * What a file system gets from the data plane that serves it.
 *
 * @module
 */
import type { LogLevel, Reactor } from '../../backend/index.ts';
import type { FuseOperations } from './operations.ts';

/** See the module. */
export interface FuseHost {
  /** What the file system was given by the main thread: plain data. */
  readonly options: unknown;
  /** io_uring, timers and fds of this thread. */
  readonly reactor: Reactor;
  log(level: LogLevel, text: string): void;
  /**
   * To be called after `FuseCall.finish` outside of a method, of a completion of io_uring and of a
   * callback of the reactor: from a promise, for example.
   */
  flush(): void;
}

/**
 * Makes the operations of one device. In a module for a worker thread it is exported as
 * `createOperations`.
 */
export type FuseOperationsFactory = (host: FuseHost) => FuseOperations | Promise<FuseOperations>;
