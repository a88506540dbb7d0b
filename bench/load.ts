/**
 * The clients that put load on a server, each by itself a process: `qemu-img bench`, our own
 * polling front-end, and fio on the bare file.
 *
 * @module
 */
import type { BlkBenchResult } from '../src/frontend/index.ts';
import { JsonChild } from './json-child.ts';
import type { ClientFailure } from './json-child.ts';
import type { Op } from './plan.ts';
import { processError, runProcess } from './process.ts';
import { inPeerRoot } from './server.ts';

/** One kind of load. */
export interface Load {
  readonly op: Op;
  readonly blockBytes: number;
  readonly depth: number;
}

/** What a client saw of one run. */
export interface LoadResult {
  readonly requests: number;
  readonly seconds: number;
  /** Microseconds, when the client measures them. */
  readonly latencyUs?: BlkBenchResult['latencyUs'];
  /** CPU time of the client, in microseconds a request, where it stands for a server's. */
  readonly cpuUs?: number;
}

/** A client of one server. */
export interface LoadClient {
  run(load: Load, seconds: number): Promise<LoadResult>;
  close(): Promise<void>;
}

const GUESS_PER_SECOND = 20_000; // requests, for the first run of a kind
const TIMEOUT_BASE_MS = 20_000;
const TIMEOUT_FACTOR = 20;

/** `qemu-img bench`: counts requests, so the count is chosen by what the last run reached. */
export class QemuImgClient implements LoadClient {
  readonly #peerRoot: string;
  readonly #socketPath: string;
  readonly #perSecond = new Map<string, number>();

  constructor(peerRoot: string, socketPath: string) {
    this.#peerRoot = peerRoot;
    this.#socketPath = socketPath;
  }

  async run(load: Load, seconds: number): Promise<LoadResult> {
    const { op, blockBytes, depth } = load;
    const key = `${op} ${blockBytes} ${depth}`;
    const rate = this.#perSecond.get(key) ?? Math.min(GUESS_PER_SECOND, 2 ** 30 / blockBytes);
    const requests = Math.max(depth * 4, Math.round(rate * seconds));
    const size = String(blockBytes);
    const args = ['bench', '-c', String(requests), '-d', String(depth), '-s', size, '-S', size];
    const image = `driver=virtio-blk-vhost-user,path=${this.#socketPath},cache.direct=on`;
    const command = inPeerRoot(this.#peerRoot, 'qemu-img', [
      ...args,
      ...(op === 'write' ? ['-w'] : []),
      ...['-t', 'none', '--image-opts', image],
    ]);
    const taken = parseQemuImg(await runProcess(command, timeoutMs(seconds)));
    this.#perSecond.set(key, requests / taken);
    return { requests, seconds: taken };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** Seconds, out of what `qemu-img bench` prints. */
export function parseQemuImg(text: string): number {
  const found = /Run completed in ([\d.]+) seconds/.exec(text);
  if (found === null) throw processError(`qemu-img bench printed no time: ${text.trim()}`);
  // It counts milliseconds; a run in none of them is one that was too short to be measured.
  return Math.max(Number(found[1]), 0.001);
}

/** What the child of {@link PollingClient} is told, a JSON line each. */
export interface PollingRequest extends Load {
  readonly durationMs: number;
}

/** What it answers, a JSON line each. */
export type PollingReply = { readonly ready: true } | BlkBenchResult | ClientFailure;

/** Our own polling front-end, in a process of its own that stays connected between the runs. */
export class PollingClient implements LoadClient {
  readonly #child: JsonChild;
  readonly #name: string;

  private constructor(child: JsonChild, name: string) {
    this.#child = child;
    this.#name = name;
  }

  /** Starts the process and waits until it is connected, with its queue started. */
  static async open(socketPath: string): Promise<PollingClient> {
    const suffix = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
    const entry = new URL(`./blk-client${suffix}`, import.meta.url);
    const args = ['--enable-source-maps', entry.pathname, socketPath];
    const name = `polling client on ${socketPath}`;
    const child = new JsonChild({ file: process.execPath, args }, name);
    await child.reply(TIMEOUT_BASE_MS);
    return new PollingClient(child, name);
  }

  async run(load: Load, seconds: number): Promise<LoadResult> {
    const request: PollingRequest = { ...load, durationMs: seconds * 1000 };
    const result = await this.#child.ask<BlkBenchResult>(request, timeoutMs(seconds));
    if (!('requests' in result)) throw processError(`${this.#name}: not a result`);
    if (result.errors > 0) throw processError(`${this.#name}: ${result.errors} requests failed`);
    const { requests, latencyUs } = result;
    return { requests, seconds: result.seconds, latencyUs };
  }

  close(): Promise<void> {
    return this.#child.close();
  }
}

/** fio with io_uring on the bare file: no queue, no second process; the upper bound. */
export class FioClient implements LoadClient {
  readonly #image: string;

  constructor(image: string) {
    this.#image = image;
  }

  async run(load: Load, seconds: number): Promise<LoadResult> {
    const settings = {
      name: 'bound',
      filename: this.#image,
      rw: load.op,
      bs: load.blockBytes,
      ioengine: 'io_uring',
      iodepth: load.depth,
      runtime: `${Math.round(seconds * 1000)}ms`,
      'output-format': 'json',
    };
    const args = Object.entries(settings).map(([key, value]) => `--${key}=${String(value)}`);
    // --direct=0: as the servers open it. --thread: one process, which can be killed as a whole.
    const command = { file: 'fio', args: [...args, '--time_based', '--thread', '--direct=0'] };
    return parseFio(await runProcess(command, timeoutMs(seconds)), load.op);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

interface FioJob {
  readonly error: number;
  readonly job_runtime: number; // ms
  readonly usr_cpu: number; // percent
  readonly sys_cpu: number;
  readonly read: { readonly total_ios: number; readonly runtime: number };
  readonly write: { readonly total_ios: number; readonly runtime: number };
}

/** A result, out of fio's JSON, which may follow other text. */
export function parseFio(text: string, op: Op): LoadResult {
  const parsed = JSON.parse(text.slice(text.indexOf('{'))) as { readonly jobs?: readonly FioJob[] };
  const job = parsed.jobs?.[0];
  if (job === undefined || job.error !== 0) throw processError(`fio failed: ${text.slice(0, 500)}`);
  const { total_ios: requests, runtime } = job[op];
  const cpuMs = ((job.usr_cpu + job.sys_cpu) / 100) * job.job_runtime;
  return { requests, seconds: runtime / 1000, cpuUs: (cpuMs * 1000) / Math.max(requests, 1) };
}

function timeoutMs(seconds: number): number {
  return TIMEOUT_BASE_MS + seconds * 1000 * TIMEOUT_FACTOR;
}
