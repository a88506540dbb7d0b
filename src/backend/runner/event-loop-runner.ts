/**
 * Serves virtqueues on the event loop of the main thread, for devices whose handler is asynchronous
 * TypeScript and for slow ones.
 *
 * @module
 */
import { assert } from '../../util/index.ts';
import { Notifier, NotifierConsumer, READABLE, watchFd } from '../../sys/index.ts';
import type { Watch } from '../../sys/index.ts';
import type { MemoryRegion } from '../../memory/index.ts';
import type { RingPlacement, RingState } from '../../virtqueue/index.ts';
import { COUNTER } from '../device.ts';
import type { DataPlane, DataPlaneContext, LocalDataPlane, Reactor } from '../device.ts';
import type { QueueRunner, RingStart, RunnerEvents } from './queue-runner.ts';
import { FAILED_DRAIN_MS, RingSet, abandonFailed, inFlightOf } from './ring-set.ts';
import type { RunningRing } from './ring-set.ts';

/** A ring without a kick fd is looked at this often. */
const POLLED_RING_MS = 1;

/** How often a drain looks whether a device that failed has had its time. */
const FAILED_LOOK_MS = 10;

/** See the module. */
export class EventLoopRunner implements QueueRunner {
  readonly counters: Float64Array = new Float64Array(COUNTER.LENGTH);
  readonly #plane: Promise<DataPlane>;
  readonly #events: RunnerEvents;
  readonly #kickWatches = new Map<RunningRing, Watch>();
  readonly #idle: (() => void)[] = []; // resolved when something was completed
  #rings: RingSet | null = null;
  #turnPlanned = false;
  #pollTimer: NodeJS.Timeout | null = null;

  constructor(plane: LocalDataPlane, events: RunnerEvents) {
    this.#events = events;
    const context: DataPlaneContext = {
      options: undefined,
      reactor: localReactor(),
      counters: this.counters,
      log: (level, text) => events.log(level, text),
      tell: (message) => events.told(message),
      flush: () => this.#planTurn(),
    };
    this.#plane = new Promise((resolve) => {
      resolve(plane.create(context)); // also one that throws at once makes `ready` reject
    });
    this.#plane.then(
      (made) => {
        this.#rings = new RingSet(made, this.counters, (index, fault) =>
          events.fault(index, fault),
        );
      },
      (error: unknown) => events.failed(error as Error),
    );
  }

  async ready(): Promise<string> {
    await this.#plane;
    return 'event loop';
  }

  async setFeatures(features: bigint): Promise<void> {
    (await this.#plane).featuresNegotiated?.(features);
  }

  async setMemory(
    regions: readonly MemoryRegion[],
    placements: readonly RingPlacement[],
  ): Promise<void> {
    const rings = await this.#set();
    for (const ring of rings.running) rings.pause(ring);
    await this.#drained(rings.running);
    rings.setMemory(regions, placements);
    for (const ring of rings.running) rings.resume(ring);
    this.#planTurn();
  }

  async startRing(start: RingStart): Promise<void> {
    const rings = await this.#set();
    const ring = rings.start(start);
    try {
      this.#watchKick(ring);
    } catch (error) {
      rings.finish(ring);
      throw error;
    }
    this.#planTurn();
  }

  async stopRing(index: number): Promise<RingState> {
    const rings = await this.#set();
    const ring = rings.ring(index);
    rings.pause(ring);
    await this.#drained([ring]);
    this.#unwatchKick(ring);
    return rings.finish(ring);
  }

  async setEnabled(index: number, enabled: boolean): Promise<void> {
    (await this.#set()).ring(index).enabled = enabled;
    this.#planTurn();
  }

  async setKickFd(index: number, fd: number): Promise<void> {
    const ring = (await this.#set()).ring(index);
    this.#unwatchKick(ring);
    ring.kick?.close();
    ring.kick = fd < 0 ? null : new NotifierConsumer(fd);
    this.#watchKick(ring);
    this.#planTurn();
  }

  async setCallFd(index: number, fd: number): Promise<void> {
    const ring = (await this.#set()).ring(index);
    ring.call?.close();
    ring.call = fd < 0 ? null : new Notifier(fd);
    ring.call?.signal(); // what was completed before must not stay unheard
  }

  async setErrFd(index: number, fd: number): Promise<void> {
    const ring = (await this.#set()).ring(index);
    ring.err?.close();
    ring.err = fd < 0 ? null : new Notifier(fd);
  }

  kick(): void {
    this.#planTurn();
  }

  post(message: unknown): void {
    void this.#plane.then(
      (plane) => plane.control?.(message),
      () => undefined, // reported by `failed`
    );
  }

  async close(): Promise<void> {
    const plane = await this.#plane.catch(() => null);
    if (plane === null) return; // `ready` has told why
    const rings = await this.#set();
    for (const ring of [...rings.running]) await this.stopRing(ring.queue.index);
    if (this.#pollTimer !== null) clearInterval(this.#pollTimer);
    plane.close?.();
  }

  async #set(): Promise<RingSet> {
    await this.#plane;
    assert(this.#rings !== null, 'the rings are made with the data plane');
    return this.#rings;
  }

  #planTurn(): void {
    if (this.#turnPlanned) return;
    this.#turnPlanned = true;
    setImmediate(() => {
      this.#turnPlanned = false;
      void this.#plane.then(
        (plane) => this.#turn(plane),
        () => undefined,
      );
    });
  }

  /** One round; another one is planned when there may be more, so that other work gets its turn. */
  #turn(plane: DataPlane): void {
    const rings = this.#rings;
    if (rings === null) return;
    const taken = rings.serve();
    const submitted = plane.submit?.() ?? 0;
    rings.publish();
    for (const resolve of this.#idle.splice(0)) resolve();
    if (taken + submitted > 0 || rings.enableNotifications()) this.#planTurn();
  }

  /** Resolves when these rings have nothing in flight. */
  async #drained(rings: readonly RunningRing[]): Promise<void> {
    const endMs = performance.now() + FAILED_DRAIN_MS;
    while (inFlightOf(rings) > 0) {
      const failed = rings.some((ring) => ring.deviceFailed);
      if (failed && performance.now() > endMs && abandonFailed(rings)) break;
      await new Promise<void>((resolve) => {
        this.#idle.push(resolve);
        if (failed) setTimeout(resolve, FAILED_LOOK_MS);
      });
    }
    this.#rings?.publish();
  }

  #watchKick(ring: RunningRing): void {
    const { kick } = ring;
    if (kick === null) {
      this.#pollTimer ??= setInterval(() => this.#planTurn(), POLLED_RING_MS);
      return;
    }
    const watch = watchFd(kick.fd, READABLE, () => {
      this.counters[COUNTER.kicks] = (this.counters[COUNTER.kicks] as number) + 1;
      // A front-end that is gone leaves the read end of its pipe readable for ever.
      if (kick.drain() < 0) this.#unwatchKick(ring);
      this.#planTurn();
    });
    this.#kickWatches.set(ring, watch);
  }

  #unwatchKick(ring: RunningRing): void {
    this.#kickWatches.get(ring)?.close();
    this.#kickWatches.delete(ring);
    const polled = this.#rings?.running.some((each) => each.kick === null && each !== ring);
    if (polled !== true && this.#pollTimer !== null) {
      clearInterval(this.#pollTimer);
      this.#pollTimer = null;
    }
  }
}

/** Fds and timers of the main thread; file I/O there is Node's own. */
function localReactor(): Reactor {
  return {
    uring: null,
    onCompletion: () => {
      assert(false, 'a data plane looks at reactor.uring before it uses it');
    },
    watch: (fd, events, ready) => watchFd(fd, events, ready),
    after: (ms, fire) => {
      const timer = setTimeout(fire, ms);
      return { cancel: () => clearTimeout(timer) };
    },
  };
}
