/**
 * Whether this runtime can carry us: Node and Bun do. Deno has Node's modules, which know no
 * descriptors but those that they have opened themselves.
 *
 * @module
 */
import { fstatSync } from 'node:fs';
import { VhostUserError, errorCode } from '../util/index.ts';
import * as libc from './libc.ts';

/**
 * Makes sure that Node's modules take a descriptor that came to this process by another way: from a
 * socket, a service manager, or a call of C.
 * @param stat what `fstatSync` of `node:fs` is
 * @throws VhostUserError `ERR_VHU_HOST` when they do not
 */
export function checkRuntime(stat: (fd: number) => unknown = fstatSync): void {
  const fd = libc.dup(2);
  if (fd < 0) return; // closed, or too many are open: nothing is known of the runtime by that
  try {
    stat(fd);
  } catch (error) {
    if (errorCode(error) !== 'EBADF') throw error;
    const { deno } = process.versions;
    const name = deno === undefined ? 'this runtime' : `Deno ${deno}`;
    throw new VhostUserError(
      'ERR_VHU_HOST',
      `${name} cannot serve devices: its fstat says EBADF of open descriptors that it has not ` +
        'opened itself, and a front-end passes all of its own; use Node or Bun',
      { cause: error },
    );
  } finally {
    libc.close(fd);
  }
}

if (process.versions.deno !== undefined) checkRuntime();
