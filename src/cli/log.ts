/**
 * The log of a serving command, on stderr: text on a terminal, a JSON object a line elsewhere.
 *
 * The library reports by events and prints nothing; this is where its words reach people. A status
 * line (`status-line.ts`) is taken away while a line of the log is printed.
 *
 * @module
 */
import { writeSync } from 'node:fs';
import type { Logger } from 'pino';
import type { LogLevel } from '../backend/index.ts';
import { errorCode } from '../util/index.ts';
import { oneLine } from './format.ts';
import type { LogFormat } from './options.ts';

const STDERR_FD = 2;
const RANK: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };
const COLOUR: Readonly<Record<LogLevel, string>> = {
  debug: '2',
  info: '',
  warn: '33',
  error: '31',
};

/** Facts beside the text of a line, for machines: `event` names what happened. */
export interface LogFields {
  readonly event?: string;
  readonly device?: string;
  readonly [name: string]: string | number | boolean | null | undefined;
}

/** Something at the bottom of the terminal that a line of the log pushes down. */
export interface Overlay {
  /** The characters that take it away, and those that bring it back. */
  erase(): string;
  draw(): string;
}

/** Where a log goes, and how. */
export interface Log {
  /** Whether people read it on a terminal. */
  readonly onTerminal: boolean;
  /** Whether lines of a level are printed. */
  shows(level: LogLevel): boolean;
  write(level: LogLevel, text: string, fields?: LogFields): void;
  /** Several lines of advice, which only people want. */
  hint(lines: readonly string[]): void;
  /** Puts an overlay at the bottom, or none. */
  setOverlay(overlay: Overlay | null): void;
  /** Draws the overlay anew. */
  refresh(): void;
  /** Loads what the first line needs, while the program waits for something else. */
  prepare(): void;
  /** Resolves when every line is out. */
  flush(): Promise<void>;
}

/** What a log is made from. */
export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** Called once when the terminal or the reader is gone. */
  readonly onGone?: () => void;
  /** The terminal may be raw, where a line feed alone leaves the cursor in its column. */
  readonly rawTerminal?: boolean;
  /** Takes the bytes; stderr without it. */
  readonly sink?: (text: string) => void;
  readonly isTerminal?: boolean;
  readonly env?: NodeJS.ProcessEnv;
}

/** Makes the log that the options ask for; JSON needs pino, which is loaded when it is needed. */
export function createLog(options: LogOptions): Log {
  const isTerminal = options.isTerminal ?? process.stderr.isTTY;
  const plain = options.sink ?? stderrSink(options.onGone ?? ((): void => undefined));
  const isRaw = isTerminal && options.rawTerminal === true;
  const sink = isRaw ? (text: string) => plain(text.replaceAll('\n', '\r\n')) : plain;
  const format = options.format === 'auto' ? (isTerminal ? 'text' : 'json') : options.format;
  if (format === 'json') return new JsonLog(options.level, sink);
  const env = options.env ?? process.env;
  const cooked = isTerminal && env.TERM !== 'dumb';
  return new TextLog(options.level, sink, isTerminal, cooked && !hasNoColor(env));
}

function hasNoColor(env: NodeJS.ProcessEnv): boolean {
  return env.NO_COLOR !== undefined && env.NO_COLOR !== ''; // no-color.org
}

/** Lines for people. */
class TextLog implements Log {
  readonly onTerminal: boolean;
  readonly #rank: number;
  readonly #sink: (text: string) => void;
  readonly #colours: boolean;
  #overlay: Overlay | null = null;

  constructor(
    level: LogLevel,
    sink: (text: string) => void,
    onTerminal: boolean,
    colours: boolean,
  ) {
    this.#rank = RANK[level];
    this.#sink = sink;
    this.onTerminal = onTerminal;
    this.#colours = colours;
  }

  shows(level: LogLevel): boolean {
    return RANK[level] >= this.#rank;
  }

  write(level: LogLevel, text: string, fields: LogFields = {}): void {
    if (!this.shows(level)) return;
    const now = new Date().toISOString();
    const time = this.onTerminal ? now.slice(11, 23) : now;
    const device = fields.device === undefined ? '' : `${fields.device}: `;
    const body = this.#paint(COLOUR[level], `${level.padEnd(5)} ${device}${oneLine(text)}`);
    this.#print(`${this.#paint('2', time)} ${body}\n`);
  }

  hint(lines: readonly string[]): void {
    if (this.onTerminal && this.shows('info')) this.#print(`${lines.join('\n')}\n`);
  }

  setOverlay(overlay: Overlay | null): void {
    if (this.#overlay !== null) this.#sink(this.#overlay.erase());
    this.#overlay = overlay;
  }

  refresh(): void {
    if (this.#overlay !== null) this.#sink(this.#overlay.erase() + this.#overlay.draw());
  }

  prepare(): void {
    // Nothing to load.
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  /** One write, so that nothing of another process comes between a line and the overlay. */
  #print(text: string): void {
    const overlay = this.#overlay;
    this.#sink(overlay === null ? text : overlay.erase() + text + overlay.draw());
  }

  #paint(code: string, text: string): string {
    return this.#colours && code !== '' ? `\x1b[${code}m${text}\x1b[0m` : text;
  }
}

/** One JSON object a line, by pino; lines wait until it is loaded. */
class JsonLog implements Log {
  readonly onTerminal = false;
  readonly #level: LogLevel;
  readonly #sink: (text: string) => void;
  #logger: Logger | null = null;
  #loading: Promise<void> | null = null;
  #waiting: (() => void)[] = [];

  constructor(level: LogLevel, sink: (text: string) => void) {
    this.#level = level;
    this.#sink = sink;
  }

  shows(level: LogLevel): boolean {
    return RANK[level] >= RANK[this.#level];
  }

  write(level: LogLevel, text: string, fields: LogFields = {}): void {
    if (!this.shows(level)) return;
    if (this.#logger !== null) {
      this.#logger[level](fields, text);
      return;
    }
    // The time is that of the event, not of the end of loading.
    const time = new Date().toISOString();
    this.#waiting.push(() => this.#logger?.[level]({ ...fields, time }, text));
    this.prepare();
  }

  hint(): void {
    // Advice is for people.
  }

  setOverlay(): void {
    // There is no terminal to put it on.
  }

  refresh(): void {
    // See setOverlay.
  }

  prepare(): void {
    this.#loading ??= this.#load();
  }

  async flush(): Promise<void> {
    await this.#loading;
  }

  async #load(): Promise<void> {
    const { pino } = await import('pino');
    this.#logger = pino(
      {
        level: this.#level,
        base: { pid: process.pid },
        timestamp: false,
        mixin: (fields) => ('time' in fields ? {} : { time: new Date().toISOString() }),
        formatters: { level: (label) => ({ level: label }) },
      },
      { write: this.#sink },
    );
    for (const write of this.#waiting) write();
    this.#waiting = [];
  }
}

/** Writes to stderr at once; a reader that has gone is told once, and never ends the program. */
function stderrSink(onGone: () => void): (text: string) => void {
  let gone = false;
  return (text) => {
    if (gone || text === '') return;
    try {
      writeSync(STDERR_FD, text);
    } catch (error) {
      // A full pipe loses this line; the devices do not wait for a reader of the log.
      if (errorCode(error) === 'EAGAIN') return;
      gone = true;
      onGone();
    }
  };
}
