/**
 * Back-ends of a block device, of a shared folder and so on as a test needs them: our own commands,
 * or qemu-storage-daemon and virtiofsd as the references to try the tests themselves on.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { readlinkSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isListeningOn } from '../../bench/proc.ts';
import { BUILD } from '../support/repository.ts';
import { startProgram } from './process.ts';
import type { TestProgram } from './process.ts';
import type { Peers } from './setup.ts';

const START_MS_MAX = 60_000; // on a machine that has much else to do
const START_POLL_MS = 20;

/** A block device to be served. */
export interface BlkServerOptions {
  readonly peers: Peers;
  readonly image: string;
  readonly socketPath: string;
  readonly queues?: number;
  readonly readOnly?: boolean;
  readonly serial?: string;
  /** `posix`: the command uses nothing that is Linux's own. */
  readonly host?: 'native' | 'posix';
  /** Our command connects to the socket, which the front-end makes. */
  readonly connect?: boolean;
  /** Further options of our command. */
  readonly options?: readonly string[];
  readonly logFile?: string;
}

/** Whether VHOST_USER_TEST_SERVER=qsd asks for the reference in place of our own command. */
export const reference: boolean = process.env.VHOST_USER_TEST_SERVER === 'qsd';

/** A folder to be shared. */
export interface FsServerOptions {
  readonly peers: Peers;
  readonly sharedDir: string;
  readonly socketPath: string;
  readonly tag: string;
  readonly cache?: 'never' | 'metadata' | 'auto' | 'always';
  readonly writeback?: boolean;
  readonly xattr?: boolean;
  readonly posixAcl?: boolean;
  readonly readOnly?: boolean;
  /** Request queues; the reference takes as many as there are. */
  readonly queues?: number;
  /** `posix`: the command uses nothing that is Linux's own. */
  readonly host?: 'native' | 'posix';
  /** Further options of our command. */
  readonly options?: readonly string[];
  readonly logFile?: string;
  /** Which back-end. Default: virtiofsd if VHOST_USER_TEST_SERVER asks for it, else our own. */
  readonly server?: 'ours' | 'virtiofsd';
}

/** Whether VHOST_USER_TEST_SERVER=virtiofsd asks for the reference in place of our own command. */
export const fsReference: boolean = process.env.VHOST_USER_TEST_SERVER === 'virtiofsd';

/** A vsock device to be served. */
export interface VsockServerOptions {
  readonly peers: Peers;
  /** The guests: more than one reach each other. */
  readonly guests: readonly {
    readonly cid: number;
    readonly socketPath: string;
    readonly udsPath: string;
  }[];
  /** `posix`: the command uses nothing that is Linux's own. */
  readonly host?: 'native' | 'posix';
  /** Further options of our command. */
  readonly options?: readonly string[];
  readonly logFile?: string;
}

/** Whether VHOST_USER_TEST_SERVER=vhost-device-vsock asks for the reference. */
export const vsockReference: boolean = process.env.VHOST_USER_TEST_SERVER === 'vhost-device-vsock';

/** Starts a back-end of vsock devices; returns when their sockets are there. */
export async function startVsockServer(options: VsockServerOptions): Promise<TestProgram> {
  const main = join(BUILD, 'src/cli/main.js');
  const own = [process.execPath, '--enable-source-maps', main, 'vsock'];
  const command = vsockReference ? [...options.peers.vsockDevice] : own;
  for (const { cid, socketPath, udsPath } of options.guests) {
    const paths = `socket=${socketPath},uds-path=${udsPath}`;
    command.push('--vm', `guest-cid=${cid},${paths},groups=test`);
  }
  if (!vsockReference) command.push(...(options.options ?? []));
  return startServer(command, options, options.guests.at(-1)?.socketPath);
}

/** Starts a back-end of a folder; returns when it listens. See {@link stopServer}. */
export async function startFsServer(options: FsServerOptions): Promise<TestProgram> {
  const which = options.server ?? (fsReference ? 'virtiofsd' : 'ours');
  const command = which === 'virtiofsd' ? virtiofsdCommand(options) : ownFsCommand(options);
  return startServer(command, options, options.socketPath);
}

/** Starts a back-end of a disk; returns when it listens, if it is not to connect. */
export async function startBlkServer(options: BlkServerOptions): Promise<TestProgram> {
  const command = reference ? storageDaemonCommand(options) : ownCommand(options);
  return startServer(command, options, options.connect === true ? undefined : options.socketPath);
}

/** An entropy device to be served. */
export interface RngServerOptions {
  readonly socketPath: string;
  /** `posix`: the command uses nothing that is Linux's own. */
  readonly host?: 'native' | 'posix';
  /** Further options of our command. */
  readonly options?: readonly string[];
}

/** Starts our entropy device; returns when it listens. */
export async function startRngServer(options: RngServerOptions): Promise<TestProgram> {
  const main = join(BUILD, 'src/cli/main.js');
  const command = [process.execPath, '--enable-source-maps', main, 'rng'];
  command.push('--socket-path', options.socketPath, ...(options.options ?? []));
  return startServer(command, options, options.socketPath);
}

/**
 * Starts `vhost-user console`; returns when it listens, if it is to make a socket, and not to
 * connect to one.
 */
export function startConsoleServer(
  socketPath: string,
  host: 'native' | 'posix',
  options: readonly string[],
): Promise<TestProgram> {
  const connects = options.includes('--connect');
  const main = join(BUILD, 'src/cli/main.js');
  const command = [process.execPath, '--enable-source-maps', main, 'console', ...options];
  command.push('--socket-path', socketPath);
  return startServer(command, { host }, connects ? undefined : socketPath);
}

async function startServer(
  command: readonly string[],
  options: Pick<BlkServerOptions, 'host' | 'logFile'>,
  socketPath: string | undefined,
): Promise<TestProgram> {
  const server = startProgram(command, {
    env: options.host === 'posix' ? { VHOST_USER_HOST: 'posix' } : {},
    ...(options.logFile === undefined ? {} : { logFile: options.logFile }),
  });
  const deadline = performance.now() + START_MS_MAX;
  // The path alone says too little: between bind and listen a connection is refused.
  while (socketPath !== undefined && !isListeningOn(socketPath)) {
    const late = performance.now() > deadline;
    if (late || !server.running) {
      await server.stop('SIGKILL');
      throw new Error(`${command.join(' ')}\ndoes not listen:\n${server.output}`);
    }
    await sleep(START_POLL_MS);
  }
  return server;
}

/** Ends a back-end as a service manager does; it has to end by itself, at once and well. */
export async function stopServer(server: TestProgram): Promise<void> {
  assert.ok(server.running, `the server has ended by itself:\n${server.output}`);
  const { code, signal } = await server.stop();
  const ending = `exit status ${code ?? '-'}, signal ${signal ?? '-'}`;
  assert.ok(code === 0, `the server did not end well on SIGTERM (${ending}):\n${server.output}`);
}

/** How many descriptors of each kind a process holds: `pipe`, `eventfd`, `socket` and so on. */
export function descriptorKinds(pid: number): ReadonlyMap<string, number> {
  const kinds = new Map<string, number>();
  const folder = `/proc/${pid}/fd`;
  for (const fd of readdirSync(folder)) {
    const kind = kindOf(join(folder, fd));
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  }
  return kinds;
}

function kindOf(link: string): string {
  try {
    const target = readlinkSync(link);
    return /^(?:anon_inode:)?\[?(\w+)[\]:]?/.exec(target)?.[1] ?? 'file';
  } catch {
    return 'gone';
  }
}

function ownCommand(options: BlkServerOptions): string[] {
  const main = join(BUILD, 'src/cli/main.js');
  const command = [process.execPath, '--enable-source-maps', main, 'blk', options.image];
  command.push('--socket-path', options.socketPath, '--num-queues', String(options.queues ?? 1));
  if (options.connect === true) command.push('--connect');
  if (options.readOnly === true) command.push('--read-only');
  if (options.serial !== undefined) command.push('--serial', options.serial);
  command.push(...(options.options ?? []));
  return command;
}

function ownFsCommand(options: FsServerOptions): string[] {
  const main = join(BUILD, 'src/cli/main.js');
  const command = [process.execPath, '--enable-source-maps', main, 'fs', ...commonFs(options)];
  command.push('--tag', options.tag);
  if (options.posixAcl === true) command.push('--posix-acl');
  if (options.queues !== undefined) command.push('--num-request-queues', String(options.queues));
  command.push(...(options.options ?? []));
  return command;
}

function virtiofsdCommand(options: FsServerOptions): string[] {
  const command = [...options.peers.virtiofsd, ...commonFs(options)];
  if (options.posixAcl === true) command.push('--posix-acl=always');
  return command;
}

function commonFs(options: FsServerOptions): string[] {
  const shared = ['--shared-dir', options.sharedDir, '--socket-path', options.socketPath];
  shared.push('--cache', options.cache ?? 'auto');
  if (options.writeback === true) shared.push('--writeback');
  if (options.xattr === true) shared.push('--xattr');
  if (options.readOnly === true) shared.push('--readonly');
  return shared;
}

function storageDaemonCommand(options: BlkServerOptions): string[] {
  const writable = options.readOnly === true ? 'off' : 'on';
  const blockdev = `driver=file,node-name=f0,filename=${options.image},discard=unmap`;
  const readOnly = `read-only=${options.readOnly === true ? 'on' : 'off'}`;
  const target = `addr.type=unix,addr.path=${options.socketPath}`;
  const queues = `num-queues=${options.queues ?? 1}`;
  const device = `type=vhost-user-blk,id=e0,node-name=f0,${target},writable=${writable},${queues}`;
  return [
    ...options.peers.storageDaemon,
    '--blockdev',
    `${blockdev},${readOnly}`,
    '--export',
    device,
  ];
}
