/**
 * A queue of a session: its ring in shared memory, and the three notifiers that go with it.
 *
 * @module
 */
import { assert } from '../util/index.ts';
import { READABLE, createNotifier, watchFd } from '../sys/index.ts';
import type { Notifier, NotifierConsumer, Watch } from '../sys/index.ts';
import { DriverRing, splitRingLayout } from '../virtqueue/index.ts';
import type { DriverRingConfig } from '../virtqueue/index.ts';
import type { SharedMemory, SharedRange } from './shared-memory.ts';

const RING_ALIGN_BYTES = 4096; // more than a ring needs; some back-ends have asked for whole pages

/** What a queue is to be like. */
export interface QueueSpec {
  readonly index: number;
  /** Entries of its ring: a power of two. */
  readonly size: number;
  /** The longest indirect chain; 0 and no INDIRECT_DESC: chains are direct. */
  readonly indirectMax?: number;
}

/** Both ends of a notifier. */
interface BothEnds {
  readonly notifier: Notifier;
  readonly consumer: NotifierConsumer;
}

/** Addresses of a ring in the numbering that the back-end expects. */
export interface RingAddresses {
  readonly desc: number;
  readonly used: number;
  readonly avail: number;
}

/**
 * One queue, made by `FrontendSession.startQueue`. Its driver side may be used here (`ring`), or
 * anywhere else in this process, by the plain data of `config` and the `kickFd`; not both.
 */
export class FrontendQueue {
  readonly index: number;
  readonly size: number;
  /** For a {@link DriverRing}, here or on a worker thread. */
  readonly config: DriverRingConfig;
  readonly #memory: SharedMemory;
  readonly #range: SharedRange;
  readonly #availOffset: number;
  readonly #usedOffset: number;
  readonly #kick: BothEnds;
  readonly #call: BothEnds;
  readonly #err: BothEnds;
  readonly #errWatch: Watch;
  #callWatch: Watch | null = null;
  #ring: DriverRing | null = null;
  #open = true;

  /** Makes the ring in `memory`, empty, and its notifiers. */
  constructor(memory: SharedMemory, spec: QueueSpec, features: bigint, onError: () => void) {
    const indirectMax = spec.indirectMax ?? 0;
    const layout = splitRingLayout(spec.size, indirectMax);
    const range = memory.allocate(layout.totalBytes, RING_ALIGN_BYTES);
    new Uint8Array(memory.view(range)).fill(0);
    this.index = spec.index;
    this.size = spec.size;
    this.#memory = memory;
    this.#range = range;
    this.#availOffset = layout.availOffset;
    this.#usedOffset = layout.usedOffset;
    const at = layout.tablesOffset;
    const tables = { gpa: range.gpa + at, hva: range.hva + at, descriptorsMax: indirectMax };
    this.config = {
      index: spec.index,
      size: spec.size,
      features,
      descHva: range.hva,
      availHva: range.hva + layout.availOffset,
      usedHva: range.hva + layout.usedOffset,
      ...(indirectMax > 0 ? { indirect: tables } : {}),
    };
    const ends: BothEnds[] = [];
    try {
      for (let i = 0; i < 3; i++) ends.push(createNotifier());
    } catch (error) {
      closeEnds(ends);
      memory.release(range);
      throw error;
    }
    [this.#kick, this.#call, this.#err] = ends as [BothEnds, BothEnds, BothEnds];
    this.#errWatch = watchFd(this.#err.consumer.fd, READABLE, () => {
      if (this.#err.consumer.drain() < 0) this.#errWatch.close();
      else onError();
    });
    this.#errWatch.unref();
  }

  /** The driver side, made at the first use. */
  get ring(): DriverRing {
    return (this.#ring ??= new DriverRing(this.config));
  }

  /** Our end of the kick, borrowed until the queue is closed. */
  get kickFd(): number {
    return this.#kick.notifier.fd;
  }

  /** The back-end's ends, to be sent to it; borrowed. */
  get peerFds(): { readonly kick: number; readonly call: number; readonly err: number } {
    return {
      kick: this.#kick.consumer.fd,
      call: this.#call.notifier.fd,
      err: this.#err.notifier.fd,
    };
  }

  /** The ring's parts, as uva or as gpa. */
  addresses(kind: 'uva' | 'gpa'): RingAddresses {
    const base = kind === 'uva' ? this.#range.hva : this.#range.gpa;
    return { desc: base, used: base + this.#usedOffset, avail: base + this.#availOffset };
  }

  /** Tells the back-end to look at the ring, whether it asked for that or not. */
  kick(): void {
    this.#kick.notifier.signal();
  }

  /** Publishes what was added to `ring`, and kicks when the back-end wants it. */
  publish(): void {
    if (this.ring.publish()) this.kick();
  }

  /**
   * Calls `onCall` on the event loop when the back-end notifies; the session keeps the process
   * alive.
   */
  watchCalls(onCall: () => void): void {
    assert(this.#callWatch === null, 'the calls of a queue are watched once');
    const { consumer } = this.#call;
    const watch = watchFd(consumer.fd, READABLE, () => {
      if (consumer.drain() < 0) watch.close();
      onCall();
    });
    watch.unref();
    this.#callWatch = watch;
  }

  /**
   * Closes the notifiers and gives the ring's memory back; may be called again.
   * SAFETY: the back-end has stopped the ring, or is gone, and no driver uses it any more.
   */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#callWatch?.close();
    this.#errWatch.close();
    closeEnds([this.#kick, this.#call, this.#err]);
    this.#memory.release(this.#range);
  }
}

function closeEnds(list: readonly BothEnds[]): void {
  for (const { notifier, consumer } of list) {
    notifier.close();
    consumer.close();
  }
}
