/**
 * Loads koffi, by which C functions are called. It is native code, which an installation may have
 * left out, or which may not fit the host: that is no mistake of ours, and is said in words.
 *
 * @module
 */
import { createRequire } from 'node:module';
import type koffi from 'koffi';
import { THIS_HOST } from '../abi/index.ts';
import { VhostUserError, errorMessage } from '../util/index.ts';

/** What koffi exports. */
export type Koffi = typeof koffi;

/**
 * Loads it, or gives what was loaded before.
 * @param load what loads a module by its name
 * @throws VhostUserError `ERR_VHU_KOFFI` when it does not load; the cause is what the loader said
 */
// It is loaded by a call, since what a static import throws cannot be caught, and a library whose
// modules await something cannot be required by CommonJS.
export function loadKoffi(load: (name: string) => unknown = createRequire(import.meta.url)): Koffi {
  try {
    return load('koffi') as Koffi;
  } catch (error) {
    throw notLoaded(error);
  }
}

function notLoaded(error: unknown): VhostUserError {
  const said = errorMessage(error).split('\n')[0] ?? '';
  const { os, arch } = THIS_HOST;
  const end = /[.?!]$/.test(said) ? '' : '.';
  return new VhostUserError(
    'ERR_VHU_KOFFI',
    `koffi, which calls the functions of this host, does not load on ${os}-${arch} with Node ` +
      `${process.versions.node}: ${said}${end} Its binary was left out when it was installed, or ` +
      'is for another host or Node: install anew on this very host with ' +
      "'npm install --include=optional'; 'vhost-user doctor' says which of these it is",
    { cause: error },
  );
}
