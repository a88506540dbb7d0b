/**
 * Watching fds by the libuv that Node is built on: no thread, and the host's best poller comes with
 * it.
 *
 * @module
 */
import { assert } from '../util/index.ts';
import { ERRNO, errnoName } from './errno.ts';
import * as libc from './libc.ts';
import { VhostUserError } from '../util/index.ts';
import type { Watch, Watcher } from './watch.ts';

const UV_POLL = 8; // uv_handle_type
const UV_READABLE = 1;
const UV_WRITABLE = 2;
const READABLE = 1;
const WRITABLE = 4;

/** The functions, once it is known that all of them are there. */
interface Uv {
  readonly loop: number;
  readonly handleBytes: number;
  readonly init: libc.NumberFunction;
  readonly start: libc.NumberFunction;
  readonly stop: libc.NumberFunction;
  readonly close: libc.NumberFunction;
  readonly ref: libc.NumberFunction;
  readonly unref: libc.NumberFunction;
}

/** See the module. */
export class UvWatcher implements Watcher {
  static #opened: UvWatcher | null = null;
  readonly #uv: Uv;
  readonly #watches = new Map<number, UvWatch>(); // by the address of the handle
  readonly #onPoll: bigint;
  readonly #onClose: bigint;

  private constructor(uv: Uv) {
    this.#uv = uv;
    // libuv calls these from the loop, where promise jobs are not run afterwards on every Node: the
    // work itself goes to setImmediate, the next phase of the same turn.
    this.#onPoll = libc.register((handle, status, events) => {
      this.#watches.get(Number(handle))?.fired(Number(status), Number(events));
    }, 'void UvPollCallback(uintptr_t handle, int status, int events)');
    this.#onClose = libc.register((handle) => {
      libc.free(Number(handle));
    }, 'void UvCloseCallback(uintptr_t handle)');
  }

  /** The watcher of the main loop, or null where the runtime does not export libuv. */
  static open(): UvWatcher | null {
    UvWatcher.#opened ??= UvWatcher.#open();
    return UvWatcher.#opened;
  }

  static #open(): UvWatcher | null {
    const { uvDefaultLoop, uvHandleSize, uvPollInit, uvPollStart } = libc;
    const { uvPollStop, uvClose, uvRef, uvUnref } = libc;
    if (process.versions.bun !== undefined || process.versions.deno !== undefined) return null;
    if (uvDefaultLoop === null || uvHandleSize === null || uvPollInit === null) return null;
    if (uvPollStart === null || uvPollStop === null || uvClose === null) return null;
    if (uvRef === null || uvUnref === null) return null;
    return new UvWatcher({
      loop: uvDefaultLoop(),
      handleBytes: uvHandleSize(UV_POLL),
      init: uvPollInit,
      start: uvPollStart,
      stop: uvPollStop,
      close: uvClose,
      ref: uvRef,
      unref: uvUnref,
    });
  }

  watch(fd: number, events: number, onReady: (events: number) => void): Watch {
    const handle = libc.malloc(this.#uv.handleBytes);
    assert(handle !== 0, 'a poll handle can be allocated');
    const result = this.#uv.init(this.#uv.loop, handle, fd);
    if (result < 0) {
      libc.free(handle);
      throw new VhostUserError(
        'ERR_VHU_WATCH',
        `uv_poll_init(fd ${String(fd)}): ${errnoName(-result)}: ` +
          (-result === ERRNO.EEXIST
            ? 'it is watched already'
            : 'only sockets, pipes and the like can be watched'),
      );
    }
    const watch = new UvWatch(this.#uv, handle, this.#onPoll, onReady, () => {
      this.#watches.delete(handle);
      this.#uv.close(handle, this.#onClose); // frees the handle from the loop
    });
    this.#watches.set(handle, watch);
    watch.setEvents(events);
    return watch;
  }
}

/** One poll handle. */
class UvWatch implements Watch {
  readonly #uv: Uv;
  readonly #handle: number;
  readonly #callback: bigint;
  readonly #onReady: (events: number) => void;
  readonly #onClosed: () => void;
  #events = 0;
  #closed = false;

  constructor(
    uv: Uv,
    handle: number,
    callback: bigint,
    onReady: (events: number) => void,
    onClosed: () => void,
  ) {
    this.#uv = uv;
    this.#handle = handle;
    this.#callback = callback;
    this.#onReady = onReady;
    this.#onClosed = onClosed;
  }

  setEvents(events: number): void {
    if (this.#closed) return;
    this.#events = events;
    this.#apply(events);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#uv.stop(this.#handle);
    this.#onClosed();
  }

  ref(): void {
    if (!this.#closed) this.#uv.ref(this.#handle);
  }

  unref(): void {
    if (!this.#closed) this.#uv.unref(this.#handle);
  }

  /**
   * libuv says that the fd is ready; an error counts as ready, for a read or write to tell of it.
   */
  fired(status: number, uvEvents: number): void {
    let events = READABLE | WRITABLE;
    if (status >= 0) {
      events = 0;
      if ((uvEvents & UV_READABLE) !== 0) events |= READABLE;
      if ((uvEvents & UV_WRITABLE) !== 0) events |= WRITABLE;
    }
    // Quiet until the work was done, else a level-triggered fd fires again before.
    this.#uv.stop(this.#handle);
    setImmediate(() => {
      if (this.#closed) return;
      this.#apply(this.#events);
      const wanted = events & this.#events; // it may be waiting for something else by now
      if (wanted !== 0) this.#onReady(wanted);
    });
  }

  #apply(events: number): void {
    let uvEvents = 0;
    if ((events & READABLE) !== 0) uvEvents |= UV_READABLE;
    if ((events & WRITABLE) !== 0) uvEvents |= UV_WRITABLE;
    if (uvEvents === 0) this.#uv.stop(this.#handle);
    else this.#uv.start(this.#handle, uvEvents, Number(this.#callback));
  }
}
