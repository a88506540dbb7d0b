/**
 * Names in requests: what may be one and what may not, and the values behind the names of extended
 * attributes.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  FUSE_ENTRY_OUT,
  FUSE_LINK_IN,
  FUSE_MKDIR_IN,
  FUSE_OPCODE,
  FUSE_RENAME_IN,
  FUSE_SETXATTR_IN,
  LINUX_E,
} from '../../../fuse/index.ts';
import { FusePair, StubFileSystem, fuseRequest, fuseStruct } from '../../../testing/index.ts';
import type { FusePart } from '../../../testing/index.ts';
import type { FuseCall, FuseOperations } from '../operations.ts';

/** Lets a body use a mounted pair. */
function withPair(
  body: (pair: FusePair, fs: StubFileSystem) => void,
  fs: StubFileSystem = new StubFileSystem(),
): void {
  const pair = new FusePair(fs);
  try {
    pair.mount();
    body(pair, fs);
    assert.equal(pair.ring.device.inFlight, 0, 'no chain is left behind');
    assert.deepEqual(pair.lines, [], 'nothing is logged: it is the guest’s fault');
  } finally {
    pair.close();
  }
}

describe('a name that cannot be one', () => {
  const names: readonly (readonly [string, FusePart, number])[] = [
    ['empty', '', LINUX_E.INVAL],
    ['with a slash', 'a/b', LINUX_E.INVAL],
    ['a slash', '/', LINUX_E.INVAL],
    ['with a slash at its end', 'a/', LINUX_E.INVAL],
    ['without a NUL', Buffer.from('name'), LINUX_E.INVAL],
    ['of 256 bytes', 'n'.repeat(256), LINUX_E.NAMETOOLONG],
    ['of 100000 bytes', 'n'.repeat(100_000), LINUX_E.NAMETOOLONG],
    ['of 200000 bytes', 'n'.repeat(200_000), LINUX_E.INVAL],
  ];
  const dots = ['.', '..'];

  it('is refused wherever a name is wanted', () => {
    withPair((pair, fs) => {
      const ask = (opcode: number, ...parts: FusePart[]): number =>
        pair.ask(fuseRequest(opcode, parts)).errno;
      const rename = fuseStruct(FUSE_RENAME_IN, { newdir: 1 });
      for (const [what, name, errno] of names) {
        assert.equal(ask(FUSE_OPCODE.LOOKUP, name), errno, `LOOKUP ${what}`);
        assert.equal(ask(FUSE_OPCODE.UNLINK, name), errno, `UNLINK ${what}`);
        assert.equal(ask(FUSE_OPCODE.MKDIR, fuseStruct(FUSE_MKDIR_IN), name), errno, what);
        assert.equal(ask(FUSE_OPCODE.RENAME, rename, 'fine', name), errno, `to one ${what}`);
        if (typeof name === 'string') {
          assert.equal(ask(FUSE_OPCODE.RENAME, rename, name, 'fine'), errno, `from one ${what}`);
        }
      }
      assert.equal(ask(FUSE_OPCODE.RENAME, rename, 'alone'), LINUX_E.INVAL);
      for (const name of dots) {
        assert.equal(ask(FUSE_OPCODE.LOOKUP, name), 0, 'LOOKUP is allowed to');
        assert.equal(ask(FUSE_OPCODE.UNLINK, name), LINUX_E.INVAL);
        assert.equal(ask(FUSE_OPCODE.MKDIR, fuseStruct(FUSE_MKDIR_IN), name), LINUX_E.INVAL);
        assert.equal(ask(FUSE_OPCODE.RENAME, rename, name, 'x'), LINUX_E.INVAL);
        assert.equal(ask(FUSE_OPCODE.RENAME, rename, 'x', name), LINUX_E.INVAL);
      }
      assert.equal(ask(FUSE_OPCODE.UNLINK, '...'), LINUX_E.NOENT, 'three are a name');
      assert.equal(ask(FUSE_OPCODE.LOOKUP, '.a'), LINUX_E.NOENT);
      assert.equal(fs.root.children.size, 0);
    });
  });

  it('may be any other bytes, up to 255 of them', () => {
    withPair((pair, fs) => {
      const mkdir = (name: string): number =>
        pair.ask(fuseRequest(FUSE_OPCODE.MKDIR, [fuseStruct(FUSE_MKDIR_IN), name])).errno;
      const strange = Array.from({ length: 255 }, (_, i) => String.fromCharCode(i + 1)).join('');
      const name = strange.replace('/', '');
      assert.equal(mkdir(name), 0);
      assert.equal(mkdir('n'.repeat(255)), 0);
      assert.deepEqual([...fs.root.children.keys()], [name, 'n'.repeat(255)]);
    });
  });

  it('is refused as the target of a link only when it is empty or longer than a path', () => {
    const targets: string[] = [];
    const symlink = (call: FuseCall): number => {
      const { inputArray, secondOffset, secondBytes } = call;
      assert.equal(inputArray[secondOffset + secondBytes], 0, 'a NUL follows it');
      const bytes = inputArray.subarray(secondOffset, secondOffset + secondBytes);
      targets.push(Buffer.from(bytes).toString('latin1'));
      return FUSE_ENTRY_OUT.SIZE;
    };
    withPair(
      (pair) => {
        const ask = (...parts: FusePart[]): number =>
          pair.ask(fuseRequest(FUSE_OPCODE.SYMLINK, parts)).errno;
        const fine = ['../x', '/', '.', 'a'.repeat(4095)];
        for (const target of fine) assert.equal(ask('link', target), 0);
        assert.deepEqual(targets, fine);
        assert.equal(ask('link', 'a'.repeat(4096)), LINUX_E.NAMETOOLONG);
        assert.equal(ask('link', ''), LINUX_E.INVAL);
        assert.equal(ask('link', Buffer.from('without a NUL')), LINUX_E.INVAL);
        assert.equal(ask('link'), LINUX_E.INVAL);
        assert.equal(ask('li/nk', 'x'), LINUX_E.INVAL);
        assert.equal(targets.length, fine.length);
      },
      Object.assign(new StubFileSystem(), { symlink }),
    );
  });

  it('is refused when it belongs to LINK and to CREATE', () => {
    const called: string[] = [];
    const note = (): number => called.push('called');
    const methods = { link: note, create: note };
    const pair = new FusePair(Object.assign(new StubFileSystem(), methods));
    pair.mount();
    const link = fuseStruct(FUSE_LINK_IN, { oldnodeid: 2 });
    for (const [, name, errno] of names) {
      assert.equal(pair.ask(fuseRequest(FUSE_OPCODE.LINK, [link, name])).errno, errno);
      const create = fuseRequest(FUSE_OPCODE.CREATE, [new Uint8Array(16), name]);
      assert.equal(pair.ask(create).errno, errno);
    }
    assert.deepEqual(called, []);
    pair.close();
  });
});

describe('an extended attribute', () => {
  /** What SETXATTR and GETXATTR saw. */
  function attributes(seen: string[]): FuseOperations {
    const setxattr = (call: FuseCall): number => {
      const { input, inputArray, nameOffset, nameBytes, secondOffset, secondBytes } = call;
      const text = (at: number, bytes: number): string =>
        Buffer.from(inputArray.subarray(at, at + bytes)).toString('latin1');
      const flags = input.getUint32(FUSE_SETXATTR_IN.flags, true);
      const more = input.getUint32(FUSE_SETXATTR_IN.setxattrFlags, true);
      const value = text(secondOffset, secondBytes);
      seen.push(`${text(nameOffset, nameBytes)}=${value} ${String(flags)} ${String(more)}`);
      return 0;
    };
    return Object.assign(new StubFileSystem(), { setxattr });
  }

  it('has a value of exactly the bytes that its arguments say, with and without extension', () => {
    for (const flags of [0x7fff_ffff, 0x20]) {
      const seen: string[] = [];
      const pair = new FusePair(attributes(seen));
      pair.mount({ flags });
      const fields = fuseStruct(FUSE_SETXATTR_IN, { size: 5, flags: 1, setxattrFlags: 1 });
      const head = flags === 0x20 ? fields.subarray(0, 8) : fields;
      const ask = (...parts: FusePart[]): number =>
        pair.ask(fuseRequest(FUSE_OPCODE.SETXATTR, [head, ...parts])).errno;
      assert.equal(ask('user.a/b', Buffer.from('12345')), 0);
      assert.equal(ask('user.a', Buffer.from('1\0\x003')), LINUX_E.INVAL, 'a byte is missing');
      assert.equal(ask('user.a', Buffer.from('1234567')), 0, 'what follows is passed over');
      assert.equal(ask('', Buffer.from('12345')), LINUX_E.INVAL);
      assert.equal(ask('n'.repeat(256), Buffer.from('12345')), LINUX_E.NAMETOOLONG);
      const more = flags === 0x20 ? 0 : 1;
      assert.deepEqual(seen, [
        `user.a/b=12345 1 ${String(more)}`,
        `user.a=12345 1 ${String(more)}`,
      ]);
      pair.close();
    }
  });

  it('may have a value of 64 KiB, and not one of 4 GiB', () => {
    const seen: string[] = [];
    const pair = new FusePair(attributes(seen));
    pair.mount();
    const size = 65536;
    const value = new Uint8Array(size).fill(0x61);
    const ask = (bytes: number): number => {
      const head = fuseStruct(FUSE_SETXATTR_IN, { size: bytes });
      return pair.ask(fuseRequest(FUSE_OPCODE.SETXATTR, [head, 'user.big', value])).errno;
    };
    assert.equal(ask(size), 0);
    assert.equal(seen[0]?.length, 'user.big='.length + size + ' 0 0'.length);
    assert.equal(ask(0xffff_ffff), LINUX_E.INVAL);
    pair.close();
  });
});
