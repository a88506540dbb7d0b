/**
 * The options of a vsock device, checked.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import { QUEUE_SIZE_MAX } from '../../virtqueue/index.ts';
import { VSOCK_CID, VSOCK_PORT_MAX } from './layout.ts';

/** What `openVsock` takes; all but `guestCid` may be left out. Plain data. */
export interface VsockOptions {
  /** The guest's context id, 3 to 4294967294. */
  readonly guestCid: number;
  /**
   * The hybrid convention: a program of the host connects to this Unix socket, says `CONNECT port`
   * and a newline, and is answered `OK hostPort` and a newline; a guest that connects to port P of
   * the host reaches the socket at this path with `_P` after it. Default: none.
   */
  readonly udsPath?: string;
  /** Permissions of the socket files that are made, such as 0o660. Default: by the umask. */
  readonly socketMode?: number;
  /** The group of the socket files that are made, by its number. Default: the process's. */
  readonly socketGroup?: number;
  /** Where connections of the guest to the host go. The first that fits is taken, then udsPath. */
  readonly forwards?: readonly VsockForward[];
  /** Where the host listens for connections to the guest. */
  readonly listens?: readonly VsockListen[];
  /** Guests of the same network that share a group reach each other. Default: none. */
  readonly groups?: readonly string[];
  /**
   * The most bytes of one connection that are kept for a program of the host that does not read;
   * the guest may send so many ahead: 4 KiB to 16 MiB. Default: 262144.
   */
  readonly txBufferBytes?: number;
  /** Connections at a time, 1 to 65536. Default: 4096. */
  readonly connectionsMax?: number;
  /** The largest ring that a front-end may set up: a power of two. Default: 1024. */
  readonly queueSize?: number;
  /** The longest time to poll before sleeping, in microseconds; 0 never polls. Default: 64. */
  readonly pollUs?: number;
  /** Offer SOCK_SEQPACKET to the guest. Default: true where the host has it for Unix sockets. */
  readonly seqpacket?: boolean;
}

/** A port of the host as the guest sees it, and what is behind it. */
export interface VsockForward {
  /** The port that the guest connects to; `*` stands for each. */
  readonly guestPort: number | '*';
  readonly target: VsockTarget;
}

/** Where a connection of the guest goes. Without a port: to the one that the guest named. */
export type VsockTarget =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port?: number }
  | { readonly kind: 'vsock'; readonly cid?: number; readonly port?: number };

/** An address of the host, and the port of the guest behind it. */
export interface VsockListen {
  readonly source: VsockSource;
  readonly guestPort: number;
}

/** Where connections to the guest come from; a type is taken over to the guest's side. */
export type VsockSource =
  | { readonly kind: 'unix'; readonly path: string; readonly type?: VsockSocketType }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'vsock'; readonly port: number; readonly type?: VsockSocketType };

/** Kinds of sockets. */
export type VsockSocketType = 'stream' | 'seqpacket';

/** All options, with their defaults filled in; an empty path, -1 and null stand for "none". */
export interface VsockSettings {
  readonly guestCid: number;
  readonly udsPath: string;
  readonly socketMode: number;
  readonly socketGroup: number;
  readonly forwards: readonly VsockForward[];
  readonly listens: readonly VsockListen[];
  readonly groups: readonly string[];
  readonly txBufferBytes: number;
  readonly connectionsMax: number;
  readonly queueSize: number;
  readonly pollUs: number;
  /** Null: where the host has it. */
  readonly seqpacket: boolean | null;
}

const TX_BUFFER_BYTES = 256 * 1024;
const TX_BUFFER_BYTES_MIN = 4096;
const TX_BUFFER_BYTES_MAX = 16 * 1024 * 1024;
const CONNECTIONS = 4096;
const CONNECTIONS_MAX = 65_536;
/** See `devices/blk/options.ts`. */
const POLL_US = 64;
const POLL_US_MAX = 1_000_000;
const TCP_PORT_MAX = 65_535;

/**
 * Fills in defaults.
 * @throws VhostUserError `ERR_VHU_OPTION` naming the option, its value and its limits.
 */
export function vsockSettings(options: VsockOptions): VsockSettings {
  const settings: VsockSettings = {
    guestCid: options.guestCid,
    udsPath: options.udsPath ?? '',
    socketMode: options.socketMode ?? -1,
    socketGroup: options.socketGroup ?? -1,
    forwards: options.forwards ?? [],
    listens: options.listens ?? [],
    groups: options.groups ?? [],
    txBufferBytes: options.txBufferBytes ?? TX_BUFFER_BYTES,
    connectionsMax: options.connectionsMax ?? CONNECTIONS,
    queueSize: options.queueSize ?? 1024,
    pollUs: options.pollUs ?? POLL_US,
    seqpacket: options.seqpacket ?? null,
  };
  inRange('guest-cid', settings.guestCid, VSOCK_CID.firstGuest, VSOCK_CID.lastGuest);
  inRange('tx-buffer-size', settings.txBufferBytes, TX_BUFFER_BYTES_MIN, TX_BUFFER_BYTES_MAX);
  inRange('max-connections', settings.connectionsMax, 1, CONNECTIONS_MAX);
  inRange('poll-us', settings.pollUs, 0, POLL_US_MAX);
  inRange('queue-size', settings.queueSize, 2, QUEUE_SIZE_MAX);
  if ((settings.queueSize & (settings.queueSize - 1)) !== 0) {
    throw optionError(`queue-size is ${String(settings.queueSize)}: a power of two is wanted`);
  }
  if (options.udsPath !== undefined) checkPath('uds-path', options.udsPath);
  for (const forward of settings.forwards) checkForward(forward);
  for (const listen of settings.listens) checkListen(listen);
  for (const group of settings.groups) {
    if (group === '') throw optionError('groups has an empty name');
  }
  return settings;
}

function checkForward({ guestPort, target }: VsockForward): void {
  if (guestPort !== '*') inRange('forward: the port', guestPort, 0, VSOCK_PORT_MAX);
  if (target.kind === 'unix') {
    checkPath('forward: the path', target.path);
  } else if (target.kind === 'tcp') {
    checkHost('forward: the host', target.host);
    if (target.port !== undefined) inRange('forward: the TCP port', target.port, 1, TCP_PORT_MAX);
  } else {
    if (target.cid !== undefined) inRange('forward: the CID', target.cid, 0, VSOCK_CID.lastGuest);
    if (target.port !== undefined) inRange('forward: the port', target.port, 0, VSOCK_PORT_MAX);
  }
}

function checkListen({ source, guestPort }: VsockListen): void {
  inRange("listen: the guest's port", guestPort, 0, VSOCK_PORT_MAX);
  if (source.kind === 'unix') {
    checkPath('listen: the path', source.path);
  } else if (source.kind === 'tcp') {
    checkHost('listen: the host', source.host);
    inRange('listen: the TCP port', source.port, 0, TCP_PORT_MAX);
  } else {
    inRange('listen: the port', source.port, 0, VSOCK_PORT_MAX);
  }
}

function checkPath(name: string, path: string): void {
  if (path === '') throw optionError(`${name} is empty`);
  if (path.includes('\0')) throw optionError(`${name} has a NUL in it`);
}

function checkHost(name: string, host: string): void {
  if (host === '' || host.includes('\0')) {
    throw optionError(`${name} is ${JSON.stringify(host)}: a name or an address is wanted`);
  }
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
