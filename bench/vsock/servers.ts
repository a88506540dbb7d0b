/**
 * The two servers of the vsock benchmark.
 *
 * @module
 */
import { existsSync } from 'node:fs';
import type { ServerPlan } from '../server.ts';
import type { Side } from './result.ts';

/** What a plan needs to know of the place where it runs. */
export interface VsockSite {
  /** A folder on tmpfs. */
  readonly folder: string;
  /** The root of the newer Debian suite. */
  readonly peerRoot: string;
}

/** How our own server is started. */
export interface OurVsockOptions {
  /** The compiled entry of the command line. */
  readonly entry: string;
  readonly extraArgs: readonly string[];
  readonly nodeArgs: readonly string[];
  readonly posix: boolean;
}

/** A server, and its socket for programs of the host. */
export interface VsockServerPlan extends ServerPlan {
  readonly udsPath: string;
}

const PEER_PROGRAM = 'usr/bin/vhost-device-vsock';
/** The guest's context id, of either server. */
export const GUEST_CID = 4;

/** Our server. */
export function ourVsockPlan(site: VsockSite, options: OurVsockOptions): VsockServerPlan {
  const { entry, extraArgs, nodeArgs, posix } = options;
  const { socketPath, udsPath, logPath } = pathsOf(site, 'ours');
  const vsock = ['vsock', '--guest-cid', String(GUEST_CID), '--socket-path', socketPath];
  return {
    name: posix ? 'vhost-user (posix)' : 'vhost-user',
    command: {
      file: process.execPath,
      args: [...nodeArgs, entry, ...vsock, '--uds-path', udsPath, ...extraArgs],
      ...(posix ? { env: { VHOST_USER_HOST: 'posix' } } : {}),
    },
    socketPath,
    udsPath,
    logPath,
  };
}

/** The peer with its defaults, by its suite's own loader, so that it sees all of this host. */
export function peerVsockPlan(site: VsockSite, side: Side = 'theirs'): VsockServerPlan {
  const { socketPath, udsPath, logPath } = pathsOf(site, `peer-${side}`);
  const args = [`--guest-cid=${GUEST_CID}`, `--socket=${socketPath}`, `--uds-path=${udsPath}`];
  const { file, args: loader } = peerProgram(site.peerRoot);
  // What it says of each connection, by default, would be measured as well.
  const env = { RUST_LOG: 'off' };
  const command = { file, args: [...loader, ...args], env };
  return { name: 'vhost-device-vsock', command, socketPath, udsPath, logPath };
}

/** The command that prints the peer's version. */
export function peerVersionPlan(peerRoot: string): ServerPlan['command'] {
  const { file, args } = peerProgram(peerRoot);
  return { file, args: [...args, '--version'] };
}

/** Whether the peer is in its root. */
export function peerVsockIsInstalled(peerRoot: string): boolean {
  return existsSync(`${peerRoot}/${PEER_PROGRAM}`);
}

function peerProgram(root: string): { readonly file: string; readonly args: readonly string[] } {
  const libraries = ['--library-path', `${root}/usr/lib/x86_64-linux-gnu`];
  return {
    file: `${root}/lib64/ld-linux-x86-64.so.2`,
    args: [...libraries, `${root}/${PEER_PROGRAM}`],
  };
}

function pathsOf(
  { folder }: VsockSite,
  name: string,
): { socketPath: string; udsPath: string; logPath: string } {
  return {
    socketPath: `${folder}/${name}.sock`,
    udsPath: `${folder}/${name}.vsock`,
    logPath: `${folder}/${name}.log`,
  };
}
