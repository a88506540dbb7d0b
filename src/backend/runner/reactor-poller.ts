/**
 * A worker's reactor over a poller (epoll, poll, kqueue), for hosts without io_uring.
 *
 * @module
 */
import { assert } from '../../util/index.ts';
import { READABLE, createPoller } from '../../sys/index.ts';
import type { Notifier, NotifierConsumer, Poller } from '../../sys/index.ts';
import type { ReactorTimer, ReactorWatch } from '../device.ts';
import { TimerList } from './reactor.ts';
import type { WatchSlot, WorkerReactor } from './reactor.ts';

/**
 * In a polling loop the fds are looked at once in so many turns, since each look is a system call.
 */
const TURNS_PER_POLL = 64;

/** See the module. */
export class PollerReactor implements WorkerReactor {
  readonly uring = null;
  readonly #poller: Poller = createPoller();
  readonly kind: string = this.#poller.kind;
  readonly #slots: (WatchSlot | undefined)[] = [];
  readonly #freeKeys: number[] = []; // of slots that are not used now
  /** To be free after a dispatch, in which there may be an event for the fd that was closed. */
  readonly #retiredKeys: number[] = [];
  readonly #timers = new TimerList();
  #turnsUntilPoll = TURNS_PER_POLL;

  onCompletion(): number {
    assert(false, 'a data plane looks at reactor.uring before it uses it');
  }

  watch(fd: number, events: number, ready: (events: number) => void): ReactorWatch {
    const key = this.#freeKeys.pop() ?? this.#slots.length;
    const slot: WatchSlot = {
      fd,
      events,
      ready,
      closed: false,
      setEvents: (next) => {
        if (slot.closed || next === slot.events) return;
        slot.events = next;
        this.#poller.modify(fd, key, next);
      },
      close: () => {
        if (slot.closed) return;
        slot.closed = true;
        this.#poller.remove(fd);
        this.#slots[key] = undefined;
        this.#retiredKeys.push(key);
      },
    };
    this.#slots[key] = slot;
    try {
      this.#poller.add(fd, key, events);
    } catch (error) {
      slot.close = () => undefined; // an fd that cannot be polled is not in the set
      this.#slots[key] = undefined;
      this.#freeKeys.push(key);
      throw error;
    }
    return slot;
  }

  watchNotifier(consumer: NotifierConsumer, signalled: (signals: number) => void): ReactorWatch {
    return this.watch(consumer.fd, READABLE, () => signalled(consumer.drain()));
  }

  after(ms: number, fire: () => void): ReactorTimer {
    return this.#timers.after(ms, fire);
  }

  turn(look: boolean): number {
    const ready = look ? this.#dispatch(this.#poller.wait(0)) : 0;
    return ready + this.#timers.fireDue();
  }

  hasWork(): boolean {
    if (--this.#turnsUntilPoll > 0) return false;
    this.#turnsUntilPoll = TURNS_PER_POLL;
    return this.#dispatch(this.#poller.wait(0)) > 0;
  }

  timerIsDue(nowUs: number): boolean {
    return this.#timers.isDue(nowUs);
  }

  signalByWait(notifier: Notifier): void {
    notifier.signal();
  }

  wait(timeoutUs: number): void {
    this.#dispatch(this.#poller.wait(this.#timers.timeoutUs(timeoutUs)));
    this.#timers.fireDue();
  }

  close(): void {
    this.#poller.close();
  }

  #dispatch(ready: number): number {
    for (let i = 0; i < ready; i++) {
      const slot = this.#slots[this.#poller.readyKey(i)];
      const events = this.#poller.readyEvents(i);
      if (slot !== undefined && !slot.closed) slot.ready(events);
    }
    while (this.#retiredKeys.length > 0) this.#freeKeys.push(this.#retiredKeys.pop() as number);
    return ready;
  }
}
