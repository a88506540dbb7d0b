/**
 * seccomp: installing a filter of system calls in all threads at once.
 *
 * @module
 */
import { SECCOMP, SOCK_FILTER, SOCK_FPROG } from '../../abi/index.ts';
import { ERRNO } from '../errno.ts';
import { host } from '../host.ts';
import { NativeBlock } from '../native.ts';
import { filterProgram } from './filter-program.ts';
import type { Answers, Instruction, SyscallRule } from './filter-program.ts';
import { linuxCall } from './linux-call.ts';
import type { RefusalAction } from './types.ts';

const ADDRESS_HIGH = 0x1_0000_0000;

/** What a filter answers when it is to do this. */
export function answersOf(action: Exclude<RefusalAction, 'none'>): Answers {
  const absent = SECCOMP.RET_ERRNO | (ERRNO.ENOSYS as number);
  switch (action) {
    case 'error':
      return { refuse: SECCOMP.RET_ERRNO | (ERRNO.EPERM as number), absent };
    case 'kill':
      return { refuse: SECCOMP.RET_KILL_PROCESS, absent };
    case 'trap':
      return { refuse: SECCOMP.RET_TRAP, absent };
    case 'log':
      return { refuse: SECCOMP.RET_LOG, absent };
  }
}

/**
 * Installs a filter in every thread; 0 or -errno. no_new_privs has to be set before, and is set in
 * the other threads by this.
 */
export function installFilter(
  rules: readonly SyscallRule[],
  action: Exclude<RefusalAction, 'none'>,
): number {
  const arch = host().arch === 'arm64' ? 'arm64' : 'x64';
  const program = filterProgram(rules, arch, answersOf(action));
  const filter = new NativeBlock(program.length * SOCK_FILTER.SIZE);
  encode(program, filter.view);
  const fprog = new NativeBlock(SOCK_FPROG.SIZE);
  fprog.view.setUint16(SOCK_FPROG.len, program.length, true);
  fprog.view.setUint32(SOCK_FPROG.filter, filter.address >>> 0, true);
  fprog.view.setUint32(SOCK_FPROG.filter + 4, Math.floor(filter.address / ADDRESS_HIGH), true);
  // Kernels before 5.16 slow a filtered thread down against attacks by speculation from inside
  // it. Nothing of a guest is run here, so there is nothing to be gained by that.
  const flags = SECCOMP.FILTER_FLAG_TSYNC | SECCOMP.FILTER_FLAG_SPEC_ALLOW;
  const result = linuxCall('seccomp', SECCOMP.SET_MODE_FILTER, flags, fprog.address);
  filter.free();
  fprog.free();
  // A thread that has a filter of its own is named instead.
  return result > 0 ? -(ERRNO.ESRCH as number) : result;
}

/** Writes a program as an array of `struct sock_filter`. */
export function encode(program: readonly Instruction[], view: DataView): void {
  program.forEach(({ code, jt, jf, k }, i) => {
    const at = i * SOCK_FILTER.SIZE;
    view.setUint16(at + SOCK_FILTER.code, code, true);
    view.setUint8(at + SOCK_FILTER.jt, jt);
    view.setUint8(at + SOCK_FILTER.jf, jf);
    view.setUint32(at + SOCK_FILTER.k, k, true);
  });
}
