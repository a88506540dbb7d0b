/**
 * The two servers of the file system benchmark, on one folder.
 *
 * @module
 */
import { existsSync } from 'node:fs';
import type { ServerPlan } from '../server.ts';
import type { CacheMode } from './plan.ts';
import type { Side } from './result.ts';

/** What a plan needs to know of the place where it runs. */
export interface FsSite {
  /** A folder, the same path in the peer's root. */
  readonly folder: string;
  /** The folder in it that is shared. */
  readonly shared: string;
  /** The root of the newer Debian suite. */
  readonly peerRoot: string;
}

/** How our own server is started. */
export interface OurFsOptions {
  /** The compiled entry of the command line. */
  readonly entry: string;
  readonly extraArgs: readonly string[];
  readonly nodeArgs: readonly string[];
  readonly posix: boolean;
}

const PEER_PROGRAM = 'usr/libexec/virtiofsd';
/** The tag under which a guest mounts a side. */
export const TAGS: Readonly<Record<Side, string>> = { ours: 'ours', theirs: 'theirs' };

/** Our server. */
export function ourFsPlan(cache: CacheMode, site: FsSite, options: OurFsOptions): ServerPlan {
  const { entry, extraArgs, nodeArgs, posix } = options;
  const socketPath = `${site.folder}/ours-${cache}.sock`;
  const fs = ['fs', '--shared-dir', site.shared, '--tag', TAGS.ours, '--socket-path', socketPath];
  return {
    name: posix ? 'vhost-user (posix)' : 'vhost-user',
    command: {
      file: process.execPath,
      args: [...nodeArgs, entry, ...fs, '--cache', cache, ...extraArgs],
      ...(posix ? { env: { VHOST_USER_HOST: 'posix' } } : {}),
    },
    socketPath,
    logPath: `${site.folder}/ours-${cache}.log`,
  };
}

/**
 * The peer, virtiofsd with its defaults. Its sandbox does not work in a chroot, so it is started
 * outside, by its own loader.
 */
export function peerFsPlan(cache: CacheMode, site: FsSite, side: Side = 'theirs'): ServerPlan {
  const root = site.peerRoot;
  const socketPath = `${site.folder}/peer-${side}-${cache}.sock`;
  const libraries = ['--library-path', `${root}/usr/lib/x86_64-linux-gnu`];
  const fs = ['--socket-path', socketPath, '--shared-dir', site.shared, '--cache', cache];
  return {
    name: 'virtiofsd',
    command: {
      file: `${root}/lib64/ld-linux-x86-64.so.2`,
      args: [...libraries, `${root}/${PEER_PROGRAM}`, ...fs, '--log-level', 'warn'],
    },
    socketPath,
    logPath: `${site.folder}/peer-${side}-${cache}.log`,
  };
}

/** The command that prints the peer's version. */
export function peerVersionPlan(peerRoot: string): ServerPlan['command'] {
  return {
    file: `${peerRoot}/lib64/ld-linux-x86-64.so.2`,
    args: [
      ...['--library-path', `${peerRoot}/usr/lib/x86_64-linux-gnu`],
      ...[`${peerRoot}/${PEER_PROGRAM}`, '--version'],
    ],
  };
}

/** Whether the peer is in its root. */
export function peerFsIsInstalled(peerRoot: string): boolean {
  return existsSync(`${peerRoot}/${PEER_PROGRAM}`);
}
