/**
 * What can be chosen for a console, from the command line or from a file, and what is wrong about a
 * choice.
 *
 * @module
 */
import { resolve } from 'node:path';
import type {
  ConsoleOptions,
  EndOptions,
  NamedPortOptions,
  PortOptions,
  ResizeOrder,
  Unattended,
} from '../devices/console/index.ts';
import { groupId } from './groups.ts';

/** Permissions of a socket whose group is given. */
const GROUP_MODE = 0o660;

/** What becomes of output while nobody is there. */
export const UNATTENDED: readonly ['keep', 'wait', 'discard'] = ['keep', 'wait', 'discard'];

/** What `--resize-order` allows. */
export const RESIZE_ORDERS: readonly ['rows', 'columns'] = ['rows', 'columns'];

/** The other end of a port, as it is asked for. */
export type EndChoice =
  | { readonly kind: 'none' | 'stdio' }
  | { readonly kind: 'pty'; readonly link?: string }
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host?: string; readonly port: number };

/** What can be chosen for one port, by commander's names. */
export interface PortChoices {
  readonly stdio?: boolean | undefined;
  readonly pty?: string | true | undefined;
  readonly unix?: string | undefined;
  readonly tcp?: EndChoice | undefined;
  readonly unixMode?: number | undefined;
  /** By name or number. */
  readonly unixGroup?: string | undefined;
  readonly maxClients?: number | undefined;
  readonly log?: string | undefined;
  readonly logSize?: number | undefined;
  readonly logKeep?: number | undefined;
  readonly unattended?: Unattended | undefined;
  readonly backlog?: number | undefined;
  readonly size?: Size | undefined;
}

/** A size in characters. */
export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** A port beyond the first. */
export interface NamedPortChoices extends PortChoices {
  readonly name: string;
  readonly console?: boolean | undefined;
}

/** What can be chosen for a console. */
export interface ConsoleChoices extends PortChoices {
  readonly portName?: string | undefined;
  readonly ports?: readonly NamedPortChoices[] | undefined;
  /** The byte that leaves the terminal; {@link NO_ESCAPE}: none. */
  readonly escape?: number | undefined;
  readonly queueSize?: number | undefined;
  readonly resizeOrder?: ResizeOrder | undefined;
}

/** Makes the end that is this process's own input and output. */
export type StdioEnd = (escape: number | undefined) => EndOptions;

/** Keys of {@link PortChoices} of which one says where the other end is. */
export const END_KEYS: readonly ['stdio', 'pty', 'unix', 'tcp'] = ['stdio', 'pty', 'unix', 'tcp'];

/** The size that a text such as `120x40` means; null when it is none. */
export function parseConsoleSize(text: string): Size | null {
  const [, columns = '', rows = ''] = /^([1-9][0-9]{0,4})x([1-9][0-9]{0,4})$/.exec(text) ?? [];
  const size = { columns: Number(columns), rows: Number(rows) };
  return columns !== '' && size.columns <= 0xffff && size.rows <= 0xffff ? size : null;
}

/** What a size has to look like. */
export const CONSOLE_SIZE_RULE = 'a size in columns and rows such as 120x40';

/** In the place of a byte: no key leaves. (To the command line's library null is no value.) */
export const NO_ESCAPE = -1;

/** The byte that a text such as `^]` means, or {@link NO_ESCAPE}; null when it is no key. */
export function parseEscape(text: string): number | null {
  if (text === 'none') return NO_ESCAPE;
  const [, key] = /^\^([@-_a-z])$/.exec(text) ?? [];
  return key === undefined ? null : key.toUpperCase().charCodeAt(0) & 0x1f;
}

/** What an escape key has to look like. */
export const ESCAPE_RULE = "a control key such as '^]', or none";

/** The address that a text such as `127.0.0.1:4000` or `4000` means; null when it is none. */
export function parseTcp(text: string): EndChoice | null {
  const [, host, digits = ''] =
    /^(?:(\[[0-9a-fA-F:.]+\]|[^:[\]]+):)?([0-9]{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (port < 1 || port > 0xffff) return null;
  if (host === undefined) return { kind: 'tcp', port };
  return { kind: 'tcp', host: host.replace(/^\[(.*)\]$/, '$1'), port };
}

/** What an address has to look like. */
export const TCP_RULE = 'a port such as 4000, or an address such as 127.0.0.1:4000';

/** What a port of the command line has to look like. */
export const PORT_RULE =
  'NAME=END (with an END of pty, pty:LINK, unix:PATH, tcp:PORT, tcp:HOST:PORT, stdio or none)';

/** The port that a text such as `org.qemu.guest_agent.0=unix:/tmp/qga.sock` means, or null. */
export function parsePort(text: string): NamedPortChoices | null {
  const at = text.indexOf('=');
  const name = text.slice(0, at);
  const end = text.slice(at + 1);
  if (at <= 0 || portNameFault(name) !== null) return null;
  const [, kind = '', rest] = /^([a-z]+)(?::(.+))?$/s.exec(end) ?? [];
  if (kind === 'none' && rest === undefined) return { name };
  if (kind === 'stdio' && rest === undefined) return { name, stdio: true };
  if (kind === 'pty') return { name, pty: rest ?? true };
  if (kind === 'unix' && rest !== undefined) return { name, unix: rest };
  const tcp = kind === 'tcp' && rest !== undefined ? parseTcp(rest) : null;
  return tcp === null ? null : { name, tcp };
}

const NAME_BYTES_MAX = 63; // what a message of ours has room for, and any guest takes

/** What is wrong with the name of a port; null when nothing is. */
export function portNameFault(name: string): string | null {
  const bytes = Buffer.byteLength(name);
  if (bytes === 0 || bytes > NAME_BYTES_MAX) {
    return `a name has 1 to ${NAME_BYTES_MAX} bytes, and this one has ${bytes}`;
  }
  return /[/\0\n]/.test(name)
    ? "a name has no '/', since it becomes a file name in the guest"
    : null;
}

/** A fault of a choice: the option without its dashes, and what is wrong. */
export interface ConsoleFault {
  readonly key: string;
  readonly text: string;
  /** Of a port beyond the first, by its place. */
  readonly port?: number;
}

/** What is wrong about choices that are good one by one. */
export function consoleFaults(choices: ConsoleChoices): ConsoleFault[] {
  const ports = choices.ports ?? [];
  const faults = portFaults(choices);
  ports.forEach((port, i) => {
    for (const fault of portFaults(port)) faults.push({ ...fault, port: i });
    const first = ports.findIndex(({ name }) => name === port.name);
    if (first < i || port.name === choices.portName) {
      faults.push({ key: 'name', text: `another port has the name ${port.name}`, port: i });
    }
    const earlier = [choices, ...ports.slice(0, i)];
    if (port.stdio === true && earlier.some((each) => each.stdio === true)) {
      faults.push({ key: 'stdio', text: 'another port has standard input and output', port: i });
    }
  });
  return faults;
}

function portFaults(port: PortChoices): ConsoleFault[] {
  const faults: ConsoleFault[] = [];
  const ends = endKeys(port);
  const [first, second] = ends;
  if (first !== undefined && second !== undefined) {
    faults.push({
      key: second,
      text: `cannot be together with ${first}: a port has one other end`,
    });
  }
  const needs = (key: string, given: unknown, needed: boolean, what: string): void => {
    if (given !== undefined && !needed) faults.push({ key, text: `needs ${what}` });
  };
  needs('log-size', port.logSize, port.log !== undefined, 'log, the file that is rotated');
  needs('log-keep', port.logKeep, (port.logSize ?? 0) > 0, 'log-size, after which it is rotated');
  needs('unix-mode', port.unixMode, port.unix !== undefined, 'unix');
  needs('unix-group', port.unixGroup, port.unix !== undefined, 'unix');
  const isSocket = port.unix !== undefined || port.tcp !== undefined;
  needs('max-clients', port.maxClients, isSocket, 'unix or tcp');
  return faults;
}

/** Which of the ends of a port were chosen. */
export function endKeys(port: PortChoices): (typeof END_KEYS)[number][] {
  return END_KEYS.filter((key) => port[key] !== undefined && port[key] !== false);
}

/** Whether a port is at this process's own input and output. */
export function usesStdio(choices: ConsoleChoices): boolean {
  return [choices, ...(choices.ports ?? [])].some((port) => port.stdio === true);
}

/** The same choices with paths that begin at a folder. */
export function consoleInFolder(choices: ConsoleChoices, folder: string): ConsoleChoices {
  const at = (path: string | undefined): string | undefined =>
    path === undefined ? undefined : resolve(folder, path);
  const place = <P extends PortChoices>(port: P): P => ({
    ...port,
    unix: at(port.unix),
    log: at(port.log),
    pty: typeof port.pty === 'string' ? at(port.pty) : port.pty,
  });
  return { ...place(choices), ports: choices.ports?.map(place) };
}

/** What the device is made from. */
export function consoleOptions(choices: ConsoleChoices, stdio: StdioEnd): ConsoleOptions {
  const { portName, ports = [], queueSize, resizeOrder, escape } = choices;
  const optionsOf = (port: PortChoices): PortOptions => portOptions(port, () => stdio(escape));
  return {
    ...optionsOf(choices),
    ...(portName !== undefined && { name: portName }),
    ports: ports.map((port): NamedPortOptions => {
      return { ...optionsOf(port), name: port.name, console: port.console === true };
    }),
    ...(queueSize !== undefined && { queueSize }),
    ...(resizeOrder !== undefined && { resizeOrder }),
  };
}

function portOptions(port: PortChoices, stdio: () => EndOptions): PortOptions {
  const { log, logSize, logKeep, unattended, backlog, size } = port;
  return {
    end: endOptions(port, stdio),
    ...(log !== undefined && {
      log: {
        path: log,
        ...(logSize !== undefined && { maxBytes: logSize }),
        ...(logKeep !== undefined && { keep: logKeep }),
      },
    }),
    ...(unattended !== undefined && { unattended }),
    ...(backlog !== undefined && { backlogBytes: backlog }),
    ...(size !== undefined && { size }),
  };
}

function endOptions(port: PortChoices, stdio: () => EndOptions): EndOptions {
  const { pty, unix, tcp, unixMode: mode, unixGroup: group, maxClients: clientsMax } = port;
  if (port.stdio === true) return stdio();
  if (pty !== undefined) return { kind: 'pty', ...(pty !== true && { link: pty }) };
  const limit = clientsMax === undefined ? {} : { clientsMax };
  if (unix !== undefined) {
    return {
      kind: 'unix',
      path: unix,
      ...limit,
      ...(mode !== undefined && { mode }),
      ...(group !== undefined && { group: groupId(group), mode: mode ?? GROUP_MODE }),
    };
  }
  if (tcp?.kind !== 'tcp') return { kind: 'none' };
  return { ...tcp, ...limit };
}
