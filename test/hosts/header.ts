/**
 * The tables of `src/abi` as a C header, for the models of other kernels.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { abiOf } from '../../src/abi/index.ts';
import type { Field } from '../../src/abi/index.ts';
import { HOST_ERRNO } from './errno.ts';
import type { PlayedHost } from './errno.ts';

/**
 * Room of a Unix stream socket. xnu: bsd/kern/uipc_usrreq.c; FreeBSD and OpenBSD:
 * sys/kern/uipc_usrreq.c, PIPSIZ of each.
 */
const UNIX_SENDSPACE: Readonly<Record<PlayedHost, number>> = {
  darwin: 8192,
  freebsd: 8192,
  openbsd: 32768,
};

/** `host.h` of a host. */
export function modelHeader(os: PlayedHost): string {
  const abi = abiOf(os, 'x64');
  assert.ok(abi !== undefined && abi.kqueue !== null, 'a host with a table, and with kqueue');
  const numbers: Record<string, unknown> = {
    ...abi.constants,
    ...abi.optional,
    ...abi.files.open,
    ...abi.files,
    ...abi.kqueue,
    SHM_NAME_MAX: abi.shmNameBytesMax,
    SUN_PATH_BYTES: abi.sockaddrUn.pathBytes,
    CMSG_DATA_OFFSET: abi.cmsg.dataOffset,
    CMSG_ALIGN: abi.cmsg.align,
    KEVENT_SIZE: abi.kqueue.event.SIZE,
    UNIX_SENDSPACE: UNIX_SENDSPACE[os],
  };
  const lines = ['darwin', 'freebsd', 'openbsd'].map(
    (each) => `#define HOST_${each.toUpperCase()} ${each === os ? '1' : '0'}`,
  );
  for (const [name, value] of Object.entries(numbers)) {
    // A facility that the host lacks is not defined at all, so that nobody compares with 0.
    const isLacking = value === 0 && /^O_[A-Z]+$/.test(name) && name !== 'O_RDONLY';
    if (typeof value !== 'number' || isLacking) continue;
    lines.push(`#define H_${name.replace(/^_/, '')} ${String(value)}`);
  }
  lines.push(...fields('MSGHDR', { ...abi.msghdr }), ...fields('CMSG', { ...abi.cmsg }));
  lines.push(...fields('KEVENT', { ...abi.kqueue.event }));
  const errno = Object.entries(HOST_ERRNO[os])
    // EWOULDBLOCK is EAGAIN, and EOPNOTSUPP is ENOTSUP on Linux: the kernel's is the latter
    .filter(([name]) => name !== 'EWOULDBLOCK' && name !== 'EOPNOTSUPP')
    .map(([name, number]) => `#ifdef ${name}\n  [${name}] = ${String(number)},\n#endif`);
  lines.push(`static const short HOST_ERRNO[256] = {\n${errno.join('\n')}\n};`, '');
  return lines.join('\n');
}

function fields(prefix: string, layout: Record<string, unknown>): string[] {
  return Object.entries(layout).flatMap(([name, value]) => {
    if (typeof value !== 'object' || value === null || !('offset' in value)) return [];
    const { offset, bytes } = value as Field;
    return `#define H_${prefix}_${name.toUpperCase()} ${String(offset)}, ${String(bytes)}`;
  });
}
