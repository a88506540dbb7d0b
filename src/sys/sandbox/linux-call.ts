/**
 * System calls of Linux for which its C libraries have no function, or not all of them.
 *
 * @module
 */
import { linuxSyscalls } from '../../abi/index.ts';
import type { SyscallName } from '../../abi/index.ts';
import { ERRNO } from '../errno.ts';
import { host } from '../host.ts';
import * as libc from '../libc.ts';

const numbers = linuxSyscalls(host().arch === 'arm64' ? 'arm64' : 'x64');

/** Makes the call with up to five arguments; what it returned, or -errno. */
export function linuxCall(name: SyscallName, ...args: readonly number[]): number {
  const { syscall6 } = libc;
  if (syscall6 === null) return -(ERRNO.ENOSYS as number);
  const [a = 0, b = 0, c = 0, d = 0, e = 0] = args;
  const result = syscall6(numbers[name], a, b, c, d, e, 0);
  return result < 0 ? -libc.errno() : result;
}
