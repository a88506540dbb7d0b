/**
 * Whether there is a folder for sockets: one that may be written to, and whose name is so short
 * that a path in it is no longer than a socket's may be.
 *
 * @module
 */
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rmSync } from 'node:fs';
import { errorCode, errorMessage } from '../util/index.ts';
import { remedy } from './finding.ts';
import type { Finding, Remedy } from './finding.ts';
import type { HostFacts } from './host.ts';

/** Bytes of a path with its NUL: sun_path of struct sockaddr_un. */
const PATH_BYTES_LINUX = 108;
const PATH_BYTES_ELSEWHERE = 104;
/** Room for a name such as `/web1-vhost-user-fs.sock`. */
const NAME_BYTES_GOOD = 24;
const CONNECT_LIMIT_MS = 10_000;

/** A folder for sockets, and why it is one. */
interface SocketFolder {
  readonly path: string;
  readonly reason: string;
}

/** Where sockets go on this host: the folder of this user, or the one for temporary files. */
export function socketFolder(env: NodeJS.ProcessEnv): SocketFolder {
  const runtime = env.XDG_RUNTIME_DIR ?? '';
  if (runtime !== '') return { path: runtime, reason: 'XDG_RUNTIME_DIR' };
  return { path: tmpdir(), reason: 'the folder for temporary files' };
}

/** Makes a socket there, connects to it and takes it away again. */
export async function socketFinding(host: HostFacts, env: NodeJS.ProcessEnv): Promise<Finding> {
  const folder = socketFolder(env);
  const common = { id: 'socket-folder', section: 'sockets', title: 'Socket folder' } as const;
  const where = `${folder.path} (${folder.reason})`;
  const limit = (host.os === 'linux' ? PATH_BYTES_LINUX : PATH_BYTES_ELSEWHERE) - 1;
  const left = limit - Buffer.byteLength(join(folder.path, '/'));
  if (left < 1 + 'vhu.sock'.length) {
    const detail = `${where} is too long a name: a socket's path has ${limit} bytes at the most`;
    return { ...common, needed: true, status: 'missing', detail, remedy: elsewhere(folder) };
  }
  const fault = await tryFolder(folder.path);
  if (fault !== null) {
    const detail = `no socket can be made in ${where}: ${fault}`;
    return { ...common, needed: true, status: 'missing', detail, remedy: elsewhere(folder) };
  }
  const tight = left < NAME_BYTES_GOOD;
  const detail = `${where} takes them; ${left} bytes are left for a name`;
  return {
    ...common,
    needed: true,
    status: 'works',
    detail: tight ? `${detail}, which is little` : detail,
    remedy: tight ? remedy('Put sockets into a folder with a shorter name, such as /tmp') : null,
  };
}

function elsewhere(folder: SocketFolder): Remedy {
  if (folder.reason === 'XDG_RUNTIME_DIR') {
    return remedy(
      'Put sockets into a folder that is yours and short',
      'mkdir -p -m 700 /tmp/vhost-user && export XDG_RUNTIME_DIR=/tmp/vhost-user',
    );
  }
  return remedy('Name another folder for temporary files', 'export TMPDIR=/tmp');
}

/** Why no socket can be made and used in a folder, or null. */
async function tryFolder(folder: string): Promise<string | null> {
  const path = join(folder, `vhu-${process.pid}.sock`);
  const server = createServer((socket) => socket.end('x'));
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
    return await heard(path);
  } catch (error) {
    return errorCode(error) ?? errorMessage(error);
  } finally {
    server.close();
    rmSync(path, { force: true });
  }
}

/** Whether a byte comes from a listening socket. */
function heard(path: string): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const end = (fault: string | null): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(fault);
    };
    const timer = setTimeout(() => end('nobody answers'), CONNECT_LIMIT_MS);
    socket.once('data', () => end(null));
    socket.once('end', () => end('it ends without an answer'));
    socket.once('error', (error) => end(errorCode(error) ?? error.message));
  });
}
