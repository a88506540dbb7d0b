/**
 * Shared memory without a name: what a front-end hands to a back-end.
 *
 * @module
 */
import { randomBytes } from 'node:crypto';
import { abi, posixOnly } from './host.ts';
import { ERRNO, SystemError } from './errno.ts';
import { fellBack } from './fallback.ts';
import { closeFd, setCloseOnExec } from './fd.ts';
import * as libc from './libc.ts';
import { NativeBlock, check } from './native.ts';

const { constants, optional, shmNameBytesMax } = abi;
const OWNER_ONLY = 0o600;
const NAME_ATTEMPTS_MAX = 16;

/** How an object was made. */
export type SharedMemoryKind = 'memfd' | 'shm_anon' | 'shm_mkstemp' | 'shm_open';

/**
 * Makes a shared memory object of a size, zeroed and without a name, and returns its fd, which the
 * caller owns.
 *
 * @param label for people who look at /proc; only memfd shows it
 */
export function createSharedMemory(sizeBytes: number, label: string): number {
  const [fd] = open(label);
  try {
    // Once and only once: macOS refuses to size an object a second time.
    const call = `ftruncate(shared memory, ${String(sizeBytes)} bytes)`;
    check(
      libc.ftruncate(fd, sizeBytes),
      call,
      'is there enough memory, or room in /tmp or /dev/shm?',
    );
    seal(fd);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/**
 * Keeps a memfd at its size for good: a peer that cuts it short would end this process at the next
 * touch (SIGBUS). Objects of other kinds cannot be sealed.
 */
function seal(fd: number): void {
  const { F_ADD_SEALS, F_SEAL_SEAL = 0, F_SEAL_SHRINK = 0, F_SEAL_GROW = 0 } = optional;
  if (posixOnly || F_ADD_SEALS === undefined) return;
  libc.fcntl('int', fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

/** Which kind {@link createSharedMemory} makes on this host. */
export function sharedMemoryKind(): SharedMemoryKind {
  const [fd, kind] = open('probe');
  closeFd(fd);
  return kind;
}

function open(label: string): [fd: number, kind: SharedMemoryKind] {
  if (!posixOnly && libc.memfdCreate !== null && optional.MFD_CLOEXEC !== undefined) {
    const fd = libc.memfdCreate(label, optional.MFD_CLOEXEC | (optional.MFD_ALLOW_SEALING ?? 0));
    if (fd >= 0) return [fd, 'memfd'];
    if (libc.errno() === ERRNO.ENOSYS) fellBack('memfd_create', 'shm_open');
  }
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
  if (!posixOnly && optional.SHM_ANON !== undefined && libc.shmOpenAddress !== null) {
    const fd = libc.shmOpenAddress(optional.SHM_ANON, constants.O_RDWR, OWNER_ONLY);
    if (fd >= 0) {
      setCloseOnExec(fd);
      return [fd, 'shm_anon'];
    }
  }
  if (libc.shmMkstemp !== null) {
    const fd = openTemporary(libc.shmMkstemp);
    if (fd >= 0) return [fd, 'shm_mkstemp'];
  }
  return [openNamed(flags), 'shm_open'];
}

/** OpenBSD's shm_mkstemp; -1 when it fails. */
function openTemporary(shmMkstemp: libc.NumberFunction): number {
  const template = Buffer.from('/vhu.XXXXXXXXXX\0');
  const name = new NativeBlock(template.length);
  name.bytes.set(template);
  const fd = shmMkstemp(name.address);
  if (fd >= 0) {
    setCloseOnExec(fd);
    libc.shmUnlink?.(Buffer.from(name.bytes.subarray(0, template.length - 1)).toString());
  }
  name.free();
  return fd;
}

/** shm_open with a name that nobody knows, which is taken away at once. */
export function openNamed(flags: number): number {
  if (libc.shmOpen === null || libc.shmUnlink === null) {
    throw new SystemError('shm_open()', ERRNO.ENOSYS as number, 'this host has no shared memory');
  }
  for (let attempt = 0; ; attempt++) {
    const name = `/vhu-${randomBytes(10).toString('hex')}`.slice(0, shmNameBytesMax);
    const fd = libc.shmOpen('int', name, flags, OWNER_ONLY);
    if (fd >= 0) {
      libc.shmUnlink(name);
      setCloseOnExec(fd);
      return fd;
    }
    const errno = libc.errno();
    if (errno !== ERRNO.EEXIST || attempt >= NAME_ATTEMPTS_MAX) {
      throw new SystemError(
        `shm_open(${name})`,
        errno,
        'is /dev/shm (or /tmp) there and writable? On Linux: mount -t tmpfs tmpfs /dev/shm',
      );
    }
  }
}
