/**
 * The table of this host against its own headers: a C program prints what they say.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { abiOf } from './index.ts';
import type { Field } from './index.ts';

const abi = abiOf(process.platform, process.arch);
const compiler = spawnSync('cc', ['--version']).error === undefined;
let skip: string | false = false;
if (!compiler) skip = 'there is no C compiler (cc) here';
if (abi === undefined) skip = `there is no table for ${process.platform}-${process.arch}`;

const HEADERS = [
  'sys/types.h',
  'sys/socket.h',
  'sys/un.h',
  'sys/mman.h',
  'sys/file.h',
  'sys/uio.h',
  'sys/epoll.h',
  'sys/event.h',
  'sys/eventfd.h',
  'sys/disk.h',
  'sys/ioctl.h',
  'termios.h',
  'sys/syscall.h',
  'linux/falloc.h',
  'linux/fs.h',
  'linux/vm_sockets.h',
  'netinet/in.h',
  'netinet/tcp.h',
  'sys/vsock.h',
  'fcntl.h',
  'poll.h',
  'stddef.h',
  'stdint.h',
  'stdio.h',
];

const STRUCTURES: Readonly<Record<string, readonly string[]>> = {
  msghdr: ['name', 'namelen', 'iov', 'iovlen', 'control', 'controllen', 'flags'].map(
    (field) => `msg_${field}`,
  ),
  cmsghdr: ['cmsg_len', 'cmsg_level', 'cmsg_type'],
  sockaddr_un: ['sun_family', 'sun_path'],
  sockaddr_in: ['sin_port', 'sin_addr'],
  sockaddr_in6: ['sin6_port', 'sin6_addr'],
  ...(abi?.sockaddrVm ? { sockaddr_vm: ['svm_port', 'svm_cid'] } : {}),
  iovec: ['iov_base', 'iov_len'],
  pollfd: ['fd', 'events', 'revents'],
  ...(abi?.epoll ? { epoll_event: ['events', 'data'] } : {}),
  ...(abi?.kqueue
    ? { kevent: ['ident', 'filter', 'flags', 'fflags', 'data', 'udata'] }
    : undefined),
};

/** Every constant of the table, in the order in which the hosts' headers may have them. */
function constantsOfTable(): Map<string, number> {
  const groups = [abi?.constants, abi?.optional, abi?.epoll, abi?.kqueue, abi?.uring];
  const all = new Map<string, number>();
  for (const group of groups) {
    for (const [name, value] of Object.entries(group ?? {})) {
      if (typeof value === 'number') all.set(name, value);
    }
  }
  return all;
}

function program(): string {
  const lines = ['#define _GNU_SOURCE'];
  for (const header of HEADERS) {
    lines.push(`#if __has_include(<${header}>)`, `#include <${header}>`, '#endif');
  }
  lines.push('int main(void) {');
  for (const name of constantsOfTable().keys()) {
    lines.push(`#ifdef ${name}`, `printf("${name} %lld\\n", (long long)${name});`, '#endif');
  }
  for (const [name, fields] of Object.entries(STRUCTURES)) {
    lines.push(`printf("${name} %zu\\n", sizeof(struct ${name}));`);
    for (const field of fields) {
      lines.push(
        `printf("${name}.${field} %zu\\n", offsetof(struct ${name}, ${field}));`,
        `printf("${name}.${field}.bytes %zu\\n", sizeof(((struct ${name} *)0)->${field}));`,
      );
    }
  }
  for (let fds = 0; fds <= 5; fds++) {
    lines.push(`printf("CMSG_LEN.${fds} %zu\\n", (size_t)CMSG_LEN(${fds} * 4));`);
    lines.push(`printf("CMSG_SPACE.${fds} %zu\\n", (size_t)CMSG_SPACE(${fds} * 4));`);
  }
  return [...lines, 'return 0; }', ''].join('\n');
}

function compileAndRun(): Map<string, number> {
  const folder = mkdtempSync(join(tmpdir(), 'vhu-abi-'));
  try {
    writeFileSync(join(folder, 'abi.c'), program());
    execFileSync('cc', ['-o', join(folder, 'abi'), join(folder, 'abi.c')], { stdio: 'pipe' });
    const text = execFileSync(join(folder, 'abi'), { encoding: 'utf8' });
    const pairs = text.trim().split('\n');
    return new Map(pairs.map((line) => line.split(' ')).map(([k, v]) => [k ?? '', Number(v)]));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('the headers of this host', { skip }, () => {
  const real = skip === false ? compileAndRun() : new Map<string, number>();

  function checkField(name: string, field: Field): void {
    assert.equal(field.offset, real.get(name), name);
    // musl declares two lengths with half the bytes, and padding that has to be zero.
    const bytes = real.get(`${name}.bytes`) ?? 0;
    assert.ok(field.bytes === bytes || (/len$/.test(name) && field.bytes === 2 * bytes), name);
  }

  it('agree with every constant of the table', () => {
    const compared: string[] = [];
    for (const [name, value] of constantsOfTable()) {
      const actual = real.get(name);
      if (actual === undefined) continue;
      assert.equal(value, actual, name);
      compared.push(name);
    }
    for (const name of Object.keys(abi?.constants ?? {})) assert.ok(compared.includes(name), name);
    assert.ok(compared.length > 30, `${compared.length} constants were compared`);
  });

  it('agree with the structures of the table', () => {
    assert.ok(abi);
    assert.equal(abi.msghdr.SIZE, real.get('msghdr'));
    for (const [name, field] of Object.entries(abi.msghdr)) {
      if (name !== 'SIZE') checkField(`msghdr.msg_${name}`, field as Field);
    }
    for (const name of ['len', 'level', 'type'] as const) {
      checkField(`cmsghdr.cmsg_${name}`, abi.cmsg[name]);
    }
    assert.equal(abi.sockaddrUn.pathOffset, real.get('sockaddr_un.sun_path'));
    assert.equal(abi.sockaddrUn.pathBytes, real.get('sockaddr_un.sun_path.bytes'));
    assert.equal(abi.sockaddrUn.hasLength, real.get('sockaddr_un.sun_family.bytes') === 1);
    assert.deepEqual(abi.sockaddrIn, {
      SIZE: real.get('sockaddr_in'),
      portOffset: real.get('sockaddr_in.sin_port'),
      addressOffset: real.get('sockaddr_in.sin_addr'),
    });
    assert.deepEqual(abi.sockaddrIn6, {
      SIZE: real.get('sockaddr_in6'),
      portOffset: real.get('sockaddr_in6.sin6_port'),
      addressOffset: real.get('sockaddr_in6.sin6_addr'),
    });
    if (abi.sockaddrVm !== null) {
      assert.equal(abi.sockaddrVm.SIZE, real.get('sockaddr_vm'));
      checkField('sockaddr_vm.svm_port', abi.sockaddrVm.port);
      checkField('sockaddr_vm.svm_cid', abi.sockaddrVm.cid);
    }
    for (const [name, event] of [
      ['epoll_event', abi.epoll?.event],
      ['kevent', abi.kqueue?.event],
    ] as const) {
      if (event === undefined) continue;
      const { SIZE, ...fields } = event;
      assert.equal(SIZE, real.get(name), name);
      for (const [field, layout] of Object.entries(fields)) checkField(`${name}.${field}`, layout);
    }
  });

  it('agree with CMSG_LEN and CMSG_SPACE for any number of fds', () => {
    assert.ok(abi);
    const { dataOffset, align } = abi.cmsg;
    for (let fds = 0; fds <= 5; fds++) {
      assert.equal(dataOffset + fds * 4, real.get(`CMSG_LEN.${fds}`));
      const space = dataOffset + Math.ceil((fds * 4) / align) * align;
      assert.equal(space, real.get(`CMSG_SPACE.${fds}`));
    }
  });

  it('agree with the structures that are the same on every host', () => {
    const names = ['iovec', 'iovec.iov_len', 'pollfd', 'pollfd.events', 'pollfd.revents'];
    assert.deepEqual(
      names.map((name) => real.get(name)),
      [16, 8, 8, 4, 6],
    );
  });
});
