/**
 * The client that puts load on a vsock server: both ends of its connections, by our own polling
 * front-end, in a process of its own that stays connected between the runs.
 *
 * @module
 */
import { JsonChild } from '../json-child.ts';
import { processError } from '../process.ts';
import type { VsockOp } from './plan.ts';

/** What the client is told, a JSON line each. */
export interface LoadRequest {
  readonly op: VsockOp;
  readonly blockBytes: number;
  readonly durationMs: number;
}

/** What a run came to. */
export interface LoadResult {
  readonly operations: number;
  readonly seconds: number;
  readonly p50Us: number;
}

/** What it answers, a JSON line each. */
export type LoadReply = { readonly done: 'open' } | LoadResult;

const TIMEOUT_BASE_MS = 30_000;
const TIMEOUT_FACTOR = 20;

/** See the module. */
export class VsockLoadClient {
  readonly #child: JsonChild;
  readonly #name: string;

  private constructor(child: JsonChild, name: string) {
    this.#child = child;
    this.#name = name;
  }

  /** Starts the process and waits until the device has been started. */
  static async open(
    socketPath: string,
    udsPath: string,
    bufferBytes: number,
  ): Promise<VsockLoadClient> {
    const suffix = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
    const entry = new URL(`./client${suffix}`, import.meta.url);
    const args = [entry.pathname, socketPath, udsPath, String(bufferBytes)];
    const name = `client of ${socketPath}`;
    const command = { file: process.execPath, args: ['--enable-source-maps', ...args] };
    const child = new JsonChild(command, name);
    try {
      await child.reply(TIMEOUT_BASE_MS);
    } catch (error) {
      await child.close();
      throw error;
    }
    return new VsockLoadClient(child, name);
  }

  /** One run, which is what is measured. */
  async run(op: VsockOp, blockBytes: number, seconds: number): Promise<LoadResult> {
    const request: LoadRequest = { op, blockBytes, durationMs: seconds * 1000 };
    const timeoutMs = TIMEOUT_BASE_MS + seconds * 1000 * TIMEOUT_FACTOR;
    const result = await this.#child.ask<LoadReply>(request, timeoutMs);
    if ('operations' in result && result.operations > 0) return result;
    throw processError(`${this.#name}: not a result`);
  }

  close(): Promise<void> {
    return this.#child.close();
  }
}
