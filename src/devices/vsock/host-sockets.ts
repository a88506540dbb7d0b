/**
 * The host's ends of connections: one non-blocking socket each, heard for as long as something is
 * wanted of it.
 *
 * @module
 */
import { READABLE, closeFd } from '../../sys/index.ts';
import type { Reactor, ReactorTimer } from '../../backend/index.ts';
import { FLAG } from './connections.ts';
import type { Connections } from './connections.ts';

/** Looks in a row that find nothing, after which a socket rests. */
const EMPTY_LOOKS_MAX = 4;
/** For how long: what comes meanwhile waits so long. */
const REST_MS = 1;

/** See the module. Owns the fds of the table; `READABLE` and `WRITABLE` are its events. */
export class HostSockets {
  readonly #table: Connections;
  readonly #reactor: Reactor;
  readonly #onReady: (slot: number, events: number) => void;
  readonly #resting: number[] = [];
  #rest: ReactorTimer | null = null;

  /** `onReady` is called whenever a socket is ready for what it is heard for, or in trouble. */
  constructor(
    table: Connections,
    reactor: Reactor,
    onReady: (slot: number, events: number) => void,
  ) {
    this.#table = table;
    this.#reactor = reactor;
    this.#onReady = onReady;
  }

  /** Hears a socket for these events alone. */
  watch(slot: number, events: number): void {
    this.#table.unmark(slot, FLAG.resting);
    this.#set(slot, events);
  }

  /** Hears it for these events, too. */
  want(slot: number, events: number): void {
    if ((events & READABLE) !== 0) this.#table.unmark(slot, FLAG.resting);
    this.#set(slot, (this.#table.events[slot] as number) | events);
  }

  /** Hears it for these events no more. */
  leave(slot: number, events: number): void {
    if ((events & READABLE) !== 0) this.#table.unmark(slot, FLAG.resting);
    this.#set(slot, (this.#table.events[slot] as number) & ~events);
  }

  /** A look into a socket has found something. */
  foundSome(slot: number): void {
    this.#table.emptyLooks[slot] = 0;
  }

  /**
   * A look has found nothing. A socket of Linux's AF_VSOCK is readable as soon as it has a part of
   * a message, but there is nothing to be read before the whole is there: a program that has sent a
   * part and does something else would keep this thread looking all the time. So a socket that is
   * readable for nothing again and again is not heard for a moment, and looked at once after it.
   */
  foundNothing(slot: number): void {
    const table = this.#table;
    const looks = (table.emptyLooks[slot] as number) + 1;
    if (looks < EMPTY_LOOKS_MAX) {
      table.emptyLooks[slot] = looks;
      return;
    }
    this.leave(slot, READABLE);
    table.mark(slot, FLAG.resting);
    this.#resting.push(slot);
    this.#rest ??= this.#reactor.after(REST_MS, () => {
      this.#rest = null;
      for (const each of this.#resting.splice(0)) {
        // Else it is another connection's slot, or somebody has decided otherwise.
        if (table.has(each, FLAG.resting)) this.want(each, READABLE);
      }
    });
  }

  /** Closes it; one that is not there is none the worse. */
  close(slot: number): void {
    const table = this.#table;
    table.unmark(slot, FLAG.resting);
    table.watch[slot]?.close();
    table.watch[slot] = null;
    table.events[slot] = 0;
    const fd = table.fd[slot] as number;
    table.fd[slot] = -1;
    if (fd >= 0) closeFd(fd);
  }

  /** No socket is heard again after its rest. */
  stop(): void {
    this.#rest?.cancel();
    this.#rest = null;
  }

  #set(slot: number, events: number): void {
    const table = this.#table;
    const watch = table.watch[slot];
    if (watch === null || watch === undefined) {
      const fd = table.fd[slot] as number;
      table.watch[slot] = this.#reactor.watch(fd, events, (ready) => {
        this.#onReady(slot, ready);
      });
    } else {
      watch.setEvents(events);
    }
    table.events[slot] = events;
  }
}
