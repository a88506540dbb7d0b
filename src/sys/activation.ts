/**
 * Sockets that whoever started this process has opened for it: systemd and launchd.
 *
 * @module
 */
import { ERRNO, SystemError } from './errno.ts';
import { setCloseOnExec } from './fd.ts';
import * as libc from './libc.ts';
import { NativeBlock } from './native.ts';

const FIRST_FD = 3; // SD_LISTEN_FDS_START

/** An inherited socket; the caller owns the fd. */
export interface ActivatedFd {
  readonly fd: number;
  /** The name of the unit file (FileDescriptorName=), or ''. */
  readonly name: string;
}

/** The sockets of systemd's protocol (sd_listen_fds(3)); none when they are for another process. */
export function activatedFds(env: NodeJS.ProcessEnv): ActivatedFd[] {
  const { LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES } = env;
  if (LISTEN_FDS === undefined || Number(LISTEN_PID) !== process.pid) return [];
  const count = Number.parseInt(LISTEN_FDS, 10);
  if (!(count > 0)) return [];
  const names = (LISTEN_FDNAMES ?? '').split(':');
  // Not for our children.
  delete env.LISTEN_FDS;
  delete env.LISTEN_PID;
  delete env.LISTEN_FDNAMES;
  return Array.from({ length: count }, (_, i) => {
    setCloseOnExec(FIRST_FD + i);
    return { fd: FIRST_FD + i, name: names[i] ?? '' };
  });
}

/** The sockets that launchd has for the entry `name` of the property list's `Sockets`. */
export function launchdFds(name: string): number[] {
  if (libc.launchActivateSocket === null) {
    throw new SystemError('launch_activate_socket()', ERRNO.ENOSYS as number, 'only macOS has it');
  }
  const out = new NativeBlock(16); // int *fds, size_t count
  const error = libc.launchActivateSocket(name, out.address, out.address + 8);
  if (error !== 0) {
    throw new SystemError(
      `launch_activate_socket(${name})`,
      error,
      'was this process started by launchd, with an entry of that name under Sockets?',
    );
  }
  const list = Number(out.view.getBigUint64(0, true));
  const count = Number(out.view.getBigUint64(8, true));
  const fds = [...new Int32Array(libc.rawView(list, count * 4))];
  libc.free(list);
  out.free();
  fds.forEach(setCloseOnExec);
  return fds;
}
