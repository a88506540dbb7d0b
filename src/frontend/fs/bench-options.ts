/**
 * What a file system benchmark is told, and what it tells.
 *
 * @module
 */
import type { FuseInitRequest } from './init.ts';

/** How a `FsBench` is made. */
export interface FsBenchSetup {
  readonly socketPath: string;
  /** The most operations in flight on each queue, 16 by default. */
  readonly depthMax?: number;
  /** The longest read, write or listing in one request; 1 MiB by default. */
  readonly blockBytesMax?: number;
  /** Request queues, 1 by default. */
  readonly queueCount?: number;
  /** Entries of each ring, 256 by default. */
  readonly queueSize?: number;
  /** Data in pieces of so many bytes, as a guest's pages are; in one piece by default. */
  readonly segmentBytes?: number;
  readonly init?: FuseInitRequest;
  readonly connectWaitMs?: number;
  /** Gives up when nothing comes back for so long; 10 s by default. */
  readonly stallMs?: number;
}

/** What one operation of a run is; see the operations' own words in {@link FsBenchOptions}. */
export type FsBenchOpName =
  'read' | 'write' | 'lookup' | 'getattr' | 'open-read-close' | 'create' | 'readdirplus' | 'unlink';

/** What `FsBench.run` does. */
export interface FsBenchOptions {
  /**
   * - `read`, `write`: one READ or WRITE of the file `path`, which is open.
   * - `lookup`: one LOOKUP of a file of the folder `path`, in turn.
   * - `getattr`: one GETATTR of such a file, which was looked up before.
   * - `open-read-close`: OPEN, READ of `blockBytes` from the beginning, FLUSH and RELEASE of one.
   * - `create`: CREATE (exclusively), FLUSH and RELEASE of the next new file in the folder.
   * - `unlink`: one UNLINK of the next file.
   * - `readdirplus`: OPENDIR, READDIRPLUS of `blockBytes` at a time to the end, RELEASEDIR.
   */
  readonly op: FsBenchOpName;
  /** A file, or a folder whose files are `f0`, `f1` and so on; from the root, without links. */
  readonly path: string;
  /** Files of the folder; `create` and `unlink` end after so many. */
  readonly count?: number;
  /** Of reads and writes; sequential by default. */
  readonly order?: 'sequential' | 'random';
  /** Bytes of each request that moves data; 4096 by default, and 32768 for `readdirplus`. */
  readonly blockBytes?: number;
  /** Reads and writes go to offsets below this. */
  readonly fileBytes?: number;
  /** Operations in flight on each queue. */
  readonly depth: number;
  /** Ends after so many operations … */
  readonly operations?: number;
  /** … or after so much time, whichever is first. */
  readonly durationMs?: number;
  /** Of the random order; the same seed gives the same offsets. */
  readonly seed?: number;
}

/** What was measured. */
export interface FsBenchResult {
  readonly operations: number;
  /** FUSE requests that the operations took. */
  readonly requests: number;
  readonly seconds: number;
  readonly perSecond: number;
  /** Data of reads and writes; 0 for the other operations. */
  readonly bytesPerSecond: number;
  /** Entries of listings, `.` and `..` among them. */
  readonly entriesPerSecond: number;
  /** Operations that failed, and how the first of them did. */
  readonly errors: number;
  readonly firstError: string | null;
  readonly kicks: number;
  /** Microseconds from the submission of an operation's first request to its end. */
  readonly latencyUs: {
    readonly mean: number;
    readonly p50: number;
    readonly p90: number;
    readonly p99: number;
    readonly p999: number;
    readonly max: number;
  };
}
