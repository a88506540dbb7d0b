/**
 * An end that is a pseudo terminal: any terminal program opens it, one after the other.
 *
 * Nobody tells when a program opens it, so that is looked for a few times a second while nobody has
 * it open; then it is watched, level-triggered, and read until nothing is left.
 *
 * @module
 */
import {
  lstatSync,
  openSync,
  readSync,
  readlinkSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { VhostUserError, errorCode, errorMessage } from '../../../util/index.ts';
import {
  O,
  READABLE,
  WRITABLE,
  closeFd,
  isHungUp,
  openPty,
  rawTerminal,
  terminalSize,
  watchFd,
} from '../../../sys/index.ts';
import type { Watch } from '../../../sys/index.ts';
import type { ConsoleEnd, EndEvents } from './end.ts';

const LOOK_MS = 100;
const READ_BYTES = 16 * 1024;
/** Reads after which others get their turn. */
const READS_PER_WAKE_MAX = 8;

/** What a read gave: nothing now, or nobody has it open. */
const NOTHING = -1;
const NOBODY = -2;

/** See the module. */
export class PtyEnd implements ConsoleEnd {
  readonly #link: string | null;
  readonly #scratch: Uint8Array = new Uint8Array(READ_BYTES);
  #events: EndEvents | null = null;
  #fd = -1;
  #path = '';
  #watch: Watch | null = null;
  #timer: NodeJS.Timeout | null = null;
  #paused = false;
  #attached = false;
  #bytes: Uint8Array | null = null; // what is being written
  #written = 0;
  #done: () => void = () => undefined;

  constructor(link: string | null) {
    this.#link = link;
  }

  describe(): string {
    return `pty ${this.#path}${this.#link === null ? '' : `, ${this.#link} leads to it`}`;
  }

  get attached(): boolean {
    return this.#attached;
  }

  open(events: EndEvents): void {
    this.#events = events;
    const { fd, path } = openPty();
    this.#fd = fd;
    this.#path = path;
    try {
      // Its mode outlives whoever sets it: those who open it without a thought get it raw. And on
      // some hosts nobody having it open shows only after somebody had.
      const slave = openSync(path, O.O_RDWR | O.O_NOCTTY);
      try {
        rawTerminal(slave);
      } finally {
        closeFd(slave);
      }
      if (this.#link !== null) makeLink(this.#link, path);
    } catch (error) {
      this.#fd = -1;
      closeFd(fd);
      throw error;
    }
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    this.#timer.unref();
  }

  write(bytes: Uint8Array, done: () => void): void {
    this.#bytes = bytes;
    this.#written = 0;
    this.#done = done;
    this.#writeMore();
    this.#setEvents();
  }

  pause(): void {
    this.#paused = true;
    this.#setEvents();
  }

  resume(): void {
    this.#paused = false;
    this.#setEvents();
  }

  close(): void {
    if (this.#fd < 0) return;
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#detach();
    closeFd(this.#fd);
    this.#fd = -1;
    if (this.#link !== null) removeLink(this.#link, this.#path);
  }

  /** Whether somebody has come or gone, and whether the size is another one. */
  #look(): void {
    if (!this.#attached) this.#tryAttach();
    // While input is not wanted nothing is read, and a read is what tells of the end.
    else if (this.#paused && isHungUp(this.#fd)) this.#detach();
    if (!this.#attached) return;
    const size = terminalSize(this.#fd);
    if (size !== null) this.#events?.resized(size.columns, size.rows);
  }

  #tryAttach(): void {
    if (this.#paused && isHungUp(this.#fd)) return;
    const got = this.#paused ? NOTHING : this.#read();
    if (got === NOBODY) return;
    this.#attached = true;
    this.#watch = watchFd(this.#fd, READABLE, (events) => this.#ready(events));
    this.#setEvents();
    this.#events?.log('info', `${this.#path} was opened`);
    if (got >= 0) this.#give(got);
    this.#events?.attachedChanged();
  }

  #ready(events: number): void {
    if ((events & WRITABLE) !== 0) this.#writeMore();
    for (let i = 0; i < READS_PER_WAKE_MAX && this.#attached && !this.#paused; i++) {
      const got = this.#read();
      if (got === NOTHING) break;
      if (got === NOBODY) this.#detach();
      else this.#give(got);
    }
    this.#setEvents();
  }

  #read(): number {
    try {
      // 0 is what the BSDs say when nobody has it open; Linux says EIO.
      return readSync(this.#fd, this.#scratch) || NOBODY;
    } catch (error) {
      return errorCode(error) === 'EAGAIN' ? NOTHING : NOBODY;
    }
  }

  #give(count: number): void {
    this.#events?.input(this.#scratch.slice(0, count));
  }

  #writeMore(): void {
    const bytes = this.#bytes;
    if (bytes === null) return;
    try {
      while (this.#written < bytes.length) {
        this.#written += writeSync(this.#fd, bytes, this.#written);
      }
    } catch (error) {
      if (errorCode(error) === 'EAGAIN') return;
      this.#detach();
      return;
    }
    this.#finish();
  }

  #finish(): void {
    if (this.#bytes === null) return;
    this.#bytes = null;
    this.#done();
  }

  #setEvents(): void {
    const read = this.#paused ? 0 : READABLE;
    this.#watch?.setEvents(read | (this.#bytes === null ? 0 : WRITABLE));
  }

  /** Whoever had it open has closed it. */
  #detach(): void {
    if (!this.#attached) return;
    this.#attached = false;
    this.#watch?.close();
    this.#watch = null;
    this.#events?.log('info', `${this.#path} was closed`);
    this.#finish();
    this.#events?.attachedChanged();
  }
}

/** Makes the link, in the place of one that is there, and of nothing else. */
function makeLink(link: string, path: string): void {
  try {
    if (lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink() === true) unlinkSync(link);
    symlinkSync(path, link);
  } catch (error) {
    throw new VhostUserError('ERR_VHU_CONSOLE_END', `pty: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}

function removeLink(link: string, path: string): void {
  try {
    if (readlinkSync(link) === path) unlinkSync(link);
  } catch {
    // It is gone already.
  }
}
