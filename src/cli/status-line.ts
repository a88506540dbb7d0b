/**
 * One line at the bottom of a terminal that says how the devices are: who is connected, and how
 * much they read and write.
 *
 * @module
 */
import { formatCount, formatRate } from './format.ts';
import type { Overlay } from './log.ts';

/** What the line needs of one device, read at every tick. */
export interface StatusSource {
  readonly name: string;
  readonly address: string;
  readonly connected: boolean;
  /** The process at the other end, when this host tells. */
  readonly peerPid: number | null;
  /** Sums since the start. */
  totals(): Totals;
}

/** Counters since the start. */
export interface Totals {
  readonly requests: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

const NOTHING: Totals = { requests: 0, bytesRead: 0, bytesWritten: 0 };

/** See the module. `tick` takes the measures, `draw` only prints the last. */
export class StatusLine implements Overlay {
  readonly #sources: readonly StatusSource[];
  readonly #columns: () => number;
  readonly #colours: boolean;
  #before: Totals = NOTHING;
  #beforeMs: number;
  #rates: Totals = NOTHING;
  #drawn = '';

  /** @param columns the width of the terminal, asked at every draw */
  constructor(
    sources: readonly StatusSource[],
    columns: () => number,
    colours: boolean,
    nowMs: number,
  ) {
    this.#sources = sources;
    this.#columns = columns;
    this.#colours = colours;
    this.#beforeMs = nowMs;
  }

  /** Measures; returns whether the line has changed, so that an idle one costs nothing. */
  tick(nowMs: number): boolean {
    const totals = this.#sources.map((source) => source.totals()).reduce(add, NOTHING);
    const seconds = Math.max(nowMs - this.#beforeMs, 1) / 1000;
    this.#rates = {
      requests: (totals.requests - this.#before.requests) / seconds,
      bytesRead: (totals.bytesRead - this.#before.bytesRead) / seconds,
      bytesWritten: (totals.bytesWritten - this.#before.bytesWritten) / seconds,
    };
    this.#before = totals;
    this.#beforeMs = nowMs;
    return this.#text() !== this.#drawn;
  }

  /** Back to the start of the line, and clear it. */
  erase(): string {
    if (this.#drawn === '') return '';
    this.#drawn = '';
    return '\r\x1b[K';
  }

  draw(): string {
    this.#drawn = this.#text();
    return this.#colours && this.#drawn !== '' ? `\x1b[2m${this.#drawn}\x1b[0m` : this.#drawn;
  }

  /** The longest wording that fits; one column stays free, since a full line wraps. */
  #text(): string {
    const room = Math.max(this.#columns() - 1, 0);
    const wordings = this.#wordings();
    const fits = wordings.find((text) => text.length <= room);
    return fits ?? (wordings.at(-1) ?? '').slice(0, room);
  }

  #wordings(): string[] {
    const [only] = this.#sources;
    const connected = this.#sources.filter((source) => source.connected);
    const many = this.#sources.length > 1;
    const name = only === undefined ? '' : many ? `${this.#sources.length} devices` : only.name;
    if (connected.length === 0) {
      const waiting = 'waiting for a front-end';
      const at = many || only === undefined ? name : `${name} ${only.address}`;
      return [`${at}: ${waiting}`, `${name}: ${waiting}`, waiting, 'waiting'];
    }
    const pid = only?.peerPid ?? null;
    const one = pid === null ? 'connected' : `pid ${pid}`;
    const who = many ? `${connected.length} of ${this.#sources.length} connected` : one;
    const { requests, bytesRead, bytesWritten } = this.#rates;
    const iops = `${formatCount(requests)} IOPS`;
    const read = formatRate(bytesRead);
    const write = formatRate(bytesWritten);
    return [
      `${name}: ${who}, ${iops}, read ${read}, write ${write}`,
      `${who}, ${iops}, read ${read}, write ${write}`,
      `${iops}, read ${read}, write ${write}`,
      `${iops}, r ${read}, w ${write}`,
      iops,
    ];
  }
}

function add(a: Totals, b: Totals): Totals {
  return {
    requests: a.requests + b.requests,
    bytesRead: a.bytesRead + b.bytesRead,
    bytesWritten: a.bytesWritten + b.bytesWritten,
  };
}
