/**
 * What a device sees of a virtqueue, whichever format its ring has.
 *
 * @module
 */
import type { Chain } from './chain.ts';

/** Why a ring gives nothing more: what the guest did, in words, and on which descriptor. */
export interface VirtqueueFault {
  /** Stable: `ERR_VHU_RING_…`. */
  readonly code: string;
  readonly message: string;
}

/** The indices of a ring that is not running: what GET_VRING_BASE returns. Plain data. */
export interface RingState {
  /** The next available entry to take, modulo 2^16. */
  readonly availIndex: number;
  /** The next used entry to write, modulo 2^16. */
  readonly usedIndex: number;
}

/** Where the three parts of a ring are, in host addresses, each inside one region. */
export interface RingPlacement {
  readonly index: number;
  readonly descHva: number;
  readonly availHva: number;
  readonly usedHva: number;
}

/** A ring as SET_VRING_NUM, _ADDR and _BASE describe it. Plain data, checked by the session. */
export interface RingConfig extends RingPlacement {
  /** Entries: a power of two up to 32768 for a split ring. */
  readonly size: number;
  /** The first available entry to take. */
  readonly availIndex: number;
  /** The negotiated virtio features. */
  readonly features: bigint;
}

/** The device side of one started ring. */
export interface Virtqueue {
  readonly index: number;
  readonly size: number;
  /** Chains taken and not yet given back. */
  readonly inFlight: number;
  /** Set once, when the guest broke the ring's rules; `pop` then returns null for ever. */
  readonly fault: VirtqueueFault | null;
  /**
   * Takes the next chain, or null when there is none, or the ring is broken; or when those that are
   * taken have so many segments that one has to be given back first.
   */
  pop(): Chain | null;
  /**
   * Whether `pop` would find something, with more than `beyond` (0) chains waiting; one load, for a
   * polling loop.
   */
  hasAvailable(beyond?: number): boolean;
  /** Gives a chain back with the count of bytes written to it; shown to the driver by `publish`. */
  push(chain: Chain, writtenBytes: number): void;
  /**
   * Takes back the last `pop`, as if it had not been: for a device that collects chains in advance,
   * and has not used the last of them when its ring is stopped. The last one popped goes first.
   */
  unpop(chain: Chain): void;
  /** Shows all pushed chains to the driver at once; true when the driver wants a notification. */
  publish(): boolean;
  /**
   * The same, but only while the driver does not want to be notified: it polls, or is awake, and
   * gets to work sooner. What is not shown now is shown by the next `publish`.
   */
  publishQuietly(): boolean;
  /** Asks the driver not to notify; a hint that it may ignore. */
  disableNotifications(): void;
  /**
   * Asks the driver to notify, when more than `beyond` chains wait (0: any; below the size of the
   * ring); true when there are so many meanwhile: look again before sleeping. Without EVENT_IDX
   * drivers cannot be asked to hold back, and notify of any.
   */
  enableNotifications(beyond?: number): boolean;
  /** Breaks the ring on the device's behalf, when its own processing of it failed. */
  breakRing(fault: VirtqueueFault): void;
  /**
   * Forgets the chains that a broken ring's device holds and will not give back; should it do so
   * all the same, nothing happens.
   */
  abandon(): void;
  /** The indices, for GET_VRING_BASE. */
  savedState(): RingState;
}
