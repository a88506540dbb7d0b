/**
 * Takes parts of the sandbox away from the program that is started with `node --import` of this
 * file: VHU_REFUSED has `landlock`, `landlock-off` (there, and switched off) and `seccomp`.
 *
 * @module
 */
import { isMainThread } from 'node:worker_threads';
import type { StrictCall } from '../hosts/strict/calls.ts';
import { refuseCalls } from '../hosts/strict/filter.ts';

const EOPNOTSUPP = 95;

/** The numbers of landlock_create_ruleset(2) and seccomp(2). */
const PARTS: Readonly<Record<string, StrictCall>> = {
  landlock: { scope: 'process', numbers: [444, 444], probe: [] },
  'landlock-off': { scope: 'process', numbers: [444, 444], probe: [], errno: EOPNOTSUPP },
  seccomp: { scope: 'process', numbers: [317, 277], probe: [] },
};

// The program that begins anew in its sandbox inherits the filter.
if (isMainThread && process.argv0 !== 'vhost-user-sandboxed') {
  const names = (process.env['VHU_REFUSED'] ?? '').split(' ').filter((name) => name !== '');
  refuseCalls(names.flatMap((name) => PARTS[name] ?? []));
}
