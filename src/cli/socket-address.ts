/**
 * Where a device meets its front-end, from the command line or from whoever started this process.
 *
 * @module
 */
import type { BackendAddress } from '../backend/index.ts';
import { activatedFds, fdKind, launchdFds } from '../sys/index.ts';
import type { ActivatedFd } from '../sys/index.ts';
import { VhostUserError } from '../util/index.ts';
import { UsageError } from './errors.ts';
import { groupId } from './groups.ts';
import type { SocketOptions } from './options.ts';

/** The entry of `Sockets` in a launchd property list that is ours. */
export const LAUNCHD_SOCKET_NAME = 'Listeners';

/** Permissions of a socket whose group is given. */
const GROUP_MODE = 0o660;

/** Where, as an operator says it. At most one of `socketPath`, `fd` and `activation`. */
export interface SocketSettings {
  readonly socketPath?: string | undefined;
  readonly fd?: number | undefined;
  /** The FileDescriptorName= of an inherited socket. */
  readonly activation?: string | undefined;
  /** Connect to a front-end that listens on `socketPath`. */
  readonly connect?: boolean | undefined;
  readonly mode?: number | undefined;
  /** The group of the socket, by name or number. */
  readonly group?: string | undefined;
}

/** The settings that options of a command are. */
export function commandSocket(options: SocketOptions): SocketSettings {
  const { socketPath, fd, connect, socketMode: mode, socketGroup: group } = options;
  return { socketPath, fd, connect, mode, group };
}

/** What the process inherited; asked once, since asking systemd's variables takes them away. */
export class InheritedSockets {
  #sockets: ActivatedFd[] | null = null;

  /** All of them, or those of a name. */
  find(name?: string): ActivatedFd[] {
    this.#sockets ??= inherited();
    return this.#sockets.filter((socket) => name === undefined || socket.name === name);
  }
}

/**
 * Makes an address of settings.
 *
 * @param help the command that explains, for the text of an error
 * @throws UsageError when the settings are not one place; VhostUserError when an fd is no socket
 */
export function resolveAddress(
  settings: SocketSettings,
  inheritedSockets: InheritedSockets,
  help: string,
): BackendAddress {
  const { socketPath, fd, activation, connect = false, mode } = settings;
  if (socketPath !== undefined) {
    if (connect) return { kind: 'connect', path: socketPath };
    return listenAddress(socketPath, mode, settings.group);
  }
  if (connect) throw new UsageError('--connect needs --socket-path, the path to connect to', help);
  if (fd !== undefined) return { kind: 'fd', fd: checkedSocket(fd, `--fd ${String(fd)}`) };
  const found = inheritedSockets.find(activation);
  const [socket] = found;
  if (socket === undefined) throw nothingGiven(activation, help);
  if (found.length > 1) {
    const names = found.map(({ fd: each, name }) => `${each} (${name || 'no name'})`).join(', ');
    throw new VhostUserError(
      'ERR_VHU_ACTIVATION',
      `${found.length} sockets were inherited, and one device is served: fds ${names}: ` +
        "pass one, or serve several devices with 'vhost-user run', naming each by activation:",
    );
  }
  return { kind: 'fd', fd: checkedSocket(socket.fd, `inherited fd ${String(socket.fd)}`) };
}

/** A group that is named is to use the socket: without a mode it may, and nobody else. */
function listenAddress(path: string, mode?: number, group?: string): BackendAddress {
  if (group === undefined) return { kind: 'listen', path, ...(mode !== undefined && { mode }) };
  return { kind: 'listen', path, mode: mode ?? GROUP_MODE, group: groupId(group) };
}

function nothingGiven(activation: string | undefined, help: string): UsageError {
  if (activation !== undefined) {
    return new UsageError(
      `no socket named '${activation}' was inherited: is FileDescriptorName=${activation} in the ` +
        'socket unit, and was this process started by it?',
    );
  }
  return new UsageError(
    'where to meet the front-end? Give --socket-path PATH or --fd N, or start this program by ' +
      'socket activation of systemd or launchd',
    help,
  );
}

function checkedSocket(fd: number, what: string): number {
  const kind = fdKind(fd);
  if (kind === 'socket') return fd;
  const device = kind === 'char' || kind === 'block' ? ' device' : '';
  const found = kind === 'other' ? 'not open' : `a ${kind}${device}`;
  throw new VhostUserError(
    'ERR_VHU_NO_SOCKET',
    `${what} is ${found}: a Unix socket is needed, listening or connected, that the parent ` +
      'process has left open for this one',
  );
}

function inherited(): ActivatedFd[] {
  const sockets = activatedFds(process.env);
  if (sockets.length > 0) return sockets;
  try {
    return launchdFds(LAUNCHD_SOCKET_NAME).map((fd) => ({ fd, name: LAUNCHD_SOCKET_NAME }));
  } catch (error) {
    // Another host than macOS, or a process that launchd did not start.
    if (error instanceof VhostUserError) return [];
    throw error;
  }
}
