/**
 * A folder of this process's own for sockets, and somebody who takes it away when this process has
 * not come to that.
 *
 * A process that is killed cannot tidy up. So a shell waits, in a session of its own that no Ctrl-C
 * reaches, for the end of a pipe from this process, which comes however that ends: then it ends the
 * monitor and removes what is left.
 *
 * @module
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { VhostUserError, errorCode, errorMessage } from '../../util/index.ts';

/** Nobody else gets at the sockets: whoever connects to one sees guest memory. */
const FOLDER_MODE = 0o700;
/** What a path may have where it is shortest (macOS and the BSDs), with the zero at its end. */
const UNIX_PATH_BYTES_MAX = 104;
/** Room for the longest name in the folder: `console99.vsock_4294967295`. */
const NAME_BYTES_MAX = 28;

/** Its arguments are what it removes. A line is `run PID` or `over`, for the monitor. */
const KEEPER = `pid=
while read -r word value; do
  case $word in run) pid=$value ;; over) pid= ;; esac
done
[ -z "$pid" ] || kill "$pid"
rm -rf -- "$@"`;

/** A folder for sockets; {@link SocketFolder.remove} ends it. */
export class SocketFolder {
  readonly path: string;
  readonly #isOurs: boolean;
  #keeper: ChildProcess | null = null;

  /**
   * Makes a folder: a private one in the folder for temporary files, or at a path.
   * @throws VhostUserError `ERR_VHU_SOCKET_FOLDER`
   */
  constructor(path: string | null) {
    const made = path === null ? { path: privateFolder(), isOurs: true } : givenFolder(path);
    this.path = made.path;
    this.#isOurs = made.isOurs;
  }

  /** Has somebody remove the folder, or these files of it, if this process is killed. */
  keep(socketPaths: readonly string[]): void {
    const left = this.#isOurs ? [this.path] : socketPaths;
    const keeper = spawn('/bin/sh', ['-c', KEEPER, 'vhost-user-keeper', ...left], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
      cwd: '/',
    });
    // Without it everything works, but for the tidying up after a kill.
    keeper.on('error', () => undefined);
    keeper.stdin.on('error', () => undefined);
    keeper.unref();
    this.#keeper = keeper;
  }

  /** The monitor is to be ended when this process is killed; null: it has ended. */
  watch(pid: number | null): void {
    this.#keeper?.stdin?.write(pid === null ? 'over\n' : `run ${pid}\n`);
  }

  /** Removes the folder when it is ours; idempotent. Devices remove their sockets themselves. */
  remove(): void {
    const keeper = this.#keeper;
    this.#keeper = null;
    keeper?.stdin?.end();
    if (this.#isOurs) rmSync(this.path, { recursive: true, force: true });
  }
}

/** A path of a socket may be no longer than a system's `sun_path`, which is not long. */
function privateFolder(): string {
  const name = 'vhost-user-XXXXXX';
  const parents = [tmpdir(), '/tmp'].filter((parent) => isShort(join(parent, name)));
  let failure: unknown;
  for (const parent of parents) {
    try {
      return mkdtempSync(join(parent, 'vhost-user-')); // with mode 0700
    } catch (error) {
      failure = error;
    }
  }
  throw folderError(`no folder for sockets in ${parents.join(' and ')}`, failure);
}

function givenFolder(given: string): { path: string; isOurs: boolean } {
  const path = resolve(given);
  if (!isShort(path)) {
    const most = UNIX_PATH_BYTES_MAX - NAME_BYTES_MAX - 2;
    throw new VhostUserError(
      'ERR_VHU_SOCKET_FOLDER',
      `${path}: sockets need a shorter path, of at most ${most} bytes`,
    );
  }
  try {
    mkdirSync(path, { mode: FOLDER_MODE });
    return { path, isOurs: true };
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return { path, isOurs: false };
    throw folderError(`no folder for sockets at ${path}`, error);
  }
}

function isShort(folder: string): boolean {
  return Buffer.byteLength(folder) + 1 + NAME_BYTES_MAX < UNIX_PATH_BYTES_MAX;
}

function folderError(what: string, cause: unknown): VhostUserError {
  return new VhostUserError(
    'ERR_VHU_SOCKET_FOLDER',
    `${what}: ${errorMessage(cause)}; give another one by --socket-dir`,
    { cause },
  );
}
