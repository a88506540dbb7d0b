/**
 * Whether this host does for us what it promises, tried out: what a list of features does not say
 * is whether a container, a limit or a setting takes one away. Nothing here lasts.
 *
 * @module
 */
import { closeSync, openSync } from 'node:fs';
import { VhostUserError, errorCode } from '../util/index.ts';
import { abi, posixOnly } from './host.ts';
import { ERRNO, SystemError, errnoName } from './errno.ts';
import { closeFd, setCloseOnExec } from './fd.ts';
import * as libc from './libc.ts';
import { NativeBlock, check } from './native.ts';
import { Notifier, NotifierConsumer } from './notifier.ts';
import { openNamed } from './shm.ts';
import { Uring } from './uring.ts';

/** ioctls of linux/kvm.h; the version has been 12 since 2007. */
const KVM_GET_API_VERSION = 0xae00;
const KVM_CREATE_VM = 0xae01;
const KVM_API_VERSION = 12;

/** The same number on every architecture (asm-generic/unistd.h); linux/landlock.h. */
const SYS_landlock_create_ruleset = 444;
const LANDLOCK_CREATE_RULESET_VERSION = 1;

const NOP_LIMIT_US = 1_000_000;
const URING_PARAMS_BYTES = 120;

/** Of Linux, and of FreeBSD, which took its eventfd over. */
const EFD_SEMAPHORE = 1;

/** A new pipe as a notifier, each end owned by the caller; what the other side may send us. */
export function createPipeNotifier(): { notifier: Notifier; consumer: NotifierConsumer } {
  const fds = new NativeBlock(8);
  try {
    check(libc.pipe(fds.address), 'pipe()');
    const [readFd, writeFd] = [fds.view.getInt32(0, true), fds.view.getInt32(4, true)];
    setCloseOnExec(readFd);
    setCloseOnExec(writeFd);
    return { notifier: new Notifier(writeFd), consumer: new NotifierConsumer(readFd) };
  } finally {
    fds.free();
  }
}

/**
 * An eventfd of which a read takes one signal, as a notifier whose fd may be sent; null where the
 * host has none. The caller owns it.
 */
export function createSemaphoreNotifier(): Notifier | null {
  if (libc.eventfd === null) return null;
  const fd = libc.eventfd(0, EFD_SEMAPHORE);
  if (fd < 0) return null;
  setCloseOnExec(fd);
  return new Notifier(fd);
}

/**
 * Makes shared memory by shm_open, as VMMs do that have no memfd, and returns its fd, which the
 * caller owns.
 *
 * @throws SystemError when there is none to be had
 */
export function createNamedSharedMemory(sizeBytes: number): number {
  const { O_RDWR, O_CREAT, O_EXCL } = abi.constants;
  const fd = openNamed(O_RDWR | O_CREAT | O_EXCL);
  try {
    check(libc.ftruncate(fd, sizeBytes), `ftruncate(shared memory, ${sizeBytes} bytes)`);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** What came of trying io_uring. */
export type UringVerdict =
  | { readonly kind: 'works' }
  /** This system has none, or VHOST_USER_HOST=posix forbids it. */
  | { readonly kind: 'absent' }
  /** Linux before 5.13. */
  | { readonly kind: 'too old' }
  /** `EPERM`: a setting or a filter of system calls; `ENOSYS`: no such call; `ENOMEM`: a limit. */
  | { readonly kind: 'refused'; readonly errnoName: string };

/** Opens a ring and sends one request through it. */
export function tryUring(): UringVerdict {
  const { uring } = abi;
  if (posixOnly || uring === null || libc.syscall6 === null) return { kind: 'absent' };
  const ring = openRing();
  if (ring === null) {
    const params = new NativeBlock(URING_PARAMS_BYTES);
    const fd = libc.syscall6(uring.SYS_io_uring_setup, 1, params.address, 0, 0, 0, 0);
    const errno = libc.errno();
    params.free();
    if (fd < 0) return { kind: 'refused', errnoName: errnoName(errno) };
    closeFd(fd);
    return { kind: 'too old' };
  }
  if (typeof ring === 'string') return { kind: 'refused', errnoName: ring };
  try {
    ring.prepNop(1);
    ring.submitAndWait(1, NOP_LIMIT_US);
    if (ring.pending() === 1) return { kind: 'works' };
    return { kind: 'refused', errnoName: 'ETIMEDOUT' };
  } catch (error) {
    return { kind: 'refused', errnoName: nameOf(error) };
  } finally {
    ring.close();
  }
}

/** A ring, null when it is refused as a whole, or the error of its mappings. */
function openRing(): Uring | string | null {
  try {
    return Uring.open(2);
  } catch (error) {
    return nameOf(error);
  }
}

function nameOf(error: unknown): string {
  if (error instanceof SystemError) return error.errnoName;
  if (error instanceof VhostUserError) return error.code;
  throw error;
}

/** What came of asking for Landlock. */
export type LandlockVerdict =
  | { readonly kind: 'works'; readonly abi: number }
  /** Another system than Linux, or VHOST_USER_HOST=posix forbids it. */
  | { readonly kind: 'absent' }
  /** `ENOSYS`: not in this kernel, or filtered; `EOPNOTSUPP`: not switched on when it started. */
  | { readonly kind: 'refused'; readonly errnoName: string };

/** Asks which version of Landlock the kernel has; restricts nothing. */
export function tryLandlock(): LandlockVerdict {
  if (posixOnly || abi.uring === null || libc.syscall6 === null) return { kind: 'absent' };
  const version = libc.syscall6(
    SYS_landlock_create_ruleset,
    0,
    0,
    LANDLOCK_CREATE_RULESET_VERSION,
    0,
    0,
    0,
  );
  if (version < 0) return { kind: 'refused', errnoName: errnoName(libc.errno()) };
  return { kind: 'works', abi: version };
}

/** What came of trying KVM. */
export type KvmVerdict =
  | { readonly kind: 'works' }
  /** There is no /dev/kvm: another system, no such module, or no virtualization. */
  | { readonly kind: 'absent' }
  /** `EACCES`: no permission; of KVM_CREATE_VM, `EBUSY`: another monitor has the processor. */
  | { readonly kind: 'refused'; readonly errnoName: string };

/** Asks KVM for an empty machine, without memory and processors, and lets it go: nothing runs. */
export function tryKvm(path: string = '/dev/kvm'): KvmVerdict {
  let fd = -1;
  try {
    fd = openSync(path, 'r+');
  } catch (error) {
    const name = errorCode(error) ?? 'EIO';
    return name === 'ENOENT' ? { kind: 'absent' } : { kind: 'refused', errnoName: name };
  }
  try {
    const version = libc.ioctl('int', fd, KVM_GET_API_VERSION, 0);
    if (version < 0) return { kind: 'refused', errnoName: errnoName(libc.errno()) };
    if (version !== KVM_API_VERSION) {
      return { kind: 'refused', errnoName: errnoName(ERRNO.ENOTSUP as number) };
    }
    const vm = libc.ioctl('int', fd, KVM_CREATE_VM, 0);
    if (vm < 0) return { kind: 'refused', errnoName: errnoName(libc.errno()) };
    closeFd(vm);
    return { kind: 'works' };
  } finally {
    closeSync(fd);
  }
}
