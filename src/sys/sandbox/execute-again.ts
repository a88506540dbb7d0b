/**
 * Executing this program again in the same process: execve(2) with the same words, environment and
 * inherited descriptors.
 *
 * @module
 */
import { SystemError } from '../errno.ts';
import { abi } from '../host.ts';
import * as libc from '../libc.ts';
import { NativeBlock } from '../native.ts';
import { linuxCall } from './linux-call.ts';

/** `argv[0]` of the program that is in its sandbox: what ps(1) shows in the place of `node`. */
const NAME = 'vhost-user-sandboxed';

const LISTEN_FDS_START = 3; // sd_listen_fds(3)
const ADDRESS_BYTES = 8;
const ADDRESS_HIGH = 0x1_0000_0000;
/** Descriptors of one systemd unit are never that many. */
const LISTEN_FDS_MAX = 1024;

/** Whether this process is the one that {@link executeAgain} has made. */
export function isExecutedAgain(): boolean {
  return process.argv0 === NAME;
}

/**
 * Does it; threads of this program end.
 *
 * @param fds what it has inherited beside standard input, output and error, and those of systemd
 * @throws SystemError when this program cannot be executed
 */
export function executeAgain(fds: readonly number[]): never {
  // Node has every inherited descriptor closed for programs that it starts.
  for (const fd of [0, 1, 2, ...activated(), ...fds]) keepOpen(fd);
  const { execPath, execArgv, argv, env } = process;
  const words = [NAME, ...execArgv, ...argv.slice(1)];
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value ?? ''}`);
  const path = text(execPath);
  const result = linuxCall('execve', path, list(words), list(variables));
  throw new SystemError(`execve(${execPath})`, -result, 'this is how the sandbox is entered');
}

function activated(): number[] {
  const count = Math.min(Number(process.env.LISTEN_FDS ?? 0) || 0, LISTEN_FDS_MAX);
  return Array.from({ length: count }, (_, i) => LISTEN_FDS_START + i);
}

/** An fd that is not open is somebody else's to complain about. */
function keepOpen(fd: number): void {
  libc.fcntl('int', fd, abi.constants.F_SETFD, 0);
}

/** The address of a NUL-terminated array of strings; it lives until the program is another one. */
function list(strings: readonly string[]): number {
  const block = new NativeBlock((strings.length + 1) * ADDRESS_BYTES);
  strings.forEach((each, i) => {
    const address = text(each);
    block.view.setUint32(i * ADDRESS_BYTES, address >>> 0, true);
    block.view.setUint32(i * ADDRESS_BYTES + 4, Math.floor(address / ADDRESS_HIGH), true);
  });
  return block.address;
}

function text(string: string): number {
  const bytes = Buffer.from(`${string}\0`);
  const block = new NativeBlock(bytes.length);
  block.bytes.set(bytes);
  return block.address;
}
