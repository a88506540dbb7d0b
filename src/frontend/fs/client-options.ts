/**
 * How a client of a shared folder and its methods are told what to do.
 *
 * @module
 */
import type { FuseConnectionOptions } from './connection.ts';
import type { WriteDataOptions } from './file-handle.ts';

/** How a {@link FsClient} is made. */
export interface FsClientOptions extends FuseConnectionOptions {
  /** Permissions that new files do not get, 0o022 by default. */
  readonly umask?: number;
  /** Nodes that the server keeps for the client though nothing uses them now; 1024 by default. */
  readonly idleNodesMax?: number;
}

/** Options of `writeFile` and `appendFile`. */
export interface WriteFileOptions extends WriteDataOptions {
  /** Of a new file; 0o666 by default, without the umask. */
  readonly mode?: number;
  /** `w` or `a` by default. */
  readonly flag?: string | number;
  /** Waits until the data are on disk. */
  readonly flush?: boolean;
}

/** Options of `readdir`. */
export interface ReaddirOptions {
  /** `buffer` for names that are not UTF-8. */
  readonly encoding?: 'utf8' | 'buffer';
  readonly withFileTypes?: boolean;
  /** Entries with their `stats`, which takes no more requests (READDIRPLUS). */
  readonly withStats?: boolean;
}
