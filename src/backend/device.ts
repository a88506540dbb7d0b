/**
 * What a device is to a back-end: a control side on the main thread, and a data plane that serves
 * virtqueues, on a worker thread or on the event loop. A device knows queues and guest memory,
 * never a socket or a message.
 *
 * @module
 */
import type { Uring } from '../sys/index.ts';
import type { Virtqueue } from '../virtqueue/index.ts';

/** The control side of a device. Its methods run on the main thread, one at a time. */
export interface Device {
  /** For people: `blk`, `console`, … */
  readonly name: string;
  /** The virtio device id (virtio 1.3, section 5). */
  readonly deviceId: number;
  readonly queueCount: number;
  /** The largest ring that a front-end may set up; a power of two. */
  readonly queueSizeMax: number;
  /** Device feature bits; the back-end adds VERSION_1, INDIRECT_DESC, EVENT_IDX and its own. */
  readonly features: bigint;
  /** Protocol features beyond those of every device (rare). */
  readonly protocolFeatures?: bigint;
  /** Protocol features of every device that this one does not offer (rare). */
  readonly withheldProtocolFeatures?: bigint;
  /** Where the data plane runs and how it is made. */
  readonly dataPlane: WorkerDataPlane | LocalDataPlane;
  /** The whole configuration space as it is now; a copy that the caller owns. */
  readConfig(): Uint8Array;
  /**
   * The driver (or a migration) writes to the configuration space; the range is inside of it.
   * @throws VhostUserError to refuse it.
   */
  writeConfig?(offset: number, bytes: Uint8Array, kind: 'driver' | 'migration'): void;
  /**
   * The features that are in force from now on.
   * @throws VhostUserError to refuse them; it is then called with those that are in force still,
   *   0n when there were none.
   */
  featuresNegotiated?(features: bigint): void;
  /**
   * The driver reset the device, or the front-end went away: all queues are stopped. Nothing can
   * refuse that: should it throw, the rest of the reset has been done all the same.
   */
  reset?(): void;
  /** The front-end went away, after `reset`: all queues are stopped. */
  disconnected?(): void;
  /** A message of `DataPlaneContext.tell`. */
  told?(message: unknown): void;
  /** Called once by the back-end, before the first session. */
  attach(link: DeviceLink): void;
  /** Called once, after the last session. */
  close(): Promise<void> | void;
}

/** What a device may ask of its back-end. */
export interface DeviceLink {
  /** Sends a structured-cloneable message to `control` of every data plane of this device. */
  post(message: unknown): void;
  /** Tells the front-end, when one is there and listens, that the configuration space changed. */
  configChanged(): void;
}

/** A data plane on worker threads, for devices that do I/O. */
export interface WorkerDataPlane {
  readonly kind: 'worker';
  /** A module that exports `createDataPlane`, a {@link DataPlaneFactory}. */
  readonly module: URL;
  /** Handed to the factory as `context.options`; structured-cloneable. */
  readonly options: unknown;
  /** Worker threads; queue `i` belongs to thread `i % threads`. */
  readonly threads: number;
  /** The longest time to poll the rings before sleeping, in microseconds; 0 never polls. */
  readonly pollUs: number;
}

/**
 * A data plane on the event loop of the main thread, for slow devices and asynchronous handlers.
 */
export interface LocalDataPlane {
  readonly kind: 'local';
  readonly create: DataPlaneFactory;
}

/** Makes the data plane of one thread. */
export type DataPlaneFactory = (context: DataPlaneContext) => DataPlane | Promise<DataPlane>;

/** What a data plane gets from its runner. */
export interface DataPlaneContext {
  /** The `options` of {@link WorkerDataPlane}; undefined on the event loop. */
  readonly options: unknown;
  readonly reactor: Reactor;
  /** This thread's counters, by the slots of `COUNTER`; this thread is the only writer. */
  readonly counters: Float64Array;
  log(level: LogLevel, text: string): void;
  /** Sends a structured-cloneable message to `told` of the device. */
  tell(message: unknown): void;
  /** To be called after a `push` outside of `serve` and of a completion: publishes and notifies. */
  flush(): void;
}

/** How much a line of the log matters. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** A timer of {@link Reactor.after}. */
export interface ReactorTimer {
  cancel(): void;
}

/** A file descriptor that a data plane watches. */
export interface ReactorWatch {
  /** `READABLE`, `WRITABLE`, both or 0. */
  setEvents(events: number): void;
  /** Stops watching; the fd stays open and the caller's. */
  close(): void;
}

/** Where a data plane waits for things other than its queues. */
export interface Reactor {
  /** For file I/O; null where the host has none. The runner submits it at the end of each round. */
  readonly uring: Uring | null;
  /**
   * Registers a receiver of completions of `uring`. Returns the base of its `userData`: prepare
   * with `base + slot`, where `slot` < 2^20, and get `slot` back with the result (bytes, or
   * -errno).
   */
  onCompletion(receive: (slot: number, result: number) => void): number;
  /** Calls `ready` whenever the fd is ready, level-triggered. */
  watch(fd: number, events: number, ready: (events: number) => void): ReactorWatch;
  /** Calls `fire` once, not before `ms` milliseconds have gone. */
  after(ms: number, fire: () => void): ReactorTimer;
}

/**
 * The device's side of the queues of one thread. None of its methods may block or throw: a queue
 * whose method throws is broken, as if the guest had done it.
 */
export interface DataPlane {
  /**
   * Takes up to `budget` chains, and finishes them or starts what they ask for. Returns how many
   * were taken. The runner publishes and notifies afterwards.
   */
  serve(queue: Virtqueue, budget: number): number;
  /**
   * Whether `serve` would take nothing of this queue now although chains wait. Whatever ends that
   * (a completion, or something from the host with a call of `flush`) makes the runner look again:
   * it sleeps until then, else it would ask again and again.
   */
  full?(queue: Virtqueue): boolean;
  /**
   * How many chains of this queue may wait before the runner calls `serve` for them and before the
   * driver has to notify (default: 0), below the size of the ring: for what nobody waits for. The
   * plane lowers it in time, by a timer.
   */
  patience?(queue: Virtqueue): number;
  /**
   * End of a round: a place to hand over what `serve` has collected. Returns how much was done; the
   * runner begins another round, and does not sleep, until it is 0.
   */
  submit?(): number;
  /** From now on `serve` is called for this queue: it was started, or goes on in other memory. */
  queueStarted?(queue: Virtqueue): void;
  /**
   * From now on, until `queueStarted`, `serve` is not called for this queue; what is in flight is
   * to be completed soon. The session waits for it: the queue is being stopped, or its memory
   * replaced.
   */
  queueStopping?(queue: Virtqueue): void;
  /**
   * The ring is started and disabled. A device whose requests have no meaning without an answer
   * leaves this out: they wait in the ring, which has no side effect; net discards what the guest
   * sends.
   */
  serveDisabled?(queue: Virtqueue, budget: number): number;
  /** As the device's, before any queue is served under them; it may throw as that. */
  featuresNegotiated?(features: bigint): void;
  /** A message of `DeviceLink.post`. */
  control?(message: unknown): void;
  close?(): void;
}

/** Slots of the counters of one thread; one writer each, read by anybody. */
export const COUNTER = {
  requests: 0,
  bytesRead: 1,
  bytesWritten: 2,
  guestFaults: 3,
  ioErrors: 4,
  kicks: 5,
  calls: 6,
  sleeps: 7,
  polls: 8,
  flushes: 9,
  discards: 10,
  LENGTH: 16,
} as const;
