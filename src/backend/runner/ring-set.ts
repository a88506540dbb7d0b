/**
 * The running rings of one thread: serving them in rounds, publishing, notifying, breaking. Used by
 * both runners; knows nothing of threads, of sleeping or of control messages.
 *
 * @module
 */
import { assert, errorMessage } from '../../util/index.ts';
import { Notifier, NotifierConsumer } from '../../sys/index.ts';
import { GuestMemory } from '../../memory/index.ts';
import type { MemoryRegion } from '../../memory/index.ts';
import { SplitVirtqueue } from '../../virtqueue/index.ts';
import type { RingPlacement, RingState, VirtqueueFault } from '../../virtqueue/index.ts';
import { COUNTER } from '../device.ts';
import type { DataPlane } from '../device.ts';
import type { RingStart } from './queue-runner.ts';

/** Chains taken from one ring in one round, so that a busy ring neither starves another nor delays
 * the completions of its own first requests. */
const CHAINS_PER_ROUND_MAX = 32;

/**
 * Chains after which a driver that polls may see what was completed: it works on these while we
 * work on the next.
 */
const CHAINS_PER_PUBLISH = 4;

/** VIRTIO_F_VERSION_1 (virtio 1.3, section 6). */
const VIRTIO_F_VERSION_1 = 1n << 32n;

/** How long a device that failed may take to give back what it holds, before that is forgotten. */
export const FAILED_DRAIN_MS = 1000;

/** One running ring with its notifiers. */
export interface RunningRing {
  readonly queue: SplitVirtqueue;
  kick: NotifierConsumer | null;
  call: Notifier | null;
  err: Notifier | null;
  enabled: boolean;
  /** Its driver is no legacy one: VIRTIO_F_VERSION_1 was negotiated. */
  readonly modern: boolean;
  /** Takes nothing new: it is being stopped, or everything is being drained. */
  paused: boolean;
  faultReported: boolean;
  /** The device threw: what it holds of this ring may never come back. */
  deviceFailed: boolean;
  /** The driver wants to hear of what was published, and was not notified yet. */
  callDue: boolean;
}

/** The rings of one thread. */
export class RingSet {
  /** The running rings, for loops; in the order in which they were started. */
  readonly running: RunningRing[] = [];
  #memory: GuestMemory = new GuestMemory([]);
  readonly #plane: DataPlane;
  readonly #counters: Float64Array;
  readonly #onFault: (index: number, fault: VirtqueueFault) => void;
  #callsDue = 0;

  constructor(
    plane: DataPlane,
    counters: Float64Array,
    onFault: (index: number, fault: VirtqueueFault) => void,
  ) {
    this.#plane = plane;
    this.#counters = counters;
    this.#onFault = onFault;
  }

  /** The running ring of this index. */
  ring(index: number): RunningRing {
    const ring = this.running.find((each) => each.queue.index === index);
    assert(ring !== undefined, 'the session addresses running rings only');
    return ring;
  }

  /** Replaces the memory; nothing is in flight. */
  setMemory(regions: readonly MemoryRegion[], placements: readonly RingPlacement[]): void {
    this.#memory = new GuestMemory(regions);
    for (const placement of placements) {
      this.ring(placement.index).queue.relocate(placement, this.#memory);
    }
  }

  /** Starts a ring and takes over its fds. */
  start(start: RingStart): RunningRing {
    const ring: RunningRing = {
      queue: new SplitVirtqueue(start.config, this.#memory),
      kick: start.kickFd < 0 ? null : NotifierConsumer.ofPeer(start.kickFd),
      call: start.callFd < 0 ? null : Notifier.ofPeer(start.callFd),
      err: start.errFd < 0 ? null : Notifier.ofPeer(start.errFd),
      enabled: start.enabled,
      modern: (start.config.features & VIRTIO_F_VERSION_1) !== 0n,
      paused: false,
      faultReported: false,
      deviceFailed: false,
      callDue: false,
    };
    this.running.push(ring);
    this.#tellStarted(ring);
    return ring;
  }

  /** Takes nothing more from a ring; its device is asked to finish what it holds. */
  pause(ring: RunningRing): void {
    ring.paused = true;
    try {
      this.#plane.queueStopping?.(ring.queue);
    } catch (error) {
      failed(ring, error);
    }
  }

  /** Goes on with a ring that was paused and is not stopped after all. */
  resume(ring: RunningRing): void {
    ring.paused = false;
    this.#tellStarted(ring);
  }

  /** Ends a ring that has nothing in flight, closes its fds and returns its indices. */
  finish(ring: RunningRing): RingState {
    assert(ring.queue.inFlight === 0, 'a ring ends when nothing is in flight');
    this.#publish(ring);
    this.notify();
    leaveKick(ring);
    this.running.splice(this.running.indexOf(ring), 1);
    ring.kick?.close();
    ring.call?.close();
    ring.err?.close();
    return ring.queue.savedState();
  }

  /** Gives waiting chains to the data plane; returns how many it took. */
  serve(): number {
    let taken = 0;
    for (let i = 0; i < this.running.length; i++) {
      const ring = this.running[i] as RunningRing;
      if (!ring.paused) taken += this.#serveRing(ring);
    }
    return taken;
  }

  /** Shows what was completed to the drivers; `notify` is to follow. */
  publish(): void {
    for (let i = 0; i < this.running.length; i++) this.#publish(this.running[i] as RunningRing);
  }

  /** Notifies the drivers that want to hear of what was published. */
  notify(): void {
    this.notifyBy(signalNow);
  }

  /** As `notify`, with the call fd signalled by somebody else, who does it soon. */
  notifyBy(signal: (call: Notifier) => void): void {
    if (this.#callsDue === 0) return;
    this.#callsDue = 0;
    for (let i = 0; i < this.running.length; i++) {
      const ring = this.running[i] as RunningRing;
      if (!ring.callDue) continue;
      ring.callDue = false;
      if (ring.call === null) continue;
      this.#count(COUNTER.calls);
      signal(ring.call);
    }
  }

  /** Whether a ring has something to take; for a polling loop. */
  hasWork(): boolean {
    for (let i = 0; i < this.running.length; i++) {
      const ring = this.running[i] as RunningRing;
      if (ring.queue.hasAvailable(this.#patience(ring)) && canServe(ring, this.#plane)) return true;
    }
    return false;
  }

  /** Asks all drivers for notifications; true when something came in meanwhile. */
  enableNotifications(): boolean {
    let more = false;
    for (let i = 0; i < this.running.length; i++) {
      const ring = this.running[i] as RunningRing;
      if (!canServe(ring, this.#plane)) continue;
      if (ring.queue.enableNotifications(this.#patience(ring))) more = true;
    }
    return more;
  }

  /** Asks all drivers to be quiet. */
  disableNotifications(): void {
    for (let i = 0; i < this.running.length; i++) {
      (this.running[i] as RunningRing).queue.disableNotifications();
    }
  }

  /** Whether some ring has no kick fd (SET_VRING_KICK without one), so that it has to be polled. */
  mustPoll(): boolean {
    for (let i = 0; i < this.running.length; i++) {
      const ring = this.running[i] as RunningRing;
      if (ring.kick !== null || ring.queue.fault !== null) continue;
      if (canServe(ring, this.#plane)) return true;
    }
    return false;
  }

  /** How many chains may wait before any is served. */
  #patience({ queue }: RunningRing): number {
    return this.#plane.patience?.(queue) ?? 0;
  }

  #serveRing(ring: RunningRing): number {
    const { queue } = ring;
    if (queue.fault !== null) return 0;
    const patience = this.#patience(ring);
    if (patience > 0 && !queue.hasAvailable(patience)) return 0;
    let taken = 0;
    try {
      while (taken < CHAINS_PER_ROUND_MAX) {
        const count = ring.enabled
          ? this.#plane.serve(queue, CHAINS_PER_PUBLISH)
          : (this.#plane.serveDisabled?.(queue, CHAINS_PER_PUBLISH) ?? 0);
        taken += count;
        if (count < CHAINS_PER_PUBLISH) break;
        if (queue.publishQuietly()) {
          this.#setCallDue(ring);
          this.notify();
        }
      }
    } catch (error) {
      failed(ring, error);
    }
    return taken;
  }

  #tellStarted(ring: RunningRing): void {
    try {
      this.#plane.queueStarted?.(ring.queue);
    } catch (error) {
      failed(ring, error);
    }
  }

  #publish(ring: RunningRing): void {
    if (ring.queue.publish()) this.#setCallDue(ring);
    if (ring.queue.fault !== null && !ring.faultReported) this.#report(ring, ring.queue.fault);
  }

  #setCallDue(ring: RunningRing): void {
    if (ring.callDue) return;
    ring.callDue = true;
    this.#callsDue++;
  }

  #report(ring: RunningRing, fault: VirtqueueFault): void {
    ring.faultReported = true;
    this.#count(COUNTER.guestFaults);
    ring.err?.signal();
    this.#onFault(ring.queue.index, fault);
  }

  #count(slot: number): void {
    this.#counters[slot] = (this.#counters[slot] as number) + 1;
  }
}

/** Chains of these rings that the data plane holds. */
export function inFlightOf(rings: readonly RunningRing[]): number {
  let count = 0;
  for (const ring of rings) count += ring.queue.inFlight;
  return count;
}

/** Forgets what a device that failed holds; true when nothing else is in flight on these rings. */
export function abandonFailed(rings: readonly RunningRing[]): boolean {
  for (const ring of rings) if (ring.deviceFailed) ring.queue.abandon();
  return inFlightOf(rings) === 0;
}

/**
 * Leaves the notifier of a ring that ends as who serves it next has to find it. We look at a ring
 * when it starts, but others wait for a kick; the one for chains that wait has come already, and
 * was heard, perhaps while the device was full or the ring disabled, so no other would come.
 */
function leaveKick({ queue, kick, modern }: RunningRing): void {
  // Whoever serves it next may rely on kicks without having asked for them, too.
  const waiting = queue.enableNotifications();
  // A kick that was heard, or came for nothing, may still be in it. A front-end that takes the
  // queue back would take it for a new one: QEMU starts the device of a legacy driver by it, and
  // so gets none, whatever waits: a queue of QEMU is kicked by itself when it starts again.
  if (!waiting || !modern) kick?.drain(true);
  // Looked at once more, after the draining: a driver may have kicked in between.
  if (modern && queue.hasAvailable()) kick?.putBack();
}

/** A mistake in a device must not end the thread that serves the other queues. */
function failed(ring: RunningRing, error: unknown): void {
  const { queue } = ring;
  ring.deviceFailed = true;
  queue.breakRing({
    code: 'ERR_VHU_DEVICE',
    message: `queue ${String(queue.index)}: the device failed: ${errorMessage(error)}`,
  });
}

function signalNow(call: Notifier): void {
  call.signal();
}

function canServe(ring: RunningRing, plane: DataPlane): boolean {
  if (ring.paused || plane.full?.(ring.queue) === true) return false;
  return ring.enabled || plane.serveDisabled !== undefined;
}
