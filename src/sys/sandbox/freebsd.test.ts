/**
 * Which devices can be in capability mode, and the rights of their descriptors.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CAP, CAP1, encodeRights, reasonsAgainst, rightsOf } from './freebsd.ts';
import { NO_NEEDS } from './types.ts';
import type { PathAccess, SandboxNeeds } from './types.ts';

/** The bits of a word by name. */
function names(table: Readonly<Record<string, number>>, bits: number): string[] {
  return Object.entries(table)
    .filter(([, bit]) => (BigInt(bits) & BigInt(bit)) === BigInt(bit))
    .map(([name]) => name);
}

function reasons(needs: Partial<SandboxNeeds>): string[] {
  return reasonsAgainst({ ...NO_NEEDS, ...needs });
}

function at(access: PathAccess): Partial<SandboxNeeds> {
  return { paths: [{ path: '/a', access }] };
}

describe('capability mode', () => {
  it('is for devices that open and bind everything at the start', () => {
    assert.deepEqual(reasons({}), []);
    for (const access of ['read', 'write', 'tree', 'socket', 'link', 'terminals'] as const) {
      assert.deepEqual(reasons(at(access)), [], access);
    }
    assert.deepEqual(reasons({ listensTcp: [80], ownsFiles: true, fds: [3] }), []);
  });

  it('is not for those that need a name later, and each says which', () => {
    const cases: readonly (readonly [Partial<SandboxNeeds>, RegExp])[] = [
      [at('file'), /^a log is renamed/],
      [at('temporary'), /^files are made in the folder for temporary/],
      [{ connectsUnix: true }, /^Unix sockets are connected to by their paths$/],
      [{ connectsTcp: [80] }, /^TCP addresses are connected to$/],
      [{ connectsTcp: null }, /^TCP addresses are connected to$/],
      [{ looksUpNames: true }, /^names of hosts are looked up$/],
      [{ usesVsock: true }, /^addresses of AF_VSOCK/],
    ];
    for (const [needs, reason] of cases) {
      assert.equal(reasons(needs).length, 1, JSON.stringify(needs));
      assert.match(reasons(needs)[0] ?? '', reason);
    }
  });

  it('says each reason once, however many paths have it', () => {
    const paths = ['/a', '/b'].map((path) => ({ path, access: 'file' as const }));
    assert.equal(reasons({ paths, looksUpNames: true }).length, 2);
  });
});

describe('rights of a descriptor', () => {
  it('let an image be read, or written, and nothing be done to its name', () => {
    const readOnly = names(CAP, rightsOf('read', false).first);
    assert.deepEqual(readOnly, ['READ', 'SEEK', 'MMAP', 'FCNTL', 'FLOCK', 'FSTAT', 'FSTATFS']);
    const written = names(CAP, rightsOf('write', false).first);
    const more = written.filter((name) => !readOnly.includes(name));
    assert.deepEqual(more, ['WRITE', 'FSYNC', 'FTRUNCATE', 'FPATHCONF']);
    assert.deepEqual(names(CAP1, rightsOf('write', false).second), [
      ...['EVENT', 'IOCTL', 'EXTATTR_GET', 'EXTATTR_LIST'],
    ]);
  });

  it('let a folder that is only read be walked, and nothing be made in it', () => {
    const folder = names(CAP, rightsOf('read', true).first);
    assert.ok(folder.includes('LOOKUP'));
    for (const name of ['WRITE', 'CREATE', 'UNLINKAT', 'MKDIRAT', 'FCHMOD']) {
      assert.ok(!folder.includes(name), name);
    }
  });

  it('let everything be done below a shared folder but running and connecting', () => {
    const { first, second } = rightsOf('tree', true);
    const socket = ['ACCEPT', 'GETPEERNAME', 'GETSOCKNAME', 'GETSOCKOPT', 'SETSOCKOPT'];
    const missing = Object.keys(CAP).filter((name) => !names(CAP, first).includes(name));
    assert.deepEqual(missing, [...socket, 'SHUTDOWN']);
    assert.deepEqual(names(CAP1, second), Object.keys(CAP1));
  });

  it('let a listener accept, and what it accepts be read and written', () => {
    const listener = names(CAP, rightsOf('listener', false).first);
    for (const name of ['ACCEPT', 'READ', 'WRITE', 'SHUTDOWN', 'FCNTL']) {
      assert.ok(listener.includes(name), name);
    }
    for (const name of ['SEEK', 'LOOKUP', 'CREATE']) assert.ok(!listener.includes(name), name);
  });

  it('are written as the two words of cap_rights_t, each with its number', () => {
    const view = new DataView(new ArrayBuffer(16));
    encodeRights({ first: CAP.READ | CAP.LOOKUP, second: CAP1.EVENT }, view);
    assert.equal(view.getBigUint64(0, true), 0x0200_0000_0000_0401n);
    assert.equal(view.getBigUint64(8, true), 0x0400_0000_0000_0020n);
    encodeRights({ first: CAP.RENAMEAT_TARGET, second: 0 }, view);
    assert.equal(view.getBigUint64(0, true), 0x0200_0400_0000_0000n);
  });
});
