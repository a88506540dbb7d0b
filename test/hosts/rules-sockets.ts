/**
 * The rules of sockets; see `rules.ts`.
 *
 * @module
 */
import { ERRNO } from '../../src/sys/index.ts';
import { abi } from '../../src/sys/host.ts';
import * as files from '../../src/sys/libc-files.ts';
import * as libc from '../../src/sys/libc.ts';
import {
  ALL,
  block,
  at,
  failed,
  pair,
  close,
  using,
  withKqueue,
  send,
  header,
  receive,
  bindTo,
  cString,
} from './rules-support.ts';
import type { Rule } from './rules-support.ts';

const { constants, msghdr, cmsg } = abi;

/** Addresses, options and accepted sockets. */
export const SOCKETS: readonly Rule[] = [
  {
    name: 'sun-path-104',
    hosts: ALL,
    source: 'sys/un.h; OpenBSD sys/kern/uipc_usrreq.c unp_nam2sun (sun_len > sizeof(sockaddr_un))',
    punishes: () => {
      const path = `/tmp/${'x'.repeat(90)}${String(process.pid).padStart(7, '0')}`; // 102
      const longer = `${path}yyy`;
      const good = bindTo(path);
      const bad = bindTo(longer);
      for (const each of [path, longer]) files.unlinkat(abi.files.AT_FDCWD, cString(each), 0);
      return good === 0 && bad === ERRNO.EINVAL;
    },
  },
  {
    name: 'sun-family-byte',
    hosts: ALL,
    source:
      'sys/un.h: sun_len and sun_family are a byte each; unp_bind, unp_nam2sun (EAFNOSUPPORT)',
    punishes: () => bindTo('/tmp/never', 0, 2) === ERRNO.EAFNOSUPPORT,
  },
  {
    name: 'unix-seqpacket',
    hosts: ['darwin'],
    source: 'xnu bsd/kern/uipc_proto.c localsw: no SOCK_SEQPACKET',
    punishes: () => {
      const fd = libc.socket(constants.AF_UNIX, constants.SOCK_SEQPACKET, 0);
      const bad = failed(fd, 'EPROTONOSUPPORT');
      if (fd >= 0) close(fd);
      return bad;
    },
  },
  {
    name: 'unix-sendspace',
    hosts: ALL,
    source: 'uipc_usrreq.c PIPSIZ: 8192 of xnu and FreeBSD, 32768 of OpenBSD',
    punishes: () => {
      const [a, b] = pair();
      return using([a, b], () => {
        const sent = libc.send(a, at(0), 60_000, constants.MSG_DONTWAIT);
        return sent > 0 && sent <= 32768;
      });
    },
  },
  {
    name: 'accept-inherits',
    hosts: ALL,
    source: 'xnu accept_nocancel (fflag); FreeBSD kern_accept4; OpenBSD doaccept (nflag)',
    punishes: () => {
      const path = `/tmp/vhu-rule-${String(process.pid)}`;
      block.bytes.fill(0, 0, 256);
      block.bytes[0] = path.length + 3;
      block.bytes[1] = constants.AF_UNIX;
      block.bytes.set(Buffer.from(path), 2);
      const listener = libc.socket(constants.AF_UNIX, constants.SOCK_STREAM, 0);
      const client = libc.socket(constants.AF_UNIX, constants.SOCK_STREAM, 0);
      libc.bind(listener, at(0), path.length + 3);
      libc.listen(listener, 1);
      libc.fcntl('int', listener, constants.F_SETFL, constants.O_NONBLOCK);
      libc.connect(client, at(0), path.length + 3);
      const server = libc.accept(listener, 0, 0);
      files.unlinkat(abi.files.AT_FDCWD, cString(path), 0);
      return using([listener, client, server], () => {
        const flags = libc.fcntl('int', server, constants.F_GETFL, 0);
        return (flags & constants.O_NONBLOCK) !== 0;
      });
    },
  },
  {
    name: 'setsockopt-shut',
    hosts: ['darwin'],
    source: 'xnu bsd/kern/uipc_socket.c sosetoptlock',
    punishes: () => {
      const [a, b] = pair();
      close(b);
      block.view.setInt32(0, 8192, true);
      return using([a], () => {
        const { SOL_SOCKET, SO_SNDBUF } = constants;
        return failed(libc.setsockopt(a, SOL_SOCKET, SO_SNDBUF, at(0), 4), 'EINVAL');
      });
    },
  },
  {
    name: 'getpeername-shut',
    hosts: ['darwin'],
    source: 'xnu bsd/kern/uipc_syscalls.c getpeername',
    punishes: () => {
      const [a, b] = pair();
      close(b);
      block.view.setUint32(0, 106, true);
      return using([a], () => failed(libc.getpeername(a, at(8), at(0)), 'EINVAL'));
    },
  },
  {
    name: 'no-acceptconn',
    hosts: ['darwin', 'openbsd'],
    source: 'xnu sogetoptlock, OpenBSD sogetopt: no case for SO_ACCEPTCONN',
    punishes: () => {
      const [a, b] = pair();
      block.view.setUint32(0, 4, true);
      return using([a, b], () => {
        const { SOL_SOCKET, SO_ACCEPTCONN } = constants;
        return failed(libc.getsockopt(a, SOL_SOCKET, SO_ACCEPTCONN, at(8), at(0)), 'ENOPROTOOPT');
      });
    },
  },
];

/** Messages with descriptors. */
export const MESSAGES: readonly Rule[] = [
  {
    name: 'iovlen-emsgsize',
    hosts: ALL,
    source: 'xnu sendmsg_nocancel; FreeBSD copyiniov; OpenBSD sys_sendmsg (IOV_MAX 1024)',
    punishes: () => {
      const [a, b] = pair();
      return using([a, b], () => {
        header(0, 0, 1025);
        return failed(libc.sendmsg(a, at(0), 0), 'EMSGSIZE');
      });
    },
  },
  {
    name: 'one-cmsg',
    hosts: ['darwin', 'openbsd'],
    source: 'xnu, OpenBSD uipc_usrreq.c unp_internalize (cmsg_len against m_len)',
    punishes: () => {
      const [a, b] = pair();
      return using([a, b], () => failed(send(a, 1, [[a], [b]]), 'EINVAL'));
    },
  },
  {
    name: 'cluster-of-fds',
    hosts: ['darwin', 'openbsd'],
    source: 'xnu sockargs (pointers of 8 bytes); OpenBSD unp_internalize (struct fdpass, E2BIG)',
    punishes: () => {
      const [a, b] = pair();
      const most = process.platform === 'darwin' ? 255 : 128;
      return using([a, b], () => {
        const one = new Array<number>(most).fill(a);
        return failed(send(a, 1, [one]), 'EINVAL', 'E2BIG');
      });
    },
  },
  {
    name: 'kqueue-not-passed',
    hosts: ALL,
    source: 'xnu fg_sendable, OpenBSD unp_internalize: EINVAL; FreeBSD DFLAG_PASSABLE: EOPNOTSUPP',
    punishes: () =>
      withKqueue((queue) => {
        const [a, b] = pair();
        return using([a, b], () => failed(send(a, 1, [[queue]]), 'EINVAL', 'EOPNOTSUPP'));
      }),
  },
  {
    name: 'stream-eor',
    hosts: ALL,
    source: 'sosend of xnu and OpenBSD, sosend_generic of FreeBSD: MSG_EOR on SOCK_STREAM',
    punishes: () => {
      const [a, b] = pair();
      return using([a, b], () => failed(libc.send(a, at(0), 1, constants.MSG_EOR), 'EINVAL'));
    },
  },
  {
    name: 'records',
    hosts: ALL,
    source: 'sbappendcontrol begins a record, sbappend joins the last, soreceive takes from one',
    punishes: () => {
      const [a, b] = pair();
      return using([a, b], () => {
        send(a, 2, [[a]]);
        send(a, 1, []);
        return String(receive(b, 100)) === '3,1'; // Linux: 2 bytes with the fd, and then 1
      });
    },
  },
  {
    name: 'control-truncated',
    hosts: ALL,
    source: 'xnu copyout_control, FreeBSD kern_recvit, OpenBSD recvit: MSG_CTRUNC',
    punishes: () => {
      const [a, b] = pair();
      return using([a, b], () => {
        send(a, 1, [[a, b, a]]);
        const small = cmsg.dataOffset + 4;
        receive(b, 1, small);
        return (block.get(0, msghdr.flags) & constants.MSG_CTRUNC) !== 0;
      });
    },
  },
  {
    name: 'externalize-emsgsize',
    hosts: ALL,
    source: 'unp_externalize of all three: EMSGSIZE without room in the table, and the bytes stay',
    punishes: () => {
      const [a, b] = pair();
      const { RLIMIT_NOFILE } = abi.files;
      return using([a, b], () => {
        send(a, 2, [new Array<number>(100).fill(a)]);
        files.getrlimit(RLIMIT_NOFILE, at(32));
        const before = block.view.getBigUint64(32, true);
        block.view.setBigUint64(32, BigInt(Math.max(a, b) + 40), true);
        files.setrlimit(RLIMIT_NOFILE, at(32));
        const [refused] = receive(b, 2);
        const [bytes, fds] = refused < 0 ? receive(b, 2) : [0, 0];
        block.view.setBigUint64(32, before, true);
        files.setrlimit(RLIMIT_NOFILE, at(32));
        return refused === -(ERRNO.EMSGSIZE as number) && bytes === 2 && fds === 0;
      });
    },
  },
];
