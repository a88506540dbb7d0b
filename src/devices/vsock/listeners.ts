/**
 * The sockets of the host that listen for connections to the guest. Owns them, and their files.
 *
 * @module
 */
import { lstatSync, unlinkSync } from 'node:fs';
import { isIP } from 'node:net';
import { VhostUserError } from '../../util/index.ts';
import {
  closeFd,
  listenSocket,
  listenUnix,
  localPort,
  setVsockBuffer,
  socketName,
} from '../../sys/index.ts';
import type { SocketAddress, SocketType } from '../../sys/index.ts';
import { VSOCK_CID } from './layout.ts';
import type { VsockListen, VsockSettings } from './options.ts';
import type { PlannedListener } from './plan.ts';
import { vsockRoom } from './set-up.ts';

/** Connections that may wait to be accepted; a host may allow fewer. */
const BACKLOG = 1024;

/** A socket file that we made. */
interface SocketFile {
  readonly path: string;
  readonly inode: bigint;
}

/** See the module. */
export class Listeners {
  readonly planned: PlannedListener[] = [];
  readonly #settings: VsockSettings;
  readonly #files: SocketFile[] = [];

  /**
   * Listens wherever the settings say.
   * @throws VhostUserError `ERR_VHU_OPTION`, `ERR_VHU_SOCKET_PATH`, `ERR_VHU_SOCKET_IN_USE`,
   *   `ERR_VHU_SYSTEM`; nothing listens then.
   */
  constructor(settings: VsockSettings) {
    this.#settings = settings;
    try {
      if (settings.udsPath !== '') this.#listenUnix(settings.udsPath, 'stream', -1);
      for (const listen of settings.listens) this.#listen(listen);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Closes the sockets, and removes files that are still ours; may be called again. */
  close(): void {
    for (const { fd } of this.planned.splice(0)) closeFd(fd);
    for (const file of this.#files.splice(0)) removeFile(file);
  }

  #listen({ source, guestPort }: VsockListen): void {
    if (source.kind === 'unix') {
      this.#listenUnix(source.path, source.type ?? 'stream', guestPort);
    } else if (source.kind === 'tcp') {
      const host = hostInDigits(source.host);
      this.#listenOther({ family: 'inet', host, port: source.port }, 'stream', guestPort);
    } else {
      const where = { family: 'vsock', cid: VSOCK_CID.any, port: source.port } as const;
      this.#listenOther(where, source.type ?? 'stream', guestPort);
    }
  }

  #listenUnix(path: string, type: SocketType, guestPort: number): void {
    const { socketMode, socketGroup } = this.#settings;
    const fd = listenUnix(path, {
      backlog: BACKLOG,
      type,
      ...(socketMode < 0 ? {} : { mode: socketMode }),
      ...(socketGroup < 0 ? {} : { group: socketGroup }),
    });
    this.planned.push({ fd, name: path, type, family: 'unix', guestPort });
    this.#files.push({ path, inode: lstatSync(path, { bigint: true }).ino });
  }

  #listenOther(
    where: Exclude<SocketAddress, { family: 'unix' }>,
    type: SocketType,
    guestPort: number,
  ): void {
    const fd = listenSocket(where, type, BACKLOG);
    try {
      const name = socketName({ ...where, port: localPort(fd) });
      if (where.family === 'vsock' && type === 'seqpacket')
        setVsockBuffer(fd, vsockRoom(this.#settings.txBufferBytes));
      this.planned.push({ fd, name, type, family: where.family, guestPort });
    } catch (error) {
      closeFd(fd);
      throw error;
    }
  }
}

/** Only addresses of this host can be listened on: names of others are not looked up. */
function hostInDigits(host: string): string {
  if (host === 'localhost') return '127.0.0.1';
  if (host === '*') return '0.0.0.0';
  if (isIP(host) !== 0) return host;
  throw new VhostUserError(
    'ERR_VHU_OPTION',
    `listen: the host is "${host}": an address in digits is wanted, such as 127.0.0.1 or ::1`,
  );
}

/** Not one that somebody else has put in its place. */
function removeFile({ path, inode }: SocketFile): void {
  try {
    if (lstatSync(path, { bigint: true }).ino === inode) unlinkSync(path);
  } catch {
    // It is gone already.
  }
}
