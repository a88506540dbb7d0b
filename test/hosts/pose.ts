/**
 * Loaded before anything else (`--import`): makes this process take its host for another one. The C
 * library that `src/sys` sees is then the model of that host's kernel and nothing else: a function
 * which that host lacks is not there, and error numbers are that host's. Node itself goes on
 * with Linux.
 *
 * @module
 */
import fs from 'node:fs';
import { createRequire, register, syncBuiltinESMExports } from 'node:module';
import os from 'node:os';
import { HOST_ERRNO } from './errno.ts';
import type { PlayedHost } from './errno.ts';

/** What of koffi is put in its place. */
interface Library {
  func(prototypeOrName: string, ...rest: unknown[]): (...args: unknown[]) => unknown;
}
interface Koffi {
  load(path: string | null): Library;
}

/** Functions without kernel and without errno, which are the same everywhere. */
const SAME = /^(malloc|free|memcpy|strlen|strncmp|cfmakeraw|gete[ug]id|umask|uv_\w+)$/;

const host = process.env.VHU_MODEL_OS as PlayedHost | undefined;
const path = process.env.VHU_MODEL_LIBRARY;
const ENDING = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
if (process.env.VHU_MUTATE !== undefined) register(`./mutate.${ENDING}`, import.meta.url);
if (host !== undefined && path !== undefined) pose(host, path);

function pose(name: PlayedHost, libraryPath: string): void {
  // As the product loads it, and while this is Linux yet.
  const koffi = createRequire(import.meta.url)('koffi') as Koffi;
  const load = koffi.load.bind(koffi);
  const own = load(null);
  const model = load(libraryPath);
  koffi.load = (wanted) => {
    if (wanted !== null) return load(wanted);
    return {
      func: (prototype, ...rest) => {
        const called = /([\w$]+)\s*(\(|$)/.exec(prototype)?.[1] ?? '';
        if (SAME.test(called)) return own.func(prototype, ...rest);
        const modelled = `model_${called.replace('$INODE64', '')}`;
        return model.func(prototype.replace(called, modelled), ...rest);
      },
    };
  };
  Object.defineProperty(process, 'platform', { value: name });
  // Node knows the same names on every host, as far as the host has them.
  const known = Object.entries(HOST_ERRNO[name]).filter(([each]) => each in os.constants.errno);
  Object.assign(os.constants, { errno: Object.freeze(Object.fromEntries(known)) });
  if (name === 'darwin') statSharedMemory(model);
  syncBuiltinESMExports();
}

/** Node's fstat as macOS answers it: a shared memory object has permissions and no kind. */
function statSharedMemory(model: Library): void {
  const isShm = model.func('int model_is_shm_object(int fd)') as (fd: number) => number;
  const real = fs.fstatSync as (...args: unknown[]) => fs.Stats | fs.BigIntStats;
  fs.fstatSync = ((fd: number, ...rest: unknown[]) => {
    const stat = real(fd, ...rest);
    if (isShm(fd) === 0) return stat;
    if (typeof stat.mode === 'bigint') stat.mode &= 0o7777n;
    else (stat as fs.Stats).mode &= 0o7777;
    return stat;
  }) as typeof fs.fstatSync;
}
