/**
 * Error numbers of this host, and the error that a failed system call throws.
 *
 * @module
 */
import { constants } from 'node:os';
import { VhostUserError } from '../util/index.ts';

/** This host's numbers by name: `ERRNO.EIO`. The runtime knows them, so no table of ours has to. */
export const ERRNO: Readonly<Record<string, number>> = constants.errno;

/** Second names of the same number on some hosts: the first one is what manual pages use. */
const ALIASES: ReadonlySet<string> = new Set(['EWOULDBLOCK', 'ENOTSUP', 'EDEADLOCK']);
const NAMES = new Map(
  Object.entries(ERRNO)
    .sort(([a], [b]) => Number(ALIASES.has(b)) - Number(ALIASES.has(a))) // the later one stays
    .map(([name, number]) => [number, name]),
);

/** `EIO` for 5; `errno 4711` for a number without a name. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${String(errno)}`;
}

/** A system call that failed; `code` is `ERR_VHU_SYSTEM`. */
export class SystemError extends VhostUserError {
  /** The call, as its manual page names it. */
  readonly syscall: string;
  readonly errno: number;
  /** `ENOENT`, … */
  readonly errnoName: string;

  /**
   * @param call the call with its arguments in words: `bind(/run/disk.sock)`
   * @param advice why it may have failed, or what to do about it
   */
  constructor(call: string, errno: number, advice?: string) {
    const name = errnoName(errno);
    super('ERR_VHU_SYSTEM', `${call}: ${name}${advice === undefined ? '' : `: ${advice}`}`);
    this.syscall = call.replace(/\(.*/s, '');
    this.errno = errno;
    this.errnoName = name;
  }
}
