/**
 * Which host this is and what it offers, found out once by trying and not by its name.
 *
 * @module
 */
import { VhostUserError } from '../util/index.ts';
import { SUPPORTED_HOSTS, THIS_HOST, abiOf } from '../abi/index.ts';
import type { Abi } from '../abi/index.ts';

/** Facts about this host and about the facilities that this process uses. */
export interface HostInfo {
  readonly os: string;
  readonly arch: string;
  /**
   * `posix`: only what every POSIX host has is used, by the environment's VHOST_USER_HOST=posix.
   */
  readonly mode: 'native' | 'posix';
}

const { os, arch } = THIS_HOST;
const found = abiOf(os, arch);

/** The table of this host. */
export const abi: Abi = found ?? unsupported();

/** Whether facilities beyond POSIX (eventfd, memfd, epoll, io_uring) are left alone. */
export const posixOnly: boolean = process.env.VHOST_USER_HOST === 'posix';

/** This host. */
export function host(): HostInfo {
  return { os, arch, mode: posixOnly ? 'posix' : 'native' };
}

function unsupported(): never {
  const known = SUPPORTED_HOSTS.map((each) => `${each.os}-${each.arch}`).join(', ');
  throw new VhostUserError(
    'ERR_VHU_HOST',
    `vhost-user does not know ${os} on ${arch}; it knows ${known}. ` +
      'Adding a host is one table of constants in src/abi.',
  );
}
