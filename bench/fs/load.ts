/**
 * The client that puts load on a file system server: our own polling front-end, in a process of its
 * own that stays connected between the runs (virtiofsd ends when its front-end goes).
 *
 * @module
 */
import { JsonChild } from '../json-child.ts';
import { processError } from '../process.ts';
import type { HostOp, Order } from './plan.ts';

/** One kind of load. */
export interface HostLoad {
  readonly op: HostOp;
  readonly order: Order;
  /** Of a read or a write. */
  readonly blockBytes: number;
  readonly depth: number;
}

/**
 * What the client is told, a JSON line each. `prepare` and `finish` are around each run, and not
 * measured: files to be unlinked are made, files that were made are unlinked.
 */
export type HostRequest =
  | ({ readonly do: 'prepare' } & HostLoad)
  | ({ readonly do: 'run'; readonly durationMs: number } & HostLoad)
  | ({ readonly do: 'finish' } & HostLoad);

/** What a run came to. */
export interface HostResult {
  readonly operations: number;
  readonly seconds: number;
  /** Operations that failed. */
  readonly errors: number;
  /** How the first of them did. */
  readonly firstError: string | null;
  readonly p50Us: number;
}

/** What it answers, a JSON line each. */
export type HostReply = { readonly done: 'open' | 'prepare' | 'finish' } | HostResult;

const TIMEOUT_BASE_MS = 30_000;
const TIMEOUT_FACTOR = 20;

/** See the module. */
export class FsLoadClient {
  readonly #child: JsonChild;
  readonly #name: string;

  private constructor(child: JsonChild, name: string) {
    this.#child = child;
    this.#name = name;
  }

  /** Starts the process and waits until it has mounted the file system. */
  static async open(socketPath: string): Promise<FsLoadClient> {
    const suffix = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
    const entry = new URL(`./client${suffix}`, import.meta.url);
    const args = ['--enable-source-maps', entry.pathname, socketPath];
    const name = `client of ${socketPath}`;
    const child = new JsonChild({ file: process.execPath, args }, name);
    try {
      await child.reply(TIMEOUT_BASE_MS);
    } catch (error) {
      await child.close();
      throw error;
    }
    return new FsLoadClient(child, name);
  }

  /** Makes what a run needs. */
  async prepare(load: HostLoad): Promise<void> {
    await this.#ask({ do: 'prepare', ...load }, 0);
  }

  /** One run, which is what is measured. */
  async run(load: HostLoad, seconds: number): Promise<HostResult> {
    const request: HostRequest = { do: 'run', durationMs: seconds * 1000, ...load };
    const result = await this.#ask(request, seconds);
    if (!('operations' in result)) throw processError(`${this.#name}: not a result`);
    const { operations, errors, firstError } = result;
    if (errors > 0 || operations === 0) {
      const text = `${load.op}: ${errors} of ${operations} operations failed`;
      throw processError(`${this.#name}: ${text}: ${firstError ?? 'none was done'}`);
    }
    return result;
  }

  /** Takes away what a run has left. */
  async finish(load: HostLoad): Promise<void> {
    await this.#ask({ do: 'finish', ...load }, 0);
  }

  close(): Promise<void> {
    return this.#child.close();
  }

  #ask(request: HostRequest, seconds: number): Promise<HostReply> {
    return this.#child.ask(request, TIMEOUT_BASE_MS + seconds * 1000 * TIMEOUT_FACTOR);
  }
}
