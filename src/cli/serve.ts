/**
 * Serving devices until a signal, or until there is nothing left to serve.
 *
 * SIGTERM and SIGINT end everything at once and remove the sockets; a second one does not wait for
 * requests that are still on their way. SIGHUP has the devices look again at what they serve, such
 * as the size of an image. With a companion, the program that uses the devices, these signals are
 * the companion's, and the devices end with it.
 *
 * @module
 */
import { constants } from 'node:os';
import { COUNTER, startBackend } from '../backend/index.ts';
import type { Backend, BackendAddress, BackendEvents, Device, LogLevel } from '../backend/index.ts';
import { fallbackText, notifierKind, onFallback } from '../sys/index.ts';
import { errorMessage } from '../util/index.ts';
import { compileEarly } from './early-code.ts';
import { EXIT } from './errors.ts';
import { counted, formatBytes } from './format.ts';
import { createLog } from './log.ts';
import type { Log } from './log.ts';
import type { LogFormat } from './options.ts';
import { sealDeviceSandbox } from './sandbox.ts';
import { StatusLine } from './status-line.ts';
import type { StatusSource, Totals } from './status-line.ts';
import { traceMessages } from './trace.ts';

/** A device that can look again at what it serves. */
export interface ServableDevice extends Device {
  /** Returns the size in bytes that the guest now sees. */
  resize?(): number;
  /** Opens files anew that another program may have moved away. */
  reopenLogs?(): void;
}

/** A device to be served. */
export interface ServeEntry {
  /** For people: `blk`, or the name of the configuration. */
  readonly name: string;
  readonly address: BackendAddress;
  /** What it serves, for the line that says that it listens. */
  describe(): string;
  /** Opens the device; errors are for people. It may ask for the end of the program by `end`. */
  open(end: () => void): Promise<ServableDevice>;
  /** It uses the terminal that this program is on, so there is no status line. */
  readonly ownsTerminal?: boolean;
  /** Lines for the log before it is opened. */
  readonly remarks?: readonly Remark[];
  /** How to attach it, for people on a terminal. */
  hint?(): Promise<string[]>;
}

/** A line for the log about what was asked for. */
export interface Remark {
  readonly level: 'info' | 'warn';
  readonly text: string;
}

/** A program that uses the devices: it is started when all of them listen, and they end with it. */
export interface Companion {
  /** For people: `QEMU`. */
  readonly name: string;
  /** Resolves with its exit code when it has ended; rejects when it cannot be started. */
  run(entries: readonly ServeEntry[]): Promise<number>;
  /** Passes a signal on. */
  signal(name: NodeJS.Signals): void;
  /** Ends it in order when it still runs, for it cannot go on without its devices. */
  end(): Promise<void>;
  /** Takes it away at once, with all that it has left behind: this process ends. */
  abandon(): void;
}

const STATUS_INTERVAL_MS = 1000;
/** Requests on a disk that does not answer must not keep the program from ending. */
const CLOSE_LIMIT_MS = 2000;
/** Lines about refused messages of one front-end. */
const REFUSED_LINES_MAX = 20;

/** The log of a serving command; it ends the program when its terminal is gone. */
export function openLog(level: LogLevel, format: LogFormat, rawTerminal: boolean = false): Log {
  // Asked now: once the terminal is gone, nothing tells that there was one.
  const onTerminal = process.stderr.isTTY;
  const onGone = (): void => {
    // A terminal that was closed leaves nobody who could end the program by Ctrl-C.
    if (onTerminal) process.kill(process.pid, 'SIGTERM');
  };
  return createLog({ level, format, onGone, rawTerminal });
}

/**
 * Serves and returns the exit code, which is the companion's if there is one.
 * @throws VhostUserError when a device cannot be started.
 */
export async function serve(
  entries: readonly ServeEntry[],
  log: Log,
  companion: Companion | null = null,
): Promise<number> {
  compileEarly();
  const server = new Server(entries, log, companion);
  return await server.run();
}

/** One device with its back-end. */
class Served implements StatusSource {
  readonly name: string;
  readonly address: string;
  peerPid: number | null = null;
  backend: Backend | null = null;
  device: ServableDevice | null = null;
  #refusedCount = 0; // messages of the front-end that is connected
  failed = false;
  readonly #entry: ServeEntry;
  readonly #log: Log;
  readonly #end: () => void;
  readonly #onFailed: () => void;

  constructor(entry: ServeEntry, log: Log, end: () => void, onFailed: () => void) {
    this.name = entry.name;
    this.#entry = entry;
    this.#log = log;
    this.#end = end;
    this.#onFailed = onFailed;
    const { address } = entry;
    this.address = address.kind === 'fd' ? `fd ${address.fd}` : address.path;
  }

  get connected(): boolean {
    return this.backend?.connected ?? false;
  }

  totals(): Totals {
    const { backend } = this;
    return {
      requests: backend?.counter(COUNTER.requests) ?? 0,
      bytesRead: backend?.counter(COUNTER.bytesRead) ?? 0,
      bytesWritten: backend?.counter(COUNTER.bytesWritten) ?? 0,
    };
  }

  /** Opens the device and meets the front-end. */
  async start(): Promise<void> {
    for (const { level, text } of this.#entry.remarks ?? []) this.#say(level, text, 'remark');
    this.device = await this.#entry.open(this.#end);
    const { address } = this.#entry;
    if (address.kind === 'connect') {
      this.#say('info', `connecting to ${address.path}${this.#served()}`, 'connecting');
    }
    const starting = startBackend(this.device, address, this.#events());
    this.#log.prepare(); // while the threads start
    this.backend = await starting;
    const { io } = this.backend;
    this.#say('debug', `the threads wait by ${io}, and are woken by ${notifierKind()}`, 'ready');
  }

  /** Looks again at what it serves. */
  look(): void {
    this.device?.reopenLogs?.();
    if (this.device?.resize === undefined) return;
    try {
      const bytes = this.device.resize();
      this.#log.write('info', `the size is now ${formatBytes(bytes)}`, {
        device: this.name,
        event: 'resized',
        bytes,
      });
    } catch (error) {
      this.#say('error', errorMessage(error), 'resize-failed');
    }
  }

  #events(): BackendEvents {
    return {
      listening: (address) => {
        this.#log.write('info', `listening on ${address}${this.#served()}`, {
          device: this.name,
          event: 'listening',
          address,
        });
      },
      connected: (peer) => {
        this.peerPid = peer.pid ?? null;
        this.#refusedCount = 0;
        const who = peer.pid === undefined ? '' : `, process ${peer.pid}`;
        this.#log.write('info', `a front-end has connected${who}`, {
          device: this.name,
          event: 'connected',
          peerPid: peer.pid,
          peerUid: peer.uid,
        });
      },
      disconnected: (reason) => {
        this.peerPid = null;
        const why = reason === null ? '' : `: ${reason.message}`;
        this.#say(reason === null ? 'info' : 'warn', `the front-end is gone${why}`, 'disconnected');
      },
      negotiated: (features) => {
        const text = `0x${features.toString(16)}`;
        this.#say('debug', `features ${text} are agreed on`, 'negotiated');
      },
      fault: (queueIndex, fault) => {
        this.#log.write('error', `queue ${queueIndex} is stopped: ${fault.message}`, {
          device: this.name,
          event: 'fault',
          queue: queueIndex,
          code: fault.code,
        });
      },
      refused: (error) => this.#refused(error),
      log: (level, text) => this.#log.write(level, text, { device: this.name }),
      failed: (error) => {
        this.failed = true;
        this.#say('error', `a thread has failed: ${error.message}`, 'failed');
        void this.backend?.close();
        this.#onFailed();
      },
    };
  }

  /** A front-end that sends nonsense without end must not fill the disk with it. */
  #refused(error: Error): void {
    this.#refusedCount++;
    const last = this.#refusedCount === REFUSED_LINES_MAX ? ' (no more of these are shown)' : '';
    const level = this.#refusedCount <= REFUSED_LINES_MAX ? 'warn' : 'debug';
    this.#say(level, `refused: ${error.message}${last}`, 'refused');
  }

  #served(): string {
    return `: ${this.#entry.describe()}`;
  }

  #say(level: 'debug' | 'info' | 'warn' | 'error', text: string, event: string): void {
    this.#log.write(level, text, { device: this.name, event });
  }
}

/** All devices, and the signals. */
class Server {
  readonly #entries: readonly ServeEntry[];
  readonly #log: Log;
  readonly #companion: Companion | null;
  readonly #served: Served[];
  #companionRuns = false;
  #stopped = false;
  /** The first one that asked for the end. */
  #signal: NodeJS.Signals | null = null;
  #stop: () => void = () => undefined;
  readonly #whenStopped: Promise<void>;

  constructor(entries: readonly ServeEntry[], log: Log, companion: Companion | null) {
    this.#entries = entries;
    this.#log = log;
    this.#companion = companion;
    // Without one of its devices a companion is of no use; other front-ends know nothing of it.
    const onFailed = (): void => (companion === null ? undefined : this.end());
    this.#served = entries.map((entry) => new Served(entry, log, () => this.end(), onFailed));
    this.#whenStopped = new Promise((resolve) => {
      this.#stop = resolve;
    });
  }

  async run(): Promise<number> {
    // Before the first socket exists, so that none is left behind.
    const forget = this.#listenToSignals();
    const untrace = this.#log.shows('debug') ? traceMessages(this.#log) : null;
    onFallback((call, instead) => {
      this.#log.write('debug', fallbackText(call, instead), { event: 'fallback', call });
    });
    let stopStatus: (() => void) | null = null;
    let code: number | null = null;
    try {
      for (const served of this.#served) {
        if (!this.#stopped) await served.start();
      }
      await this.#seal();
      if (!this.#stopped) await this.#advise();
      stopStatus = this.#showStatus();
      if (this.#companion === null) await this.#untilServed();
      else code = await this.#untilLeft(this.#companion);
    } finally {
      stopStatus?.();
      untrace?.();
      onFallback(null);
      await this.#close();
      await this.#log.flush();
      forget();
      this.#companion?.abandon();
    }
    if (this.#served.some((served) => served.failed)) return EXIT.FAILED;
    return code ?? EXIT.OK;
  }

  async #untilServed(): Promise<void> {
    const ended = Promise.all(
      this.#served.map((served) => served.backend?.ended ?? Promise.resolve()),
    );
    await Promise.race([ended, this.#whenStopped]);
  }

  /** Runs the companion to its end, or to that of a device. */
  async #untilLeft(companion: Companion): Promise<number> {
    if (!this.#stopped) {
      this.#companionRuns = true;
      const running = companion.run(this.#entries).finally(() => (this.#companionRuns = false));
      const code = await Promise.race([running, this.#whenStopped]);
      if (typeof code === 'number') return code;
      this.#log.write('warn', `${companion.name} is ended: a device that it uses is gone`, {
        event: 'ending',
      });
      await companion.end();
      return EXIT.FAILED;
    }
    return this.#signal === null ? EXIT.FAILED : EXIT.SIGNALLED + constants.signals[this.#signal];
  }

  /** All threads and devices are there, so nothing that is made at the start is needed any more. */
  async #seal(): Promise<void> {
    // What writes the log is loaded by then: no file can be opened any more on FreeBSD.
    await this.#log.flush();
    const remark = sealDeviceSandbox();
    if (remark !== null) this.#log.write(remark.level, remark.text, { event: 'sandbox' });
  }

  #listenToSignals(): () => void {
    const end = (signal: NodeJS.Signals): void => {
      const companion = this.#companionRuns && !this.#stopped ? this.#companion : null;
      if (companion !== null) {
        companion.signal(signal);
        return;
      }
      if (this.#stopped) process.exit(EXIT.FAILED);
      this.#signal = signal;
      this.#log.write('info', `${signal}: ending`, { event: 'ending', signal });
      this.end();
    };
    const hangUp = (signal: NodeJS.Signals): void => {
      if (this.#companion === null) this.#served.forEach((served) => served.look());
      else end(signal);
    };
    // Closing removes a socket before it waits for anything: even a program that fails leaves none.
    const abandon = (): void => {
      for (const { backend } of this.#served) void backend?.close();
      this.#companion?.abandon();
    };
    process.on('SIGTERM', end).on('SIGINT', end).on('SIGHUP', hangUp).on('exit', abandon);
    return () => {
      process.off('SIGTERM', end).off('SIGINT', end).off('SIGHUP', hangUp).off('exit', abandon);
    };
  }

  /** Asks for the end; {@link run} returns soon. */
  end(): void {
    this.#stopped = true;
    this.#stop();
  }

  /** Prints how to attach the device: when there is one, a forest of advice helps nobody. */
  async #advise(): Promise<void> {
    const [only] = this.#entries;
    if (this.#companion !== null) return;
    if (!this.#log.onTerminal || this.#entries.length > 1 || only?.hint === undefined) return;
    this.#log.hint(await only.hint());
  }

  /** Shows the status line where people look; returns how to take it away. */
  #showStatus(): (() => void) | null {
    const { TERM, NO_COLOR } = process.env;
    const log = this.#log;
    if (this.#companion !== null) return null;
    if (this.#entries.some((entry) => entry.ownsTerminal === true)) return null;
    if (!log.onTerminal || TERM === 'dumb' || !log.shows('info')) return null;
    const columns = (): number => process.stderr.columns || 80;
    const colours = NO_COLOR === undefined || NO_COLOR === '';
    const line = new StatusLine(this.#served, columns, colours, performance.now());
    log.setOverlay(line);
    log.refresh();
    const timer = setInterval(() => {
      if (line.tick(performance.now())) log.refresh();
    }, STATUS_INTERVAL_MS);
    timer.unref();
    const redraw = (): void => log.refresh();
    process.stderr.on('resize', redraw);
    const hide = (): void => {
      clearInterval(timer);
      process.stderr.off('resize', redraw);
      log.setOverlay(null);
      process.off('exit', hide);
    };
    process.on('exit', hide);
    return hide;
  }

  async #close(): Promise<void> {
    const closing = Promise.all(
      this.#served.map((served) => served.backend?.close() ?? Promise.resolve()),
    );
    const limit = new Promise<'late'>((resolve) => {
      setTimeout(() => resolve('late'), CLOSE_LIMIT_MS).unref();
    });
    if ((await Promise.race([closing, limit])) !== 'late') return;
    const seconds = CLOSE_LIMIT_MS / 1000;
    this.#log.write('warn', `requests are still on their way after ${counted(seconds, 'second')}`, {
      event: 'abandoned',
    });
  }
}
