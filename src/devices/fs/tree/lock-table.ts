/**
 * Advisory locks of one guest: `flock(2)` and POSIX record locks, with waiting. For a file system
 * that has no locks of its own, or none that its guest may take.
 *
 * @module
 */
import { LINUX_E, LINUX_F } from '../../../fuse/index.ts';

/** Locks and waiting requests that a guest may have at once; ENOLCK beyond. */
const LOCKS_MAX = 65_536;

/** A lock, or a request for one. */
export interface Lock {
  /** Whether it is an flock, which knows nothing of record locks, nor they of it. */
  readonly isFlock: boolean;
  /** The guest's name for the owner: 64 bits, in halves. */
  readonly ownerLow: number;
  readonly ownerHigh: number;
  readonly pid: number;
  /** `LINUX_F`. */
  readonly type: number;
  /** First and last byte; `Infinity` is "to the end, wherever that is". */
  readonly start: number;
  readonly end: number;
}

interface Waiter {
  readonly node: number;
  readonly lock: Lock;
  readonly unique: number;
  readonly done: (result: number) => void;
}

/** Locks by node. Results are 0 or a negative Linux errno. */
export class LockTable {
  readonly #locks = new Map<number, Lock[]>();
  readonly #waiters = new Map<number, Waiter>();
  #count = 0;

  /** Whether a node has locks, or requests that wait for them. */
  has(node: number): boolean {
    if (this.#locks.has(node)) return true;
    for (const waiter of this.#waiters.values()) if (waiter.node === node) return true;
    return false;
  }

  /** A lock in the way of another owner's, or null. */
  conflict(node: number, lock: Lock): Lock | null {
    if (lock.type === LINUX_F.UNLCK) return null;
    for (const held of this.#locks.get(node) ?? []) {
      if (held.isFlock !== lock.isFlock || isSameOwner(held, lock)) continue;
      if (held.type !== LINUX_F.WRLCK && lock.type !== LINUX_F.WRLCK) continue;
      if (held.start <= lock.end && lock.start <= held.end) return held;
    }
    return null;
  }

  /** Takes, changes or gives up a lock; EAGAIN when another one is in the way. */
  set(node: number, lock: Lock): number {
    // flock(2) gives the old lock up before it takes the new one.
    if (lock.isFlock && this.#remove(node, lock)) this.#wake(node);
    if (this.conflict(node, lock) !== null) return -LINUX_E.AGAIN;
    // Giving up a part may make two locks of one: only giving up everything is always possible.
    const isAll = lock.type === LINUX_F.UNLCK && lock.start === 0 && lock.end === Infinity;
    if (this.#count >= LOCKS_MAX && !isAll) return -LINUX_E.NOLCK;
    const wasHeld = this.#remove(node, lock);
    if (lock.type !== LINUX_F.UNLCK) this.#insert(node, lock);
    if (wasHeld) this.#wake(node);
    return 0;
  }

  /**
   * Waits for a lock that another one is in the way of: `done` is called, later, with the result.
   * `unique` is what {@link cancel} knows the request by.
   */
  wait(node: number, lock: Lock, unique: number, done: (result: number) => void): number {
    if (this.#waiters.size >= LOCKS_MAX) return -LINUX_E.NOLCK;
    this.#waiters.set(unique, { node, lock, unique, done });
    return 0;
  }

  /** Ends the waiting of a request with EINTR; false when it does not wait. */
  cancel(unique: number): boolean {
    const waiter = this.#waiters.get(unique);
    if (waiter === undefined) return false;
    this.#waiters.delete(unique);
    waiter.done(-LINUX_E.INTR);
    return true;
  }

  /** An owner closed the file: his locks of one sort go. */
  release(node: number, isFlock: boolean, ownerLow: number, ownerHigh: number): void {
    const none = { type: LINUX_F.UNLCK, start: 0, end: Infinity, pid: 0 };
    const lock: Lock = { ...none, isFlock, ownerLow, ownerHigh };
    if (this.#remove(node, lock)) this.#wake(node);
  }

  /** Nothing of a node is open any more: all of its locks go. */
  releaseNode(node: number): void {
    this.#count -= this.#locks.get(node)?.length ?? 0;
    this.#locks.delete(node);
  }

  /** All locks go, and all that wait are answered with EINTR. */
  clear(): void {
    this.#locks.clear();
    this.#count = 0;
    for (const unique of [...this.#waiters.keys()]) this.cancel(unique);
  }

  /** Takes an owner's range out of what he holds; true when there was something in it. */
  #remove(node: number, range: Lock): boolean {
    const locks = this.#locks.get(node);
    if (locks === undefined) return false;
    const rest: Lock[] = [];
    let isChanged = false;
    for (const held of locks) {
      const isOther = held.isFlock !== range.isFlock || !isSameOwner(held, range);
      if (isOther || held.end < range.start || range.end < held.start) {
        rest.push(held);
        continue;
      }
      isChanged = true;
      if (held.start < range.start) rest.push({ ...held, end: range.start - 1 });
      if (held.end > range.end) rest.push({ ...held, start: range.end + 1 });
    }
    if (isChanged) this.#replace(node, locks, rest);
    return isChanged;
  }

  /** Adds a range that overlaps none of its owner's, joined with those that touch it. */
  #insert(node: number, lock: Lock): void {
    const locks = this.#locks.get(node) ?? [];
    let { start, end } = lock;
    const rest: Lock[] = [];
    for (const held of locks) {
      const isLike = held.isFlock === lock.isFlock && isSameOwner(held, lock);
      const touches = held.end + 1 === start || end + 1 === held.start;
      if (isLike && held.type === lock.type && touches) {
        start = Math.min(start, held.start);
        end = Math.max(end, held.end);
      } else rest.push(held);
    }
    rest.push({ ...lock, start, end });
    this.#replace(node, locks, rest);
  }

  #replace(node: number, before: readonly Lock[], locks: Lock[]): void {
    this.#count += locks.length - before.length;
    if (locks.length === 0) this.#locks.delete(node);
    else this.#locks.set(node, locks);
  }

  /** Grants what waits and is in nobody's way any more, in the order in which it came. */
  #wake(node: number): void {
    // A lock that replaces its owner's stronger one lets others in: hence once more.
    for (let isAgain = true; isAgain;) {
      isAgain = false;
      for (const waiter of [...this.#waiters.values()]) {
        if (waiter.node !== node || this.conflict(node, waiter.lock) !== null) continue;
        if (!this.#waiters.delete(waiter.unique)) continue;
        if (this.#remove(node, waiter.lock)) isAgain = true;
        this.#insert(node, waiter.lock);
        waiter.done(0);
      }
    }
  }
}

function isSameOwner(a: Lock, b: Lock): boolean {
  return a.ownerLow === b.ownerLow && a.ownerHigh === b.ownerHigh;
}
