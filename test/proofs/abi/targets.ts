/**
 * The systems whose headers the tables are compared with.
 *
 * @module
 */
import { abiOf } from '../../../src/abi/index.ts';
import type { Abi } from '../../../src/abi/index.ts';

/** One system, architecture and C library. */
export interface Target {
  readonly name: string;
  readonly os: 'linux' | 'darwin' | 'freebsd' | 'openbsd' | 'netbsd';
  readonly arch: 'x64' | 'arm64';
  /** `musl` has headers of its own on Linux. */
  readonly libc: 'glibc' | 'musl' | 'own';
  /** What the compiler calls it. */
  readonly triple: string;
}

function pair(name: string, os: Target['os'], libc: Target['libc'], triple: string): Target[] {
  return [
    { name: `${name}-x64`, os, arch: 'x64', libc, triple: triple.replace('*', 'x86_64') },
    { name: `${name}-arm64`, os, arch: 'arm64', libc, triple: triple.replace('*', 'aarch64') },
  ];
}

/** All of them: every host that there is a table for. */
export const TARGETS: readonly Target[] = [
  ...pair('linux-glibc', 'linux', 'glibc', '*-linux-gnu.2.36'),
  ...pair('linux-musl', 'linux', 'musl', '*-linux-musl'),
  ...pair('macos', 'darwin', 'own', '*-macos'),
  // The headers are those of 15 for all, with the version that was asked for in their conditions.
  ...pair('freebsd-13', 'freebsd', 'own', '*-freebsd.13.2'),
  ...pair('freebsd-14', 'freebsd', 'own', '*-freebsd.14.0'),
  ...pair('freebsd-15', 'freebsd', 'own', '*-freebsd.15.0'),
  ...pair('openbsd', 'openbsd', 'own', '*-openbsd'),
  // The headers are those of 11 for both; the functions that the library has are not.
  ...pair('netbsd-10', 'netbsd', 'own', '*-netbsd.10.1'),
  ...pair('netbsd-11', 'netbsd', 'own', '*-netbsd.11.0'),
];

/**
 * The table of a target.
 * @throws Error when there is none
 */
export function tableOf(target: Target): Abi {
  const found = abiOf(target.os, target.arch);
  if (found === undefined) throw new Error(`there is no table for ${target.name}`);
  return found;
}
