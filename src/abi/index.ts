/**
 * One table of numbers per host; data only.
 *
 * @module
 */
import { DARWIN_ABI } from './darwin.ts';
import { FREEBSD_ABI } from './freebsd.ts';
import { linuxAbi } from './linux.ts';
import { netbsdAbi } from './netbsd.ts';
import { OPENBSD_ABI } from './openbsd.ts';
import type { Abi } from './types.ts';

export type * from './file-types.ts';
export { LINUX_OPEN_FLAGS } from './files-linux.ts';
export { LINUX_ERRNO } from './linux-errno.ts';
export { THIS_HOST } from './this-host.ts';
export {
  BPF,
  LANDLOCK,
  LANDLOCK_NET_PORT_ATTR,
  LANDLOCK_PATH_BENEATH_ATTR,
  LANDLOCK_RULESET_ATTR,
  SANDBOX_ARGS,
  SECCOMP,
  SECCOMP_DATA,
  SOCK_FILTER,
  SOCK_FPROG,
} from './sandbox-linux.ts';
export { SYSCALL_NAMES, linuxSyscalls } from './syscalls-linux.ts';
export type { SyscallName } from './syscalls-linux.ts';
export type * from './types.ts';

/** The hosts that there are tables for, as `process.platform` and `process.arch` name them. */
export const SUPPORTED_HOSTS: readonly { readonly os: string; readonly arch: string }[] = [
  'linux',
  'darwin',
  'freebsd',
  'openbsd',
  'netbsd',
].flatMap((os) => ['x64', 'arm64'].map((arch) => ({ os, arch })));

/** The table of a host, or undefined when there is none. */
export function abiOf(os: string, arch: string): Abi | undefined {
  if (!SUPPORTED_HOSTS.some((host) => host.os === os && host.arch === arch)) return undefined;
  if (os === 'linux') return linuxAbi(arch);
  if (os === 'darwin') return DARWIN_ABI;
  if (os === 'freebsd') return FREEBSD_ABI;
  if (os === 'openbsd') return OPENBSD_ABI;
  return netbsdAbi(arch);
}
