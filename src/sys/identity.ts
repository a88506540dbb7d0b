/**
 * As whom this thread makes files, and how many it may have open.
 *
 * @module
 */
import { readFileSync } from 'node:fs';
import { ERRNO } from './errno.ts';
import { fellBack } from './fallback.ts';
import { abi, posixOnly } from './host.ts';
import * as libc from './libc-files.ts';
import { NativeBlock, check, orErrno } from './native.ts';

const { files } = abi;
const ENOSYS = ERRNO.ENOSYS as number;
const EPERM = ERRNO.EPERM as number;
const NO_ID = 0xffff_ffff;
const CLONE_FS = 0x200; // linux/sched.h
/** macOS refuses a limit above OPEN_MAX (sys/syslimits.h) though it promises an infinite one. */
const DARWIN_OPEN_MAX = 10_240;

/** `struct rlimit`: current 8, maximum 8. */
const scratch = new NativeBlock(16);

/** `struct __user_cap_header_struct` 8, two `struct __user_cap_data_struct` 12 each. */
const CAPS = { data: 8, permitted: 4, SIZE: 32 } as const; // linux/capability.h
const CAPABILITY_VERSION_3 = 0x2008_0522;
const CAP_DAC_OVERRIDE = 1 << 1;
const caps = new NativeBlock(CAPS.SIZE);

const ownUid = libc.geteuid();
const ownGid = libc.getegid();
let uidNow = ownUid;
let gidNow = ownGid;

/** The user that this process is when it opens files. */
export function effectiveUid(): number {
  return libc.geteuid();
}

/**
 * How many users this process can name: one or a few in a user namespace of Linux, where files can
 * belong to no other (user_namespaces(7)); Infinity elsewhere.
 */
export function userCount(): number {
  let map: string;
  try {
    map = readFileSync('/proc/self/uid_map', 'utf8');
  } catch {
    return Infinity; // nothing tells of any
  }
  // First number inside, first one outside, how many.
  const counts = map
    .trim()
    .split('\n')
    .map((line) => Number(line.trim().split(/\s+/)[2]));
  const count = counts.reduce((sum, each) => sum + each, 0);
  return count < NO_ID ? count : Infinity; // each number but that is a user's
}

/**
 * Lets this thread, and no other, access files as another user and group; 0, -EPERM without the
 * right to it (nothing has changed then), or -ENOSYS where only whole processes have users. The
 * calls are Linux's own, and no C library extends them to the other threads. A thread that is
 * started meanwhile inherits them: start none before {@link restoreFsIdentity}.
 */
export function setFsIdentity(uid: number, gid: number): number {
  const { setfsuid, setfsgid } = libc;
  if (setfsuid === null || setfsgid === null || posixOnly) return -ENOSYS;
  // They return the former id and no error, so a second call tells whether the first one worked.
  if (gid !== gidNow) {
    setfsgid(gid);
    gidNow = setfsgid(NO_ID) >>> 0;
  }
  if (uid !== uidNow && gid === gidNow) {
    setfsuid(uid);
    uidNow = setfsuid(NO_ID) >>> 0;
  }
  if (uid === uidNow && gid === gidNow) return 0;
  if (uidNow === NO_ID || gidNow === NO_ID) fellBack('setfsuid', 'a change of owner afterwards');
  restoreFsIdentity();
  return -EPERM;
}

/** Makes this thread itself again, after {@link setFsIdentity}. */
export function restoreFsIdentity(): void {
  const { setfsuid, setfsgid } = libc;
  if (setfsuid === null || setfsgid === null) return;
  if (uidNow !== ownUid) {
    setfsuid(ownUid);
    uidNow = ownUid;
  }
  if (gidNow !== ownGid) {
    setfsgid(ownGid);
    gidNow = ownGid;
  }
}

/**
 * After {@link setFsIdentity}: this thread may make and open files wherever root may, and they
 * belong to the user all the same; until {@link restoreFsIdentity}, which has to come next. 0, or a
 * negative errno: -ENOSYS where there are no such rights.
 */
export function overrideFsAccess(): number {
  const { capget, capset } = libc;
  if (capget === null || capset === null || posixOnly) return -ENOSYS;
  caps.view.setUint32(0, CAPABILITY_VERSION_3, true);
  caps.view.setUint32(4, 0, true); // this thread
  const got = orErrno(capget(caps.address, caps.address + CAPS.data));
  if (got < 0) return got;
  const permitted = caps.view.getUint32(CAPS.data + CAPS.permitted, true);
  if ((permitted & CAP_DAC_OVERRIDE) === 0) return -EPERM;
  const effective = caps.view.getUint32(CAPS.data, true);
  caps.view.setUint32(CAPS.data, (effective | CAP_DAC_OVERRIDE) >>> 0, true);
  return orErrno(capset(caps.address, caps.address + CAPS.data));
}

/** Sets which permissions new files do not get, in the whole process; the former mask. */
export function setUmask(mask: number): number {
  return libc.umask(mask);
}

let isolated = false;

/**
 * Gives this thread a mask of its own, 0 at first, and with it its own working directory; false
 * where the host has one mask for the process, which is as it was then.
 */
export function isolateUmask(): boolean {
  if (isolated) return true;
  if (libc.unshare === null || posixOnly) return false;
  const result = orErrno(libc.unshare(CLONE_FS));
  if (result < 0) {
    if (result === -ENOSYS) fellBack('unshare', 'a change of mode afterwards');
    return false;
  }
  libc.umask(0);
  isolated = true;
  return true;
}

/** Sets this thread's own mask, after {@link isolateUmask}; the former one, else -ENOSYS. */
export function threadUmask(mask: number): number {
  return isolated ? libc.umask(mask) : -ENOSYS;
}

/** How many fds this process may have open; Infinity for no limit. */
export interface FdLimit {
  readonly soft: number;
  /** Up to which the soft one may be raised. */
  readonly hard: number;
}

/** The limit of open fds. */
export function fdLimit(): FdLimit {
  check(libc.getrlimit(files.RLIMIT_NOFILE, scratch.address), 'getrlimit(RLIMIT_NOFILE)');
  return { soft: limitAt(0), hard: limitAt(8) };
}

/** Raises the limit of open fds as far as it goes; what it is then, or -errno. */
export function raiseFdLimit(): number {
  const { soft, hard } = fdLimit();
  if (soft >= hard) return soft;
  const wanted = files.F_PREALLOCATE === undefined ? hard : Math.min(hard, DARWIN_OPEN_MAX);
  if (wanted <= soft) return soft;
  if (wanted !== Infinity) {
    scratch.view.setUint32(0, wanted >>> 0, true);
    scratch.view.setUint32(4, Math.floor(wanted / 0x1_0000_0000), true);
  } else {
    scratch.bytes.copyWithin(0, 8, 16); // the host's own number for it
  }
  const result = orErrno(libc.setrlimit(files.RLIMIT_NOFILE, scratch.address));
  return result < 0 ? result : wanted;
}

/** RLIM_INFINITY is 2^64 - 1 or 2^63 - 1: no number of fds comes near. */
function limitAt(at: number): number {
  const high = scratch.view.getUint32(at + 4, true);
  return high >= 0x20_0000 ? Infinity : scratch.view.getUint32(at, true) + high * 0x1_0000_0000;
}

/** Whether names that differ in case only are the same in this directory (macOS). */
export function isCaseInsensitive(fd: number): boolean {
  const { _PC_CASE_SENSITIVE } = files;
  return _PC_CASE_SENSITIVE !== undefined && libc.fpathconf(fd, _PC_CASE_SENSITIVE) === 0;
}
