/**
 * What the guest has open: files and folders, each with a descriptor of its own.
 *
 * @module
 */
import { closeFd } from '../../../sys/index.ts';
import { NO_SLOT } from './node-table.ts';

const NONE = -1;
/** A handle's number is its index and one, and above these 32 bits how often it was used. */
const GENERATION_UNIT = 2 ** 32;
const GENERATIONS_MAX = 2 ** 20;
const HANDLES_MAX = 1 << 20;

/** One open file or folder; used again for others after it was released. */
export class Handle {
  readonly index: number;
  /** As the guest knows it. */
  id = 0;
  fd: number = NONE;
  slot: number = NO_SLOT;
  isFolder = false;
  writable = false;
  /** Linux's O_APPEND: the host decides where a write goes. */
  append = false;
  /** Each read waits for the disk: O_DIRECT. */
  readsWait = false;
  /** Each write waits for the disk: O_DIRECT, O_SYNC, O_DSYNC. */
  writesWait = false;
  /** Calls that the kernel is at; the descriptor is closed after the last one. */
  inFlight = 0;
  released = false;
  /** Folders: the cookie at which the descriptor stands, in two words. */
  cookieLow = 0;
  cookieHigh = 0;
  /** Of the same node: the next handle. */
  next: Handle | null = null;
  generation = 0;

  constructor(index: number) {
    this.index = index;
  }
}

/** See the module. Owns the descriptors. */
export class HandleTable {
  /** Handles that are open. */
  count = 0;
  readonly #handles: Handle[] = [];
  readonly #free: Handle[] = [];
  readonly #bySlot = new Map<number, Handle>();

  /** Takes a descriptor over; null when there are too many handles. */
  open(slot: number, fd: number, isFolder: boolean): Handle | null {
    const handle = this.#free.pop() ?? this.#make();
    if (handle === null) return null;
    handle.id = handle.generation * GENERATION_UNIT + handle.index + 1;
    handle.fd = fd;
    handle.slot = slot;
    handle.isFolder = isFolder;
    handle.writable = false;
    handle.append = false;
    handle.readsWait = false;
    handle.writesWait = false;
    handle.released = false;
    handle.inFlight = 0;
    handle.cookieLow = 0;
    handle.cookieHigh = 0;
    handle.next = this.#bySlot.get(slot) ?? null;
    this.#bySlot.set(slot, handle);
    this.count++;
    return handle;
  }

  /** The open file of this number; undefined for one that is not open, or is a folder. */
  file(id: number): Handle | undefined {
    const handle = this.#find(id);
    return handle?.isFolder === false ? handle : undefined;
  }

  /** The open folder of this number. */
  folder(id: number): Handle | undefined {
    const handle = this.#find(id);
    return handle?.isFolder === true ? handle : undefined;
  }

  /** Some open handle of a node, for its descriptor. */
  ofNode(slot: number): Handle | undefined {
    return this.#bySlot.get(slot);
  }

  /** The guest is done with it. Its descriptor is closed, at once or after the last call. */
  release(handle: Handle): void {
    handle.released = true;
    handle.id = 0;
    this.#unlink(handle);
    if (handle.inFlight === 0) this.#close(handle);
  }

  /** A call of the kernel on it has come back. */
  finished(handle: Handle): void {
    handle.inFlight--;
    if (handle.released && handle.inFlight === 0) this.#close(handle);
  }

  /** Releases all of them. */
  clear(): void {
    for (const handle of this.#handles) if (handle.id !== 0) this.release(handle);
  }

  #find(id: number): Handle | undefined {
    const handle = this.#handles[(id >>> 0) - 1];
    return handle !== undefined && handle.id === id && id !== 0 ? handle : undefined;
  }

  #make(): Handle | null {
    if (this.#handles.length >= HANDLES_MAX) return null;
    const handle = new Handle(this.#handles.length);
    this.#handles.push(handle);
    return handle;
  }

  #unlink(handle: Handle): void {
    const first = this.#bySlot.get(handle.slot);
    if (first === handle) {
      if (handle.next === null) this.#bySlot.delete(handle.slot);
      else this.#bySlot.set(handle.slot, handle.next);
    } else {
      let at = first;
      while (at !== undefined && at.next !== handle) at = at.next ?? undefined;
      if (at !== undefined) at.next = handle.next;
    }
    handle.next = null;
  }

  #close(handle: Handle): void {
    closeFd(handle.fd);
    handle.fd = NONE;
    handle.generation = (handle.generation + 1) % GENERATIONS_MAX;
    this.count--;
    this.#free.push(handle);
  }
}
