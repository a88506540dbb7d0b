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

/**
 * How long a turn goes on while there is more to take. Then all else on the event loop has its
 * turn, so this is what it may be held up by.
 */
const TURN_MS_MAX = 0.25;

/**
 * How long a turn looks for the next request before it asks for kicks. A driver that waits for each
 * answer has that ready within a microsecond or two, and to hear of it by a kick costs more than
 * this: a system call of each side, and a round of the event loop.
 */
const LOOK_MS = 0.003;

/** See the module. */
export class EventLoopRunner implements QueueRunner {
  readonly counters: Float64Array = new Float64Array(COUNTER.LENGTH);
  readonly #plane: Promise<DataPlane>;
  readonly #events: RunnerEvents;
  readonly #kickWatches = new Map<RunningRing, Watch>();
  readonly #idle: (() => void)[] = []; // resolved when something was completed
  #made: DataPlane | null = null;
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
        this.#made = made;
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
      this.#keepWatch(ring, this.#watchKick(ring, ring.kick));
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
    const kick = fd < 0 ? null : NotifierConsumer.ofPeer(fd);
    const watch = this.#watchKick(ring, kick); // before the old one is let go: this may fail
    this.#unwatchKick(ring);
    ring.kick?.close();
    ring.kick = kick;
    this.#keepWatch(ring, watch);
    this.#planTurn();
  }

  async setCallFd(index: number, fd: number): Promise<void> {
    const ring = (await this.#set()).ring(index);
    ring.call?.close();
    ring.call = fd < 0 ? null : Notifier.ofPeer(fd);
    ring.call?.signal(); // what was completed before must not stay unheard
  }

  async setErrFd(index: number, fd: number): Promise<void> {
    const ring = (await this.#set()).ring(index);
    ring.err?.close();
    ring.err = fd < 0 ? null : Notifier.ofPeer(fd);
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
      // Before there is a plane there is no ring either, and each ring that starts plans a turn.
      if (this.#made !== null && this.#rings !== null) this.#turn(this.#made, this.#rings);
    });
  }

  /** Serves what there is; another turn is planned when there may be more. */
  #turn(plane: DataPlane, rings: RingSet): void {
    const endMs = performance.now() + TURN_MS_MAX;
    let [taken, submitted] = [0, 0];
    do {
      taken = rings.serve();
      submitted = plane.submit?.() ?? 0;
      rings.publish();
      rings.notify();
      for (const resolve of this.#idle.splice(0)) resolve();
    } while (taken > 0 && submitted === 0 && hasMore(rings) && performance.now() < endMs);
    if (submitted > 0 || rings.enableNotifications()) this.#planTurn();
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
    this.#rings?.notify();
  }

  /** The watch of a kick that is or becomes the ring's; one that cannot be watched is closed. */
  #watchKick(ring: RunningRing, kick: NotifierConsumer | null): Watch | null {
    if (kick === null) return null;
    try {
      return watchFd(kick.fd, READABLE, () => {
        this.counters[COUNTER.kicks] = (this.counters[COUNTER.kicks] as number) + 1;
        // A front-end that is gone leaves the read end of its pipe readable for ever.
        if (kick.drain() < 0) this.#unwatchKick(ring);
        this.#planTurn();
      });
    } catch (error) {
      kick.close();
      throw error;
    }
  }

  #keepWatch(ring: RunningRing, watch: Watch | null): void {
    if (watch !== null) this.#kickWatches.set(ring, watch);
    else this.#pollTimer ??= setInterval(() => this.#planTurn(), POLLED_RING_MS);
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

/** Whether a ring has something to take, now or in a moment. */
function hasMore(rings: RingSet): boolean {
  const endMs = performance.now() + LOOK_MS;
  do if (rings.hasWork()) return true;
  while (performance.now() < endMs);
  return false;
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
