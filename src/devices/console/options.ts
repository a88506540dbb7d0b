/**
 * The options of a console, checked.
 *
 * @module
 */
import type { Readable, Writable } from 'node:stream';
import { VhostUserError } from '../../util/index.ts';
import { QUEUE_SIZE_MAX } from '../../virtqueue/index.ts';
import type { ConsoleEnd } from './ends/end.ts';

/** What `openConsole` takes. Port 0 is `/dev/hvc0` of a Linux guest. */
export interface ConsoleOptions extends PortOptions {
  /** Further ports: generic serial ports by default, `/dev/virtio-ports/NAME`. */
  readonly ports?: readonly NamedPortOptions[];
  /** The largest ring that a front-end may set up: a power of two. Default: 256. */
  readonly queueSize?: number;
  /** See {@link ResizeOrder}. Default: rows. */
  readonly resizeOrder?: ResizeOrder;
  /** Somebody has pressed the escape key of a terminal, or the terminal is gone. */
  readonly onLeave?: () => void;
}

/**
 * What comes first in the control message of a new size. The specification has columns first
 * (section 5.3.6.2). Linux's driver has read rows first since it was written, but for some releases
 * of 2025, and stable series that took over that change and not its revert, such as 6.1.
 */
export type ResizeOrder = 'rows' | 'columns';

/** One port. */
export interface PortOptions {
  /** Where the other side of the port is, on this host. Default: nowhere. */
  readonly end?: EndOptions | ConsoleEnd;
  /** A file that all output is appended to. */
  readonly log?: LogFileOptions;
  /** What becomes of output while nobody is there. Default: `keep`, and `wait` for serial ports. */
  readonly unattended?: Unattended;
  /** How much of the newest output `keep` keeps for whoever comes, in bytes. Default: 64 KiB. */
  readonly backlogBytes?: number;
  /** The size in characters that the guest is told at first; an end that knows better says so. */
  readonly size?: { readonly columns: number; readonly rows: number };
  /** A name that the guest sees, up to 63 bytes. Default for port 0: none. */
  readonly name?: string;
}

/** A port beyond the first. */
export interface NamedPortOptions extends PortOptions {
  readonly name: string;
  /** A further console (`/dev/hvc1`, …) and no serial port. Default: false. */
  readonly console?: boolean;
}

/**
 * What becomes of output while nobody is there to read it: the newest is kept for whoever comes, or
 * the guest waits, or it is thrown away.
 */
export type Unattended = 'keep' | 'wait' | 'discard';

/** Where the other side of a port is. */
export type EndOptions =
  /** Nobody is there; with a log file, output is written to that. */
  | { readonly kind: 'none' }
  /** Streams of this process; they stay the caller's. */
  | { readonly kind: 'streams'; readonly input: Readable | null; readonly output: Writable | null }
  /** A terminal that this process has open, made raw while a guest is there. */
  | {
      readonly kind: 'terminal';
      readonly input: Readable;
      readonly output: Writable;
      /** Of the input, for its mode. */
      readonly fd: number;
      /** The byte that leaves; null: no byte does. Default: 0x1d, Ctrl-]. */
      readonly escape?: number | null;
    }
  /** A pseudo terminal, and a symbolic link to it. */
  | { readonly kind: 'pty'; readonly link?: string }
  /** A Unix socket, for several clients. */
  | {
      readonly kind: 'unix';
      readonly path: string;
      readonly mode?: number;
      readonly group?: number;
      readonly clientsMax?: number;
    }
  /** A TCP socket, for several clients; `host` is 127.0.0.1 by default. */
  | {
      readonly kind: 'tcp';
      readonly host?: string;
      readonly port: number;
      readonly clientsMax?: number;
    };

/** A log file, and its rotation: `FILE.1` is the newest of the older ones. */
export interface LogFileOptions {
  readonly path: string;
  /** Bytes after which the file is rotated; 0 never does. Default: 0. */
  readonly maxBytes?: number;
  /** Older files that are kept. Default: 3. */
  readonly keep?: number;
}

/** One port with its defaults. */
export interface PortSettings {
  readonly id: number;
  readonly name: string;
  readonly console: boolean;
  readonly end: EndOptions | ConsoleEnd;
  readonly log: LogFileOptions | null;
  readonly unattended: Unattended;
  readonly backlogBytes: number;
  readonly size: { readonly columns: number; readonly rows: number } | null;
}

/** All options with their defaults. */
export interface ConsoleSettings {
  readonly ports: readonly PortSettings[];
  readonly queueSize: number;
  readonly resizeOrder: ResizeOrder;
  readonly onLeave: () => void;
}

/** Ports of one device. */
export const PORTS_MAX = 64;
/** Bytes of a port's name. */
export const NAME_BYTES_MAX = 63;
/** What `backlogBytes` may be. */
export const BACKLOG_BYTES_MAX: number = 16 * 1024 * 1024;
/** What a size may be: 16 bits are in the messages. */
export const SIZE_MAX = 0xffff;
const LOG_KEEP_MAX = 1000;

const DEFAULTS = { queueSize: 256, backlogBytes: 64 * 1024 } as const;

/**
 * Fills in defaults.
 * @throws VhostUserError `ERR_VHU_OPTION` naming the option, its value and its limits.
 */
export function consoleSettings(options: ConsoleOptions): ConsoleSettings {
  const { ports: more = [], queueSize = DEFAULTS.queueSize } = options;
  inRange('queue-size', queueSize, 2, QUEUE_SIZE_MAX);
  if ((queueSize & (queueSize - 1)) !== 0) {
    throw optionError(`queue-size is ${String(queueSize)}: a power of two is wanted`);
  }
  inRange('the number of ports', more.length + 1, 1, PORTS_MAX);
  const ports = [
    portSettings({ ...options, name: options.name ?? '', console: true }, 0),
    ...more.map((port, i) => portSettings(port, i + 1)),
  ];
  const names = new Set<string>();
  for (const { id, name } of ports) {
    if (name === '' && id === 0) continue;
    if (name === '' || names.has(name)) {
      throw optionError(`port ${String(id)}: the name "${name}" is empty, or another port has it`);
    }
    names.add(name);
  }
  return {
    ports,
    queueSize,
    resizeOrder: options.resizeOrder ?? 'rows',
    onLeave: options.onLeave ?? ((): void => undefined),
  };
}

function portSettings(port: NamedPortOptions, id: number): PortSettings {
  const { name, log = null, size = null, backlogBytes = DEFAULTS.backlogBytes } = port;
  const what = `port ${name === '' ? String(id) : name}: `;
  const nameBytes = Buffer.byteLength(name);
  if (nameBytes > NAME_BYTES_MAX || /[/\0\n]/.test(name)) {
    throw optionError(
      `${what}a name has at most ${String(NAME_BYTES_MAX)} bytes and no "/", since it becomes a ` +
        'file name in the guest',
    );
  }
  inRange(`${what}backlog`, backlogBytes, 0, BACKLOG_BYTES_MAX);
  if (size !== null) {
    inRange(`${what}columns`, size.columns, 1, SIZE_MAX);
    inRange(`${what}rows`, size.rows, 1, SIZE_MAX);
  }
  if (log !== null) {
    inRange(`${what}log-size`, log.maxBytes ?? 0, 0, Number.MAX_SAFE_INTEGER);
    inRange(`${what}log-keep`, log.keep ?? 0, 0, LOG_KEEP_MAX);
  }
  const isConsole = port.console === true;
  return {
    id,
    name,
    console: isConsole,
    end: port.end ?? { kind: 'none' },
    log,
    unattended: port.unattended ?? (isConsole ? 'keep' : 'wait'),
    backlogBytes,
    size,
  };
}

function inRange(name: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw optionError(
    `${name} is ${String(value)}: a whole number from ${String(min)} to ${String(max)} is wanted`,
  );
}

function optionError(text: string): VhostUserError {
  return new VhostUserError('ERR_VHU_OPTION', text);
}
