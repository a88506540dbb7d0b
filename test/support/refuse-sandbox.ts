/**
 * Takes parts of the sandbox away from the program that is started with `node --import` of this
 * file: VHU_REFUSED has `landlock`, `landlock-off` (there, and switched off), `seccomp`,
 * `umount2-detach`, and names of system calls, which then fail with EPERM as in a container.
 *
 * @module
 */
import { isMainThread } from 'node:worker_threads';
import { linuxSyscalls } from '../../src/abi/index.ts';
import type { SyscallName } from '../../src/abi/index.ts';
import type { StrictCall } from '../hosts/strict/calls.ts';
import { refuseCalls } from '../hosts/strict/filter.ts';

const EPERM = 1;
const EOPNOTSUPP = 95;

/** The numbers of landlock_create_ruleset(2) and seccomp(2). */
const PARTS: Readonly<Record<string, StrictCall>> = {
  landlock: { scope: 'process', numbers: [444, 444], probe: [] },
  'landlock-off': { scope: 'process', numbers: [444, 444], probe: [], errno: EOPNOTSUPP },
  seccomp: { scope: 'process', numbers: [317, 277], probe: [] },
  // umount2(2) with MNT_DETACH alone, and not with the flags of a probe.
  'umount2-detach': {
    scope: 'process',
    numbers: [166, 39],
    when: { argument: 1, among: [2] },
    errno: EPERM,
    probe: [],
  },
};

function callOf(name: SyscallName): StrictCall {
  const numbers: [number, number] = [linuxSyscalls('x64')[name], linuxSyscalls('arm64')[name]];
  return { scope: 'process', numbers, probe: [], errno: EPERM };
}

// The program that begins anew in its sandbox inherits the filter.
if (isMainThread && process.argv0 !== 'vhost-user-sandboxed') {
  const names = (process.env['VHU_REFUSED'] ?? '').split(' ').filter((name) => name !== '');
  refuseCalls(names.map((name) => PARTS[name] ?? callOf(name as SyscallName)));
}
