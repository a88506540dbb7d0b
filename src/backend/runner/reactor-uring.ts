/**
 * A worker's reactor over io_uring: file I/O and the readiness of fds complete in the same ring, so
 * that handing over a batch and going to sleep is one system call.
 *
 * @module
 */
import { assert } from '../../util/index.ts';
import { ERRNO, READABLE, fdKind } from '../../sys/index.ts';
import type { Notifier, NotifierConsumer, Uring } from '../../sys/index.ts';
import type { ReactorTimer, ReactorWatch } from '../device.ts';
import { TimerList } from './reactor.ts';
import type { WatchSlot, WorkerReactor } from './reactor.ts';

/** `userData` is `receiver << 20 | slot`; receiver 0 is the readiness of fds, 1 what is ignored. */
const SLOTS_PER_RECEIVER = 2 ** 20;
const RECEIVER_IGNORED = 1;
const RECEIVERS_MAX = 4096;
const IGNORED = RECEIVER_IGNORED * SLOTS_PER_RECEIVER;

const ECANCELED = ERRNO.ECANCELED as number;

/** Given to `ready` for an fd that cannot be polled; the value of POLLERR on every host. */
const POLL_ERROR = 8;

/** A watched fd and its poll request in the kernel. */
interface UringSlot extends WatchSlot {
  /** A poll request is under way; the slot is not used again before it has ended. */
  armed: boolean;
  /** The request goes on after it has completed: the fd is not looked at, but heard. */
  readonly multishot: boolean;
}

/** See the module. */
export class UringReactor implements WorkerReactor {
  readonly kind = 'io_uring';
  readonly uring: Uring;
  readonly #slots: (UringSlot | undefined)[] = [];
  readonly #unarmed: number[] = []; // keys of slots that have to be armed before the next sleep
  readonly #uncancelled: number[] = []; // keys whose cancelling found no room
  readonly #receivers: ((slot: number, result: number) => void)[];
  readonly #freeKeys: number[] = []; // of slots that are not used now
  readonly #timers = new TimerList();
  #more = false; // the completion that is being dispatched is not its request's last

  constructor(uring: Uring) {
    this.uring = uring;
    this.#receivers = [(key, result) => this.#ready(key, result), () => undefined];
  }

  onCompletion(receive: (slot: number, result: number) => void): number {
    assert(this.#receivers.length < RECEIVERS_MAX, 'a reactor has at most 4096 receivers');
    this.#receivers.push(receive);
    return (this.#receivers.length - 1) * SLOTS_PER_RECEIVER;
  }

  watch(fd: number, events: number, ready: (events: number) => void): ReactorWatch {
    return this.#watch(fd, events, ready, false);
  }

  watchNotifier(consumer: NotifierConsumer, signalled: (signals: number) => void): ReactorWatch {
    // Each write to an eventfd wakes who waits for it, whatever its count: no need to drain it, nor
    // to ask again. A pipe would fill up.
    const multishot = fdKind(consumer.fd) === 'other';
    const ready = (events: number): void => {
      const heard = multishot && (events & READABLE) !== 0;
      signalled(heard ? 1 : consumer.drain());
    };
    return this.#watch(consumer.fd, READABLE, ready, multishot);
  }

  #watch(
    fd: number,
    events: number,
    ready: (events: number) => void,
    multishot: boolean,
  ): ReactorWatch {
    const key = this.#freeKeys.pop() ?? this.#slots.length;
    const slot: UringSlot = {
      fd,
      events,
      ready,
      closed: false,
      armed: false,
      multishot,
      setEvents: (next) => {
        if (slot.closed || next === slot.events) return;
        slot.events = next;
        if (slot.armed) this.#cancel(key);
        else this.#unarmed.push(key);
      },
      close: () => {
        if (slot.closed) return;
        slot.closed = true;
        if (slot.armed) this.#cancel(key);
        else this.#release(key);
      },
    };
    this.#slots[key] = slot;
    this.#unarmed.push(key);
    return slot;
  }

  after(ms: number, fire: () => void): ReactorTimer {
    return this.#timers.after(ms, fire);
  }

  turn(look: boolean): number {
    if (look) this.#arm();
    this.uring.submit();
    return this.#dispatch() + this.#timers.fireDue();
  }

  hasWork(): boolean {
    if (this.#unarmed.length > 0) {
      this.#arm();
      this.uring.submit();
    }
    return this.uring.pending() > 0;
  }

  timerIsDue(nowUs: number): boolean {
    return this.#timers.isDue(nowUs);
  }

  signalByWait(notifier: Notifier): void {
    if (!this.uring.prepSignal(notifier.fd, IGNORED)) notifier.signal();
  }

  wait(timeoutUs: number): void {
    this.#arm();
    // What found no room is not heard: then completions are taken, to make some, and no sleep.
    const isDeaf = this.#unarmed.length > 0 || this.#uncancelled.length > 0;
    this.uring.submitAndWait(1, isDeaf ? 0 : this.#timers.timeoutUs(timeoutUs));
    this.#dispatch();
    this.#timers.fireDue();
  }

  close(): void {
    this.uring.close();
  }

  /** Takes all completions that are there; returns how many. */
  #dispatch(): number {
    const { uring } = this;
    const count = uring.pending();
    for (let i = 0; i < count; i++) {
      const userData = uring.userDataAt(i);
      const result = uring.resultAt(i);
      this.#more = uring.hasMoreAt(i);
      const receiver = Math.floor(userData / SLOTS_PER_RECEIVER);
      const receive = this.#receivers[receiver] as (slot: number, result: number) => void;
      receive(userData % SLOTS_PER_RECEIVER, result);
    }
    if (count > 0) uring.advance(count);
    return count;
  }

  /** A poll request ended: with events, or with an error such as ECANCELED. */
  #ready(key: number, result: number): void {
    const slot = this.#slots[key];
    if (slot === undefined) return;
    slot.armed = this.#more;
    if (slot.closed) {
      if (!slot.armed) this.#release(key);
      return;
    }
    if (slot.armed) {
      slot.ready(result);
    } else if (result >= 0 || result === -ECANCELED) {
      this.#unarmed.push(key);
      if (result > 0) slot.ready(result);
    } else {
      // The fd cannot be polled (EBADF …): arming it again would fail again, and without end.
      slot.ready(POLL_ERROR);
    }
  }

  #release(key: number): void {
    this.#slots[key] = undefined;
    this.#freeKeys.push(key);
  }

  /**
   * Asks for what is to be heard. The queue may be full after it was submitted, too: a kernel that
   * is short of memory, or wants its completions to be taken, takes nothing. The rest waits then.
   */
  #arm(): void {
    while (this.#uncancelled.length > 0) {
      if (!this.#prepareCancel(this.#uncancelled[0] as number)) return;
      this.#uncancelled.shift();
    }
    while (this.#unarmed.length > 0) {
      const key = this.#unarmed.pop() as number;
      const slot = this.#slots[key];
      if (slot === undefined || slot.closed || slot.armed || slot.events === 0) continue;
      slot.armed = this.uring.prepPollAdd(slot.fd, slot.events, key, slot.multishot);
      if (slot.armed) continue;
      this.uring.submit();
      slot.armed = this.uring.prepPollAdd(slot.fd, slot.events, key, slot.multishot);
      if (slot.armed) continue;
      this.#unarmed.push(key);
      return;
    }
  }

  #cancel(key: number): void {
    if (!this.#prepareCancel(key)) this.#uncancelled.push(key);
  }

  /** One that comes too late, for a slot that is another's by then, has that one armed anew. */
  #prepareCancel(key: number): boolean {
    const userData = RECEIVER_IGNORED * SLOTS_PER_RECEIVER;
    if (this.uring.prepCancel(key, userData)) return true;
    this.uring.submit();
    return this.uring.prepCancel(key, userData);
  }
}
