/**
 * Serves virtqueues on worker threads: the main thread's side of it.
 *
 * @module
 */
import { Worker } from 'node:worker_threads';
import { VhostUserError, assert, errorCode } from '../../util/index.ts';
import { atExit, createNotifier } from '../../sys/index.ts';
import type { Notifier } from '../../sys/index.ts';
import type { MemoryRegion } from '../../memory/index.ts';
import type { RingPlacement, RingState } from '../../virtqueue/index.ts';
import { COUNTER } from '../device.ts';
import type { WorkerDataPlane } from '../device.ts';
import type { WorkerOrder, WorkerReport, WorkerStart } from './messages.ts';
import type { QueueRunner, RingStart, RunnerEvents } from './queue-runner.ts';

/** `.ts` when the sources run directly (Node 22.18+, Deno, Bun), else `.js`. */
const ENDING = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
const ENTRY = new URL(`./queue.worker${ENDING}`, import.meta.url);

/** One thread, the orders that it has not answered, and the way to wake it. */
class Thread {
  readonly ready: Promise<string>;
  readonly #worker: Worker;
  readonly #wake: Notifier;
  readonly #ordersSent = new Int32Array(new SharedArrayBuffer(4));
  readonly #answers = new Map<number, PromiseWithResolvers>();
  readonly #ended: Promise<void>;
  #nextId = 1;
  #dead: Error | null = null;
  #closing = false;
  #isReady = false;

  constructor(plane: WorkerDataPlane, counters: Float64Array, events: RunnerEvents) {
    const { notifier, consumer } = createNotifier();
    this.#wake = notifier;
    const start: WorkerStart = {
      module: plane.module.href,
      options: plane.options,
      pollUs: plane.pollUs,
      counters,
      ordersSent: this.#ordersSent,
      wakeFd: consumer.fd,
    };
    this.#worker = new Worker(ENTRY, { workerData: start, trackUnmanagedFds: false });
    // A thread that sleeps in a system call cannot be ended by an exiting process, which waits for
    // it. An order that is counted and never comes keeps it awake until it has been ended.
    const cancel = atExit(() => {
      Atomics.add(this.#ordersSent, 0, 1);
      this.#wake.signal();
    });
    const ready = withResolvers();
    this.ready = ready.promise as Promise<string>;
    this.ready.catch(() => undefined); // whoever awaits an order hears of it
    this.#worker.on('message', (report: WorkerReport) => {
      this.#hear(report, events, ready);
    });
    this.#ended = new Promise((resolve) => {
      this.#worker.on('exit', () => {
        cancel();
        const error = new VhostUserError('ERR_VHU_WORKER_ENDED', 'the queue thread has ended');
        if (this.#dead === null && !this.#closing) {
          ready.reject(error);
          events.failed(error);
        }
        this.#fail(error);
        resolve();
      });
    });
    this.#worker.on('error', (thrown: Error) => {
      const error = revived(thrown);
      this.#fail(error);
      ready.reject(error);
      // A device that could not be made is told to whoever wanted it.
      if (this.#isReady) events.failed(error);
    });
  }

  /** Sends an order; resolves with its result. */
  async order(order: WorkerOrder): Promise<unknown> {
    if (this.#dead !== null) throw this.#dead;
    const id = this.#nextId++;
    const answer = withResolvers();
    this.#answers.set(id, answer);
    this.#worker.postMessage({ id, order });
    // After the message: the worker looks for it once it counts
    Atomics.add(this.#ordersSent, 0, 1);
    this.#wake.signal();
    return answer.promise;
  }

  /** Ends the thread, in order. */
  async close(): Promise<void> {
    this.#closing = true;
    if (this.#dead === null) await this.order({ kind: 'close' }).catch(() => undefined);
    await this.#ended;
    this.#wake.close();
  }

  #hear(report: WorkerReport, events: RunnerEvents, ready: PromiseWithResolvers): void {
    switch (report.kind) {
      case 'ready':
        this.#isReady = true;
        ready.resolve(report.io);
        break;
      case 'done':
        this.#answers.get(report.id)?.resolve(report.result);
        this.#answers.delete(report.id);
        break;
      case 'refused':
        this.#answers.get(report.id)?.reject(report.error);
        this.#answers.delete(report.id);
        break;
      case 'fault':
        events.fault(report.index, report.fault);
        break;
      case 'told':
        events.told(report.message);
        break;
      case 'log':
        events.log(report.level, report.text);
        break;
    }
  }

  #fail(error: Error): void {
    this.#dead ??= error;
    for (const answer of this.#answers.values()) answer.reject(this.#dead);
    this.#answers.clear();
  }
}

/** An error of ours as one again: on its way out of a thread it kept its code, not its class. */
function revived(error: Error): Error {
  const code = errorCode(error);
  if (code?.startsWith('ERR_VHU_') !== true) return error;
  return new VhostUserError(code, error.message, { cause: error });
}

interface PromiseWithResolvers {
  readonly promise: Promise<unknown>;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

function withResolvers(): PromiseWithResolvers {
  let resolve: (value: unknown) => void = () => undefined;
  let reject: (error: unknown) => void = () => undefined;
  const promise = new Promise((res, rej: (error: unknown) => void) => {
    resolve = res;
    reject = rej;
  });
  return { promise, resolve, reject };
}

/** See the module. Threads start at once, so that they are there when the front-end comes. */
export class WorkerRunner implements QueueRunner {
  readonly counters: Float64Array;
  readonly #threads: Thread[];

  constructor(plane: WorkerDataPlane, events: RunnerEvents) {
    const { LENGTH } = COUNTER;
    const { threads } = plane;
    assert(threads > 0, 'a worker data plane has at least one thread');
    const bytes = new SharedArrayBuffer(threads * LENGTH * Float64Array.BYTES_PER_ELEMENT);
    this.counters = new Float64Array(bytes);
    this.#threads = Array.from(
      { length: threads },
      (_, i) => new Thread(plane, this.counters.subarray(i * LENGTH, (i + 1) * LENGTH), events),
    );
  }

  /**
   * Resolves when all threads have made their data plane, with how they wait: `io_uring`, `epoll`,
   * `kqueue`, `poll`.
   */
  async ready(): Promise<string> {
    const [io] = await Promise.all(this.#threads.map((thread) => thread.ready));
    return io ?? '';
  }

  async setFeatures(features: bigint): Promise<void> {
    await this.#orderAll({ kind: 'features', features });
  }

  async setMemory(
    regions: readonly MemoryRegion[],
    placements: readonly RingPlacement[],
  ): Promise<void> {
    await Promise.all(
      this.#threads.map((thread, i) =>
        thread.order({
          kind: 'memory',
          regions,
          placements: placements.filter(({ index }) => index % this.#threads.length === i),
        }),
      ),
    );
  }

  async startRing(start: RingStart): Promise<void> {
    await this.#thread(start.config.index).order({ kind: 'start', start });
  }

  async stopRing(index: number): Promise<RingState> {
    return (await this.#thread(index).order({ kind: 'stop', index })) as RingState;
  }

  async setEnabled(index: number, enabled: boolean): Promise<void> {
    await this.#thread(index).order({ kind: 'enable', index, enabled });
  }

  async setKickFd(index: number, fd: number): Promise<void> {
    await this.#thread(index).order({ kind: 'fd', which: 'kick', index, fd });
  }

  async setCallFd(index: number, fd: number): Promise<void> {
    await this.#thread(index).order({ kind: 'fd', which: 'call', index, fd });
  }

  async setErrFd(index: number, fd: number): Promise<void> {
    await this.#thread(index).order({ kind: 'fd', which: 'err', index, fd });
  }

  kick(index: number): void {
    void this.#thread(index)
      .order({ kind: 'kick', index })
      .catch(() => undefined); // a thread that has ended was reported by `failed`
  }

  post(message: unknown): void {
    void this.#orderAll({ kind: 'control', message }).catch(() => undefined); // as above
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.close()));
  }

  #thread(index: number): Thread {
    return this.#threads[index % this.#threads.length] as Thread;
  }

  async #orderAll(order: WorkerOrder): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.order(order)));
  }
}
