/**
 * The sandbox of FreeBSD: Capsicum (capsicum(4)).
 *
 * In capability mode a process has its descriptors and no names: what is opened is opened below a
 * folder's descriptor, and sockets are accepted but not bound or connected by a path or an address.
 * So it is entered when all is set up, and only by devices that name nothing from then on; for
 * the others there is none, and why is said. Descriptors of the image, the folder and the listening
 * sockets keep the rights that the device needs (rights(4)) and no others.
 *
 * @module
 */
import { fstatSync, statSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { SystemError } from '../errno.ts';
import { abi } from '../host.ts';
import * as libc from '../libc.ts';
import { NativeBlock } from '../native.ts';
import { isListening } from '../socket.ts';
import { freebsdCalls } from './bsd-calls.ts';
import type { FreebsdCalls } from './bsd-calls.ts';
import type { PathAccess, Sandbox, SandboxNeeds, SandboxPlan } from './types.ts';

/**
 * sys/capsicum.h: the bits of the first word of a `cap_rights_t`, without those that number the
 * word. Rights with AT in their name hold that of LOOKUP, too.
 */
export const CAP = {
  READ: 0x1,
  WRITE: 0x2,
  SEEK: 0xc,
  MMAP: 0x10,
  CREATE: 0x40,
  FSYNC: 0x100,
  FTRUNCATE: 0x200,
  LOOKUP: 0x400,
  FCHMOD: 0x2000,
  FCHOWN: 0x4000,
  FCNTL: 0x8000,
  FLOCK: 0x1_0000,
  FPATHCONF: 0x2_0000,
  FSTAT: 0x8_0000,
  FSTATFS: 0x10_0000,
  FUTIMES: 0x20_0000,
  LINKAT_TARGET: 0x40_0000,
  MKDIRAT: 0x80_0000,
  MKFIFOAT: 0x100_0000,
  MKNODAT: 0x200_0000,
  RENAMEAT_SOURCE: 0x400_0000,
  SYMLINKAT: 0x800_0000,
  UNLINKAT: 0x1000_0000,
  ACCEPT: 0x2000_0000,
  GETPEERNAME: 0x1_0000_0000,
  GETSOCKNAME: 0x2_0000_0000,
  GETSOCKOPT: 0x4_0000_0000,
  SETSOCKOPT: 0x20_0000_0000,
  SHUTDOWN: 0x40_0000_0000,
  LINKAT_SOURCE: 0x200_0000_0000,
  RENAMEAT_TARGET: 0x400_0000_0000,
} as const;

/** The same for the second word. */
export const CAP1 = {
  EVENT: 0x20,
  IOCTL: 0x80,
  EXTATTR_DELETE: 0x1000,
  EXTATTR_GET: 0x2000,
  EXTATTR_LIST: 0x4000,
  EXTATTR_SET: 0x8000,
} as const;

/** `cap_rights_t`: two words of 64 bits. */
const RIGHTS_BYTES = 16;
/** Version 0 has two words, which bits 62 and 63 of the first one say; bit 57 + n is of word n. */
const WORD_BIT = 57;
const HIGH = 0x1_0000_0000;
/** Descriptors above are those of nothing that was opened at the start. */
const FDS_LOOKED_AT = 4096;

/** Rights of a descriptor, word by word. */
export interface Rights {
  readonly first: number;
  readonly second: number;
}

/** What a descriptor is for. */
export type DescriptorRole = 'read' | 'write' | 'tree' | 'listener';

type Right = keyof typeof CAP;
type Right1 = keyof typeof CAP1;

/** A file that is read, with what `preadv`, `fstat`, kevent and ioctls of its size need. */
const READING: readonly Right[] = [
  ...(['READ', 'SEEK', 'MMAP', 'FSTAT', 'FSTATFS', 'FLOCK', 'FCNTL'] as const),
];
const WRITING: readonly Right[] = [...READING, 'WRITE', 'FSYNC', 'FTRUNCATE', 'FPATHCONF'];
/** A descriptor that is opened below a folder has no more rights than the folder's. */
const BELOW: readonly Right[] = ['LOOKUP', 'FPATHCONF'];
const CHANGING: readonly Right[] = [
  ...WRITING,
  ...(['CREATE', 'FCHMOD', 'FCHOWN', 'FUTIMES', 'LINKAT_TARGET', 'LINKAT_SOURCE'] as const),
  ...(['MKDIRAT', 'MKFIFOAT', 'MKNODAT', 'RENAMEAT_SOURCE', 'RENAMEAT_TARGET'] as const),
  ...(['SYMLINKAT', 'UNLINKAT'] as const),
];
const LISTENING: readonly Right[] = [
  ...(['ACCEPT', 'READ', 'WRITE', 'FCNTL', 'FSTAT', 'GETPEERNAME', 'GETSOCKNAME'] as const),
  ...(['GETSOCKOPT', 'SETSOCKOPT', 'SHUTDOWN'] as const),
];
const READING_1: readonly Right1[] = ['EVENT', 'IOCTL', 'EXTATTR_GET', 'EXTATTR_LIST'];
const CHANGING_1: readonly Right1[] = [...READING_1, 'EXTATTR_SET', 'EXTATTR_DELETE'];

/** The rights of a descriptor; one that is accepted from a listener inherits the listener's. */
export function rightsOf(role: DescriptorRole, isFolder: boolean): Rights {
  const below = isFolder ? BELOW : [];
  switch (role) {
    case 'read':
      return together([...READING, ...below], READING_1);
    case 'write':
      return together([...WRITING, ...below], READING_1);
    case 'tree':
      return together([...CHANGING, ...below], CHANGING_1);
    case 'listener':
      return together(LISTENING, ['EVENT', 'IOCTL']);
  }
}

/** By bigint, since bits beyond 2^31 are cut off by `|`. */
function together(rights: readonly Right[], second: readonly Right1[]): Rights {
  const all = (bits: readonly number[]): number =>
    Number(bits.reduce((union, bit) => union | BigInt(bit), 0n));
  return {
    first: all(rights.map((right) => CAP[right])),
    second: all(second.map((right) => CAP1[right])),
  };
}

/** Writes rights as a `cap_rights_t`. */
export function encodeRights({ first, second }: Rights, view: DataView): void {
  [first, second].forEach((bits, word) => {
    const value = bits + 2 ** (WORD_BIT + word);
    view.setUint32(word * 8, bits >>> 0, true);
    view.setUint32(word * 8 + 4, Math.floor(value / HIGH) >>> 0, true);
  });
}

/** Why each of them needs names while it runs; null: it does not. */
const NEEDS_NAMES: Readonly<Record<PathAccess, string | null>> = {
  read: null, // opened at the start
  write: null,
  tree: null, // reached from the folder's descriptor
  socket: null, // bound at the start; it stays behind at the end, and the next start removes it
  link: null, // the same
  terminals: null, // both ends are made at the start
  file: 'a log is renamed and begun anew by its name',
  temporary: 'files are made in the folder for temporary ones',
  connect: null, // connectsUnix says it
  'connect-prefix': null,
};

/** Why a process with these needs cannot be in capability mode; empty when it can. */
export function reasonsAgainst(needs: SandboxNeeds): string[] {
  const reasons = needs.paths.map(({ access }) => NEEDS_NAMES[access]);
  const { connectsUnix, connectsTcp, looksUpNames, usesVsock } = needs;
  if (connectsUnix) reasons.push('Unix sockets are connected to by their paths');
  if (connectsTcp?.length !== 0) reasons.push('TCP addresses are connected to');
  if (looksUpNames) reasons.push('names of hosts are looked up');
  if (usesVsock) reasons.push('addresses of AF_VSOCK are connected to');
  return [...new Set(reasons.filter((reason) => reason !== null))];
}

/** Looks whether it can be entered; sealing enters it. */
export function enterFreebsd({ needs }: SandboxPlan): Sandbox {
  const calls = freebsdCalls();
  const nothing = (why: string): Sandbox => ({
    parts: [],
    missing: [`Capsicum: ${why}`],
    seal: () => undefined,
  });
  const mode = new NativeBlock(8);
  const result = calls.capGetmode(mode.address);
  mode.free();
  if (result < 0) return nothing('this kernel has none (options CAPABILITY_MODE)');
  const reasons = reasonsAgainst(needs);
  if (reasons.length > 0) return nothing(`${reasons.join(', and ')}, which it has no way for`);
  return { parts: ['Capsicum'], missing: [], seal: () => seal(calls, needs) };
}

function seal(calls: FreebsdCalls, needs: SandboxNeeds): void {
  const block = new NativeBlock(RIGHTS_BYTES);
  for (const { fd, rights } of longLived(needs)) {
    encodeRights(rights, block.view);
    if (calls.capRightsLimit(fd, block.address) >= 0) continue;
    throw new SystemError(`cap_rights_limit(fd ${String(fd)})`, libc.errno());
  }
  block.free();
  if (calls.capEnter() < 0) throw new SystemError('cap_enter()', libc.errno());
}

/** The descriptors of this process that are the image, the folder, and listening sockets. */
function longLived(needs: SandboxNeeds): { fd: number; rights: Rights }[] {
  const roles = new Map<string, DescriptorRole>();
  for (const { path, access } of needs.paths) {
    if (access !== 'read' && access !== 'write' && access !== 'tree') continue;
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
    if (stat !== undefined) roles.set(`${String(stat.dev)}:${String(stat.ino)}`, access);
  }
  const found: { fd: number; rights: Rights }[] = [];
  for (let fd = 3; fd < FDS_LOOKED_AT; fd++) {
    if (libc.fcntl('int', fd, abi.constants.F_GETFD, 0) < 0) continue;
    const stat = statOf(fd);
    if (stat === null) continue; // a kqueue
    const role = stat.isSocket()
      ? isListening(fd) && 'listener'
      : roles.get(`${String(stat.dev)}:${String(stat.ino)}`);
    if (role !== undefined && role !== false) {
      found.push({ fd, rights: rightsOf(role, stat.isDirectory()) });
    }
  }
  return found;
}

function statOf(fd: number): BigIntStats | null {
  try {
    return fstatSync(fd, { bigint: true });
  } catch {
    return null;
  }
}
