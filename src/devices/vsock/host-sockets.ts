/**
 * The host's ends of connections: one non-blocking socket each, heard for as long as something is
 * wanted of it.
 *
 * @module
 */
import { closeFd } from '../../sys/index.ts';
import type { Reactor } from '../../backend/index.ts';
import type { Connections } from './connections.ts';

/** See the module. Owns the fds of the table; `READABLE` and `WRITABLE` are its events. */
export class HostSockets {
  readonly #table: Connections;
  readonly #reactor: Reactor;
  readonly #onReady: (slot: number, events: number) => void;

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

  /** Hears it for these events, too. */
  want(slot: number, events: number): void {
    this.watch(slot, (this.#table.events[slot] as number) | events);
  }

  /** Hears it for these events no more. */
  leave(slot: number, events: number): void {
    this.watch(slot, (this.#table.events[slot] as number) & ~events);
  }

  /** Closes it; one that is not there is none the worse. */
  close(slot: number): void {
    const table = this.#table;
    table.watch[slot]?.close();
    table.watch[slot] = null;
    table.events[slot] = 0;
    const fd = table.fd[slot] as number;
    table.fd[slot] = -1;
    if (fd >= 0) closeFd(fd);
  }
}
