/**
 * The tables of all hosts: complete, consistent in themselves, and right about the known traps.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SUPPORTED_HOSTS, abiOf } from './index.ts';
import type { Abi, Field } from './index.ts';

const ABIS = new Map(
  SUPPORTED_HOSTS.map(({ os, arch }) => [`${os}-${arch}`, abiOf(os, arch)] as const),
);

function table(os: string, arch: string): Abi {
  const found = ABIS.get(`${os}-${arch}`);
  assert.ok(found, `${os}-${arch}`);
  return found;
}

const TABLES = SUPPORTED_HOSTS.map(({ os, arch }) => ({
  name: `${os}-${arch}`,
  os,
  abi: table(os, arch),
}));

/** Fields in order, that nothing overlaps, each aligned unless `packed`, and all within `size`. */
function checkFields(what: string, fields: Readonly<Record<string, Field>>, size: number): void {
  let end = 0;
  const sorted = Object.entries(fields).sort(([, a], [, b]) => a.offset - b.offset);
  for (const [name, { offset, bytes }] of sorted) {
    assert.ok(offset >= end, `${what}.${name} at ${offset} overlaps what ends at ${end}`);
    end = offset + bytes;
  }
  assert.ok(end <= size, `${what} ends at ${end}, its size is ${size}`);
}

function checkAligned(what: string, fields: Readonly<Record<string, Field>>): void {
  for (const [name, { offset, bytes }] of Object.entries(fields)) {
    assert.equal(offset % bytes, 0, `${what}.${name} is aligned`);
  }
}

function integersOf(record: object): [string, number][] {
  return Object.entries(record).filter((each): each is [string, number] => !isTable(each[1]));
}

function isTable(value: unknown): boolean {
  return typeof value === 'object';
}

describe('the tables of all hosts', () => {
  it('are there for Linux, macOS and three BSDs on x64 and arm64, and for nothing else', () => {
    assert.deepEqual(
      TABLES.map(({ name }) => name),
      ['linux', 'darwin', 'freebsd', 'openbsd', 'netbsd'].flatMap((os) => [
        `${os}-x64`,
        `${os}-arm64`,
      ]),
    );
    assert.equal(abiOf('win32', 'x64'), undefined);
    assert.equal(abiOf('linux', 'ia32'), undefined);
    assert.equal(abiOf('linux', 'toString'), undefined);
  });

  for (const { name, abi } of TABLES) {
    it(`${name}: every constant is a whole number that a C int or an ioctl request can hold`, () => {
      const linux = Object.keys(table('linux', 'x64').constants).sort();
      assert.deepEqual(Object.keys(abi.constants).sort(), linux, 'the same names as elsewhere');
      for (const group of [abi.constants, abi.optional, abi.epoll, abi.kqueue, abi.uring]) {
        if (group === null) continue;
        for (const [constant, value] of integersOf(group)) {
          assert.ok(Number.isInteger(value), constant);
          assert.ok(value >= -2 && value <= 0xffff_ffff, `${constant} is ${value}`);
        }
      }
    });

    it(`${name}: flags that are combined have no bit in common`, () => {
      const { constants: c, optional: o } = abi;
      const groups = [
        [c.O_RDWR, c.O_CREAT, c.O_EXCL, c.O_NONBLOCK, c.O_CLOEXEC],
        [c.PROT_READ, c.PROT_WRITE],
        [c.MAP_SHARED, c.MAP_ANON, o.MAP_NORESERVE ?? 0],
        [c.MAP_PRIVATE, c.MAP_ANON, o.MAP_NORESERVE ?? 0],
        [c.LOCK_SH, c.LOCK_EX, c.LOCK_NB],
        [c.POLLIN, c.POLLOUT, c.POLLHUP],
        [c.MSG_CTRUNC, c.MSG_DONTWAIT, o.MSG_NOSIGNAL ?? 0, o.MSG_CMSG_CLOEXEC ?? 0],
        [c.MSG_PEEK, c.MSG_EOR, c.MSG_TRUNC, c.MSG_DONTWAIT, o.MSG_NOSIGNAL ?? 0],
        [c.SOCK_STREAM, o.SOCK_CLOEXEC ?? 0, o.SOCK_NONBLOCK ?? 0],
        [c.SOCK_SEQPACKET, o.SOCK_CLOEXEC ?? 0, o.SOCK_NONBLOCK ?? 0],
        [o.EFD_CLOEXEC ?? 0, o.EFD_NONBLOCK ?? 0],
        [o.MFD_CLOEXEC ?? 0, o.MFD_ALLOW_SEALING ?? 0],
        [o.F_SEAL_SEAL ?? 0, o.F_SEAL_SHRINK ?? 0, o.F_SEAL_GROW ?? 0],
        [o.FALLOC_FL_KEEP_SIZE ?? 0, o.FALLOC_FL_PUNCH_HOLE ?? 0, o.FALLOC_FL_ZERO_RANGE ?? 0],
      ];
      for (const flags of groups) {
        let sum = 0n;
        for (const flag of flags) {
          assert.equal(sum & BigInt(flag), 0n, `0x${flag.toString(16)} in ${flags.join()}`);
          sum |= BigInt(flag);
        }
      }
    });

    it(`${name}: fcntl commands differ from each other`, () => {
      const { constants: c, optional: o } = abi;
      const commands = [c.F_GETFD, c.F_SETFD, c.F_GETFL, c.F_SETFL];
      for (const extra of [o.F_FULLFSYNC, o.F_NOCACHE, o.F_PUNCHHOLE, o.F_ADD_SEALS, o.F_GET_SEALS])
        if (extra !== undefined) commands.push(extra);
      assert.equal(new Set(commands).size, commands.length);
    });

    it(`${name}: structures have fields that do not overlap and that their sizes cover`, () => {
      const { SIZE: msghdrSize, ...msghdr } = abi.msghdr;
      checkFields('msghdr', msghdr, msghdrSize);
      checkAligned('msghdr', msghdr);
      assert.equal(msghdrSize % 8, 0);
      const { dataOffset, align, ...cmsg } = abi.cmsg;
      checkFields('cmsghdr', cmsg, dataOffset);
      checkAligned('cmsghdr', cmsg);
      assert.ok([4, 8, 16].includes(align));
      assert.equal(dataOffset % align, 0, 'data begins where an fd may be');
      assert.equal(dataOffset % 4, 0);
      if (abi.epoll !== null) {
        const { SIZE, ...event } = abi.epoll.event;
        checkFields('epoll_event', event, SIZE);
      }
      if (abi.kqueue !== null) {
        const { SIZE, ...event } = abi.kqueue.event;
        checkFields('kevent', event, SIZE);
        checkAligned('kevent', event);
        assert.equal(SIZE % 8, 0, 'an array of them keeps its alignment');
      }
      assert.ok(abi.sockaddrUn.pathOffset === 2 && abi.sockaddrUn.pathBytes > 100);
    });

    it(`${name}: has one event queue at least, and a way to send without SIGPIPE`, () => {
      assert.ok((abi.epoll === null) !== (abi.kqueue === null));
      assert.ok(abi.optional.MSG_NOSIGNAL ?? abi.optional.SO_NOSIGPIPE);
      assert.ok(abi.shmNameBytesMax >= 31);
    });
  }
});

describe('known traps', () => {
  const darwin = table('darwin', 'arm64');
  const freebsd = table('freebsd', 'x64');
  const openbsd = table('openbsd', 'x64');
  const netbsd = table('netbsd', 'x64');
  const bsds = [darwin, freebsd, openbsd, netbsd];

  it('control messages: macOS aligns to 4 and has no padding; Linux has a header of 16 bytes', () => {
    const { dataOffset, align, len } = darwin.cmsg;
    assert.deepEqual({ dataOffset, align, len: len.bytes }, { dataOffset: 12, align: 4, len: 4 });
    for (const abi of [freebsd, openbsd, netbsd]) {
      assert.deepEqual([abi.cmsg.dataOffset, abi.cmsg.align, abi.cmsg.len.bytes], [16, 8, 4]);
    }
    const linux = table('linux', 'arm64').cmsg;
    assert.deepEqual([linux.dataOffset, linux.align, linux.len.bytes], [16, 8, 8]);
  });

  it('msghdr: 48 bytes with 32-bit lengths on the BSDs, 56 bytes on Linux', () => {
    for (const { msghdr } of bsds) {
      assert.deepEqual(
        [msghdr.SIZE, msghdr.iovlen.bytes, msghdr.controllen.bytes, msghdr.flags.offset],
        [48, 4, 4, 44],
      );
    }
    const { msghdr } = table('linux', 'x64');
    assert.deepEqual([msghdr.SIZE, msghdr.controllen.bytes, msghdr.flags.offset], [56, 8, 48]);
  });

  it('sockaddr_un: a length byte and 104 bytes of path on the BSDs, 108 on Linux', () => {
    for (const { sockaddrUn } of bsds) {
      assert.deepEqual(sockaddrUn, { hasLength: true, pathOffset: 2, pathBytes: 104 });
    }
    const { sockaddrUn } = table('linux', 'x64');
    assert.deepEqual(sockaddrUn, { hasLength: false, pathOffset: 2, pathBytes: 108 });
  });

  it('AF_INET6 is another number everywhere; options of sockets are those of BSD but on Linux', () => {
    const linux = table('linux', 'x64');
    assert.deepEqual(
      [linux, ...bsds].map(({ constants }) => constants.AF_INET6),
      [10, 30, 28, 24, 24],
    );
    for (const { constants: c, sockaddrIn, sockaddrIn6 } of bsds) {
      assert.deepEqual([c.SO_ERROR, c.SO_SNDBUF, c.SO_REUSEADDR], [0x1007, 0x1001, 4]);
      assert.deepEqual([c.MSG_EOR, c.MSG_TRUNC, c.MSG_PEEK], [8, 0x10, 2]);
      assert.deepEqual(sockaddrIn, linux.sockaddrIn, 'its length byte takes half of the family');
      assert.deepEqual(sockaddrIn6, linux.sockaddrIn6);
    }
  });

  it('AF_VSOCK is there on Linux and macOS, whose sockaddr_vm has 16 and 12 bytes', () => {
    const linux = table('linux', 'arm64');
    assert.deepEqual([linux.optional.AF_VSOCK, darwin.optional.AF_VSOCK], [40, 40]);
    assert.deepEqual([linux.sockaddrVm?.SIZE, darwin.sockaddrVm?.SIZE], [16, 12]);
    for (const abi of [freebsd, openbsd, netbsd]) {
      assert.equal(abi.optional.AF_VSOCK, undefined);
      assert.equal(abi.sockaddrVm, null);
    }
  });

  it('sockets are made close-on-exec and non-blocking at once, but on macOS', () => {
    const flags = [freebsd, openbsd, darwin].map(({ optional }) => [
      optional.SOCK_CLOEXEC,
      optional.SOCK_NONBLOCK,
    ]);
    assert.deepEqual(flags, [
      [0x10000000, 0x20000000],
      [0x8000, 0x4000],
      [undefined, undefined],
    ]);
  });

  it('macOS has neither MSG_CMSG_CLOEXEC nor eventfd nor memfd, and names of 31 bytes', () => {
    const { optional } = darwin;
    assert.equal(optional.MSG_CMSG_CLOEXEC, undefined);
    assert.equal(optional.EFD_CLOEXEC, undefined);
    assert.equal(optional.MFD_CLOEXEC, undefined);
    assert.equal(darwin.shmNameBytesMax, 31);
    assert.deepEqual(
      [optional.SO_NOSIGPIPE, optional.F_FULLFSYNC, optional.F_NOCACHE, optional.F_PUNCHHOLE],
      [0x1022, 51, 48, 99],
    );
    assert.equal(darwin.constants.O_CLOEXEC, 0x1000000);
  });

  it('flags of open differ: O_NONBLOCK 4, O_CREAT 0x200, O_EXCL 0x800, SOL_SOCKET 0xffff', () => {
    for (const { constants: c } of bsds) {
      assert.deepEqual(
        [c.O_NONBLOCK, c.O_CREAT, c.O_EXCL, c.SOL_SOCKET, c.MSG_CTRUNC, c.MAP_ANON],
        [4, 0x200, 0x800, 0xffff, 0x20, 0x1000],
      );
    }
  });

  it('FreeBSD has eventfd, memfd and SHM_ANON, a kevent of 64 bytes and no MAP_NORESERVE', () => {
    const { optional } = freebsd;
    assert.deepEqual([optional.EFD_CLOEXEC, optional.EFD_NONBLOCK], [0x100000, 4]);
    assert.equal(optional.SHM_ANON, 1);
    assert.equal(optional.MAP_NORESERVE, undefined);
    assert.equal(freebsd.kqueue?.event.SIZE, 64);
    assert.equal(darwin.kqueue?.event.SIZE, 32);
    assert.equal(openbsd.kqueue?.event.SIZE, 32);
    assert.deepEqual([optional.MSG_NOSIGNAL, optional.MSG_CMSG_CLOEXEC], [0x20000, 0x40000]);
  });

  it('OpenBSD has no eventfd and no memfd; its MSG flags are its own', () => {
    const { optional } = openbsd;
    assert.deepEqual([optional.MSG_NOSIGNAL, optional.MSG_CMSG_CLOEXEC], [0x400, 0x800]);
    assert.equal(optional.EFD_CLOEXEC ?? optional.MFD_CLOEXEC ?? optional.SO_NOSIGPIPE, undefined);
  });

  it('NetBSD has filters of its own, two sizes of kevent, and other names for some functions', () => {
    const { kqueue, symbols, optional } = netbsd;
    assert.deepEqual([kqueue?.EVFILT_READ, kqueue?.EVFILT_WRITE], [0, 1]);
    assert.deepEqual([kqueue?.event.SIZE, kqueue?.older?.SIZE], [72, 40]);
    assert.equal(kqueue?.event.filter.bytes, 4);
    assert.ok((kqueue.older?.SIZE ?? 0) >= kqueue.event.udata.offset + kqueue.event.udata.bytes);
    assert.equal(symbols?.fstat, '__fstat50');
    assert.deepEqual([optional.EFD_CLOEXEC, netbsd.constants.O_CLOEXEC], [0x400000, 0x400000]);
    assert.ok(bsds.every((abi) => abi === netbsd || abi.symbols === undefined));
  });

  it('epoll_event is packed on x86-64 only', () => {
    assert.equal(table('linux', 'x64').epoll?.event.SIZE, 12);
    assert.equal(table('linux', 'arm64').epoll?.event.SIZE, 16);
    assert.equal(table('linux', 'arm64').epoll?.event.data.offset, 8);
  });

  it('ioctl requests of disks say what they return: 4 or 8 bytes, as their names promise', () => {
    // The BSDs' _IOR(group, number, type): 0x40000000 | bytes << 16 | group << 8 | number.
    const ior = (group: string, number: number, bytes: number): number =>
      0x40000000 + (bytes << 16) + (group.charCodeAt(0) << 8) + number;
    assert.equal(darwin.optional.DKIOCGETBLOCKSIZE, ior('d', 24, 4));
    assert.equal(darwin.optional.DKIOCGETBLOCKCOUNT, ior('d', 25, 8));
    assert.equal(freebsd.optional.DIOCGSECTORSIZE, ior('d', 128, 4));
    assert.equal(freebsd.optional.DIOCGMEDIASIZE, ior('d', 129, 8));
    for (const { constants } of bsds) assert.equal(constants.TIOCGWINSZ, ior('t', 104, 8));
  });
});
