/**
 * Serves the virtqueues of a shared folder: on a worker thread, where a module makes the file
 * system, or on the event loop, where it may be asynchronous TypeScript.
 *
 * @module
 */
import type { Virtqueue } from '../../virtqueue/index.ts';
import type {
  DataPlane,
  DataPlaneContext,
  DataPlaneFactory,
  ReactorTimer,
} from '../../backend/index.ts';
import type { FuseHost, FuseOperationsFactory } from './host.ts';
import type { ReaddirPlus } from './server/init.ts';
import { FS_HIPRIO_QUEUE } from './layout.ts';
import { FuseServer } from './server/server.ts';

/** What holds for a data plane wherever it runs. Plain data. */
export interface FsPlaneSettings {
  /** Requests that all queues can hold together. */
  readonly callCount: number;
  readonly readdirPlus: ReaddirPlus;
}

/** What the main thread hands over to a worker. Plain data. */
export interface FsPlaneOptions extends FsPlaneSettings {
  /** A module that exports `createOperations`. */
  readonly module: string;
  readonly options: unknown;
}

/** What the main thread tells later. */
export interface FsControl {
  /** The front-end went away. */
  readonly kind: 'gone';
}

/**
 * How long a file system on the event loop may take to finish what it was asked to interrupt,
 * before that is answered in its place: a promise may never be settled.
 */
const INTERRUPT_MS = 1000;

/**
 * After so many bytes that were read the driver is to hear of them: it uses them while we read the
 * next, and that takes longer than a notification and an interrupt. (With writes it has nothing to
 * use, and is the quicker for fewer interrupts.)
 */
const BYTES_PER_PUBLISH = 256 * 1024;

/**
 * What comes by the queue of high priority is mostly FORGET, for which nobody waits; each would
 * cost the guest a notification and an interrupt. While they come they may wait: so many, and so
 * long. An INTERRUPT among them waits as long, too. A driver that sends many in one request
 * (BATCH_FORGET) has no need of that.
 */
const FORGETS_WAITING_MAX = 16;
const FORGET_MS = 10;

/** See the module. */
export class FsDataPlane implements DataPlane {
  readonly #context: DataPlaneContext;
  readonly #server: FuseServer;
  /** Whether calls may be answered over the head of the file system. */
  readonly #abandons: boolean;
  #abandonTimer: ReactorTimer | null = null;
  /** Until it fires, what comes by the queue of high priority waits for company. */
  #forgetTimer: ReactorTimer | null = null;

  private constructor(context: DataPlaneContext, server: FuseServer, abandons: boolean) {
    this.#context = context;
    this.#server = server;
    this.#abandons = abandons;
  }

  /** Makes the file system and its server. */
  static async create(
    context: DataPlaneContext,
    settings: FsPlaneSettings,
    makeOperations: FuseOperationsFactory,
    options: unknown,
  ): Promise<FsDataPlane> {
    const host: FuseHost = {
      options,
      reactor: context.reactor,
      log: (level, text) => context.log(level, text),
      flush: () => context.flush(),
    };
    const operations = await makeOperations(host);
    const { counters } = context;
    const log = host.log.bind(host);
    const server = new FuseServer({ operations, counters, log, ...settings });
    // With io_uring the kernel may be writing to the guest's buffers: only it can say when not.
    return new FsDataPlane(context, server, context.reactor.uring === null);
  }

  serve(queue: Virtqueue, budget: number): number {
    const server = this.#server;
    const { forgets } = server;
    let taken = 0;
    let bytes = 0;
    while (taken < budget && bytes < BYTES_PER_PUBLISH && !server.full) {
      const chain = queue.pop();
      if (chain === null) break;
      taken++;
      bytes += chain.writableBytes;
      server.handle(queue, chain);
    }
    if (server.waiting) this.#planAbandon();
    if (server.forgets !== forgets) this.#planForgets();
    return taken;
  }

  patience(queue: Virtqueue): number {
    if (this.#forgetTimer === null || queue.index !== FS_HIPRIO_QUEUE) return 0;
    return Math.min(FORGETS_WAITING_MAX, queue.size >> 3);
  }

  full(): boolean {
    return this.#server.full;
  }

  queueStarted(): void {
    this.#abandonTimer?.cancel();
    this.#abandonTimer = null;
  }

  queueStopping(queue: Virtqueue): void {
    this.#server.interruptQueue(queue);
    this.#context.flush();
    if (queue.inFlight > 0) this.#planAbandon();
  }

  /** There is one message, {@link FsControl}. */
  control(): void {
    this.#server.reset();
  }

  close(): void {
    this.#abandonTimer?.cancel();
    this.#forgetTimer?.cancel();
    this.#server.close();
  }

  #planForgets(): void {
    this.#forgetTimer ??= this.#context.reactor.after(FORGET_MS, () => {
      this.#forgetTimer = null;
      this.#context.flush(); // the runner looks again, at those that have waited as well
    });
  }

  #planAbandon(): void {
    if (!this.#abandons || this.#abandonTimer !== null) return;
    this.#abandonTimer = this.#context.reactor.after(INTERRUPT_MS, () => {
      this.#abandonTimer = null;
      this.#server.abandonPending();
      this.#context.flush();
    });
  }
}

/** The factory that the worker calls. */
export const createDataPlane: DataPlaneFactory = async (context) => {
  const plane = context.options as FsPlaneOptions;
  const module = (await import(plane.module)) as { createOperations: FuseOperationsFactory };
  return FsDataPlane.create(context, plane, module.createOperations, plane.options);
};
