/**
 * The loop of a worker thread: take, submit, reap, publish, notify, poll a bounded time, sleep.
 *
 * @module
 */
import { errorMessage } from '../../util/index.ts';
import { Notifier, NotifierConsumer, READABLE, monotonicUs } from '../../sys/index.ts';
import type { RingState } from '../../virtqueue/index.ts';
import { COUNTER } from '../device.ts';
import type { DataPlane } from '../device.ts';
import type { NumberedOrder, WorkerOrder, WorkerReport, WorkerStart } from './messages.ts';
import { PollPolicy } from './poll-policy.ts';
import type { RingStart } from './queue-runner.ts';
import type { WorkerReactor } from './reactor.ts';
import type { ReactorWatch } from '../device.ts';
import { FAILED_DRAIN_MS, RingSet, abandonFailed, inFlightOf } from './ring-set.ts';
import type { RunningRing } from './ring-set.ts';

/** The clock is read once in so many polls: a poll costs some 20 ns, the clock 40. */
const POLLS_PER_CLOCK = 16;

/**
 * How often a loop that always finds something in its rings looks at its fds: not each time, since
 * that costs a system call, and often enough that a busy guest does not hold them up.
 */
const TURNS_PER_LOOK = 8;

/** How often a drain looks whether a device that failed has had its time. */
const FAILED_LOOK_US = 10_000;

/** What the loop needs from its thread. */
export interface WorkerPort {
  /** The next order, or undefined. */
  receive(): NumberedOrder | undefined;
  send(report: WorkerReport): void;
}

/** One worker thread at work. */
export class WorkerLoop {
  readonly #reactor: WorkerReactor;
  readonly #plane: DataPlane;
  readonly #port: WorkerPort;
  readonly #rings: RingSet;
  readonly #counters: Float64Array;
  readonly #ordersSent: Int32Array;
  readonly #policy: PollPolicy;
  readonly #wake: NotifierConsumer;
  readonly #kickWatches = new Map<RunningRing, ReactorWatch>();
  #ordersTaken = 0;
  #turns = 0;
  #requests = 0; // taken in all, of all rings
  #closing = false;
  #hasFollowUps = false; // of the last round
  readonly #signalByWait = (call: Notifier): void => this.#reactor.signalByWait(call);
  #kicked = false; // an in-band kick, or a ring that has just changed: serve before sleeping

  constructor(start: WorkerStart, reactor: WorkerReactor, plane: DataPlane, port: WorkerPort) {
    this.#reactor = reactor;
    this.#plane = plane;
    this.#port = port;
    this.#counters = start.counters;
    this.#ordersSent = start.ordersSent;
    this.#policy = new PollPolicy(start.pollUs);
    this.#rings = new RingSet(plane, start.counters, (index, fault) => {
      port.send({ kind: 'fault', index, fault });
    });
    this.#wake = new NotifierConsumer(start.wakeFd);
    reactor.watch(start.wakeFd, READABLE, () => void this.#wake.drain());
  }

  /** Runs until the order `close`. The reactor and the wake fd stay the caller's. */
  run(): void {
    for (;;) {
      this.#takeOrders();
      if (this.#closing) break;
      this.#turn();
      if (this.#again()) this.#rings.notify();
      else if (!this.#poll()) this.#sleep();
    }
    this.#plane.close?.();
  }

  /** One round; `notify` is to follow. Returns how much was done. */
  #turn(): number {
    this.#kicked = false;
    const taken = this.#rings.serve();
    this.#requests += taken;
    const submitted = this.#plane.submit?.() ?? 0;
    const completed = this.#reactor.turn(++this.#turns % TURNS_PER_LOOK === 0);
    this.#rings.publish();
    this.#hasFollowUps = submitted + completed > 0;
    return taken + submitted + completed;
  }

  /**
   * Whether there is more to do at once. What was taken and finished leaves nothing behind; what
   * was submitted or has completed may.
   */
  #again(): boolean {
    return this.#hasFollowUps || this.#rings.hasWork();
  }

  /** Polls for as long as the policy says; true when there is something to do. */
  #poll(): boolean {
    const windowUs = this.#rings.mustPoll() ? Infinity : this.#policy.us;
    if (windowUs === 0 || this.#rings.running.length === 0) return false;
    this.#rings.notify();
    this.#rings.disableNotifications();
    bump(this.#counters, COUNTER.polls);
    const startUs = monotonicUs();
    this.#policy.waitBegins(startUs, this.#requests);
    for (let polls = 1; ; polls++) {
      if (this.#rings.hasWork() || this.#reactor.hasWork() || this.#orderWaits()) {
        this.#policy.caught(monotonicUs() - startUs);
        return true;
      }
      if (polls % POLLS_PER_CLOCK !== 0) continue;
      const nowUs = monotonicUs();
      if (this.#reactor.timerIsDue(nowUs)) return true; // a ring without a kick is polled for ever
      if (nowUs - startUs >= windowUs) return false;
    }
  }

  /** Sleeps until a kick, a completion, an fd, a timer or an order. */
  #sleep(): void {
    // Enable, then look once more: a driver that added a chain in between saw the rings silent.
    if (this.#rings.enableNotifications() || this.#orderWaits() || this.#kicked) {
      this.#rings.notify();
      return;
    }
    bump(this.#counters, COUNTER.sleeps);
    this.#rings.notifyBy(this.#signalByWait);
    const { isBlind } = this.#policy; // then nobody asks how long it was
    const startUs = isBlind ? 0 : monotonicUs();
    if (!isBlind && this.#policy.us === 0) this.#policy.waitBegins(startUs, this.#requests);
    this.#reactor.wait(-1);
    this.#rings.disableNotifications(); // awake until the rings are empty: kicks would be in vain
    this.#policy.slept(isBlind ? 0 : monotonicUs() - startUs);
  }

  #orderWaits(): boolean {
    return Atomics.load(this.#ordersSent, 0) !== this.#ordersTaken;
  }

  #takeOrders(): void {
    while (this.#orderWaits()) {
      const numbered = this.#port.receive();
      if (numbered === undefined) return; // counted, and not yet in the port: it comes in a moment
      this.#ordersTaken = (this.#ordersTaken + 1) | 0;
      try {
        const result = this.#carryOut(numbered.order);
        this.#port.send({ kind: 'done', id: numbered.id, result });
      } catch (error) {
        const text = errorMessage(error);
        this.#port.send({ kind: 'log', level: 'error', text });
        this.#port.send({ kind: 'refused', id: numbered.id, error });
      }
    }
  }

  #carryOut(order: WorkerOrder): unknown {
    switch (order.kind) {
      case 'features':
        this.#plane.featuresNegotiated?.(order.features);
        return undefined;
      case 'memory':
        for (const ring of this.#rings.running) this.#rings.pause(ring);
        this.#drain(this.#rings.running);
        this.#rings.setMemory(order.regions, order.placements);
        for (const ring of this.#rings.running) this.#rings.resume(ring);
        this.#kicked = true;
        return undefined;
      case 'start':
        this.#start(order.start);
        return undefined;
      case 'stop':
        return this.#stop(this.#rings.ring(order.index));
      case 'enable':
        this.#rings.ring(order.index).enabled = order.enabled;
        this.#kicked = true;
        return undefined;
      case 'fd':
        this.#replaceFd(this.#rings.ring(order.index), order.which, order.fd);
        return undefined;
      case 'kick':
        this.#kicked = true;
        return undefined;
      case 'control':
        this.#plane.control?.(order.message);
        return undefined;
      case 'close':
        for (const ring of [...this.#rings.running]) this.#stop(ring);
        this.#closing = true;
        return undefined;
    }
  }

  #start(start: RingStart): void {
    const ring = this.#rings.start(start);
    try {
      const watch = this.#watchKick(ring, ring.kick);
      if (watch !== null) this.#kickWatches.set(ring, watch);
    } catch (error) {
      this.#rings.finish(ring);
      throw error;
    }
    this.#kicked = true; // started by SET_VRING_KICK: chains may wait already, kicked or not
  }

  #stop(ring: RunningRing): RingState {
    this.#rings.pause(ring);
    this.#drain([ring]);
    this.#unwatchKick(ring);
    return this.#rings.finish(ring);
  }

  /**
   * Goes on, without taking orders, until these rings have nothing in flight; others are served.
   */
  #drain(rings: readonly RunningRing[]): void {
    const endUs = monotonicUs() + FAILED_DRAIN_MS * 1000;
    while (inFlightOf(rings) > 0) {
      const done = this.#turn();
      this.#rings.notify();
      if (done > 0 || inFlightOf(rings) === 0) continue;
      const failed = rings.some((ring) => ring.deviceFailed);
      if (failed && monotonicUs() > endUs && abandonFailed(rings)) break;
      if (!this.#rings.enableNotifications()) this.#reactor.wait(failed ? FAILED_LOOK_US : -1);
    }
    this.#rings.publish();
    this.#rings.notify();
  }

  #replaceFd(ring: RunningRing, which: 'kick' | 'call' | 'err', fd: number): void {
    if (which === 'kick') {
      const kick = fd < 0 ? null : NotifierConsumer.ofPeer(fd);
      const watch = this.#watchKick(ring, kick); // before the old one is let go: this may fail
      this.#unwatchKick(ring);
      ring.kick?.close();
      ring.kick = kick;
      if (watch !== null) this.#kickWatches.set(ring, watch);
      this.#kicked = true;
      return;
    }
    ring[which]?.close();
    const notifier = fd < 0 ? null : Notifier.ofPeer(fd);
    ring[which] = notifier;
    // What was completed before the front-end could hear of it must not stay unheard.
    if (which === 'call') notifier?.signal();
  }

  /** The watch of a kick that is or becomes the ring's; one that cannot be watched is closed. */
  #watchKick(ring: RunningRing, kick: NotifierConsumer | null): ReactorWatch | null {
    if (kick === null) return null;
    try {
      return this.#reactor.watchNotifier(kick, (signalled) => {
        bump(this.#counters, COUNTER.kicks);
        // A front-end that is gone leaves the read end of its pipe readable for ever.
        if (signalled < 0) this.#unwatchKick(ring);
      });
    } catch (error) {
      kick.close();
      throw error;
    }
  }

  #unwatchKick(ring: RunningRing): void {
    this.#kickWatches.get(ring)?.close();
    this.#kickWatches.delete(ring);
  }
}

function bump(counters: Float64Array, slot: number): void {
  counters[slot] = (counters[slot] as number) + 1;
}
