/**
 * Error numbers of the hosts that are played, by name. Source: `sys/errno.h` of each.
 *
 * @module
 */

/** The hosts that can be played. */
export type PlayedHost = 'darwin' | 'freebsd' | 'openbsd';

/** 4.4BSD's, which all three have; from 81 on each has its own. */
const BSD_NAMES = [
  ...['EPERM', 'ENOENT', 'ESRCH', 'EINTR', 'EIO', 'ENXIO', 'E2BIG', 'ENOEXEC', 'EBADF', 'ECHILD'],
  ...['EDEADLK', 'ENOMEM', 'EACCES', 'EFAULT', 'ENOTBLK', 'EBUSY', 'EEXIST', 'EXDEV', 'ENODEV'],
  ...['ENOTDIR', 'EISDIR', 'EINVAL', 'ENFILE', 'EMFILE', 'ENOTTY', 'ETXTBSY', 'EFBIG', 'ENOSPC'],
  ...['ESPIPE', 'EROFS', 'EMLINK', 'EPIPE', 'EDOM', 'ERANGE', 'EAGAIN', 'EINPROGRESS', 'EALREADY'],
  ...['ENOTSOCK', 'EDESTADDRREQ', 'EMSGSIZE', 'EPROTOTYPE', 'ENOPROTOOPT', 'EPROTONOSUPPORT'],
  ...['ESOCKTNOSUPPORT', 'EOPNOTSUPP', 'EPFNOSUPPORT', 'EAFNOSUPPORT', 'EADDRINUSE'],
  ...['EADDRNOTAVAIL', 'ENETDOWN', 'ENETUNREACH', 'ENETRESET', 'ECONNABORTED', 'ECONNRESET'],
  ...['ENOBUFS', 'EISCONN', 'ENOTCONN', 'ESHUTDOWN', 'ETOOMANYREFS', 'ETIMEDOUT', 'ECONNREFUSED'],
  ...['ELOOP', 'ENAMETOOLONG', 'EHOSTDOWN', 'EHOSTUNREACH', 'ENOTEMPTY', 'EPROCLIM', 'EUSERS'],
  ...['EDQUOT', 'ESTALE', 'EREMOTE', 'EBADRPC', 'ERPCMISMATCH', 'EPROGUNAVAIL', 'EPROGMISMATCH'],
  ...['EPROCUNAVAIL', 'ENOLCK', 'ENOSYS', 'EFTYPE', 'EAUTH'],
];

const BSD: Readonly<Record<string, number>> = {
  ...Object.fromEntries(BSD_NAMES.map((name, i) => [name, i + 1])),
  EWOULDBLOCK: 35,
};

/** The numbers of each. */
export const HOST_ERRNO: Readonly<Record<PlayedHost, Readonly<Record<string, number>>>> = {
  darwin: {
    ...BSD,
    // Two numbers for one meaning: the kernel's file systems give ENOTSUP.
    ...{ ENOTSUP: 45, EOPNOTSUPP: 102, EOVERFLOW: 84, ECANCELED: 89, EIDRM: 90, ENOMSG: 91 },
    ...{ EILSEQ: 92, EBADMSG: 94, EMULTIHOP: 95, ENODATA: 96, ENOLINK: 97, ENOSR: 98 },
    ...{ ENOSTR: 99, EPROTO: 100, ETIME: 101 },
  },
  freebsd: {
    ...BSD,
    ...{ ENOTSUP: 45, EIDRM: 82, ENOMSG: 83, EOVERFLOW: 84, ECANCELED: 85, EILSEQ: 86 },
    ...{ EBADMSG: 89, EMULTIHOP: 90, ENOLINK: 91, EPROTO: 92 },
  },
  openbsd: {
    ...BSD,
    ...{ EILSEQ: 84, EOVERFLOW: 87, ECANCELED: 88, EIDRM: 89, ENOMSG: 90, ENOTSUP: 91 },
    ...{ EBADMSG: 92, EPROTO: 95 },
  },
};
