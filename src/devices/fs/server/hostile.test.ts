/**
 * Requests that no honest guest sends: each is answered or given back once, and the next honest
 * request is served as if nothing had been the matter.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { COUNTER } from '../../../backend/index.ts';
import {
  FUSE_BATCH_FORGET_IN,
  FUSE_ENTRY_OUT,
  FUSE_FORGET_IN,
  FUSE_FORGET_ONE,
  FUSE_GETATTR_IN,
  FUSE_INTERRUPT_IN,
  FUSE_IN_HEADER,
  FUSE_MKDIR_IN,
  FUSE_OPCODE,
  FUSE_OPEN_IN,
  FUSE_READ_IN,
  FUSE_RELEASE_IN,
  FUSE_RENAME_IN,
  FUSE_WRITE_IN,
  LINUX_E,
  fuseOpcodeName,
} from '../../../fuse/index.ts';
import {
  FusePair,
  StubFileSystem,
  fuseInitRequest,
  fuseRequest,
  fuseStruct,
  startFlipper,
} from '../../../testing/index.ts';
import type { FusePart } from '../../../testing/index.ts';
import type { FuseCall, FuseOperations } from '../operations.ts';
import { requestRows } from './requests.ts';

const HEADER_BYTES = FUSE_IN_HEADER.SIZE;

/** Lets a body use a mounted pair, and then makes sure that an honest guest is served. */
function withPair(
  body: (pair: FusePair, fs: StubFileSystem) => void,
  fs: StubFileSystem = new StubFileSystem(),
): void {
  const pair = new FusePair(fs);
  try {
    pair.mount();
    body(pair, fs);
    assert.equal(pair.ring.device.inFlight, 0, 'no chain is left behind');
    const getattr = fuseRequest(FUSE_OPCODE.GETATTR, [fuseStruct(FUSE_GETATTR_IN)]);
    assert.equal(pair.ask(getattr).errno, 0);
    assert.deepEqual(pair.lines, [], 'nothing is logged: it is the guest’s fault');
  } finally {
    pair.close();
  }
}

/** Sends a chain that has no answer, which has to come back with nothing written. */
function sendMute(pair: FusePair, bytes: Uint8Array, room = 0): void {
  const token = pair.send(bytes.length > 0 ? [bytes] : [], room > 0 ? [room] : []);
  assert.equal(pair.taken().get(token)?.usedBytes, 0);
}

/** A stub that has every method, and says which were called. */
function everything(called: string[]): FuseOperations {
  const fs = new StubFileSystem();
  const rest: Record<string, unknown> = {};
  for (const name of [
    ...['symlink', 'mknod', 'rmdir', 'link', 'statfs', 'setxattr', 'getxattr', 'listxattr'],
    ...['removexattr', 'fsyncdir', 'getlk', 'access', 'ioctl', 'fallocate', 'readdirplus'],
    ...['lseek', 'copyFileRange', 'syncfs', 'tmpfile', 'readlink', 'statx'],
  ]) {
    rest[name] = (): number => {
      called.push(name);
      return 0;
    };
  }
  return Object.assign(fs, rest);
}

describe('a header that cannot be right', () => {
  it('is given back without an answer when it is cut off', () => {
    withPair((pair) => {
      const request = fuseRequest(FUSE_OPCODE.LOOKUP, ['name']);
      for (let bytes = 1; bytes < HEADER_BYTES; bytes++) {
        sendMute(pair, request.subarray(0, bytes), 256);
      }
      sendMute(pair, new Uint8Array(0), 256);
      assert.equal(pair.counter(COUNTER.guestFaults), HEADER_BYTES);
    });
  });

  it('is answered with EINVAL when its length is not that of the chain', () => {
    withPair((pair) => {
      for (const len of [0, 1, HEADER_BYTES - 1, HEADER_BYTES + 6, 0x7fff_ffff, 0xffff_ffff]) {
        const request = fuseRequest(FUSE_OPCODE.LOOKUP, ['name'], { len, unique: 9 });
        const { errno, unique } = pair.ask(request);
        assert.deepEqual([errno, unique], [LINUX_E.INVAL, 9n], `len ${String(len)}`);
      }
    });
  });

  it('may be followed by bytes that do not belong to the request', () => {
    withPair((pair, fs) => {
      fs.addFile('name', new Uint8Array(0));
      const request = fuseRequest(FUSE_OPCODE.LOOKUP, ['name', 'else']);
      new DataView(request.buffer, request.byteOffset).setUint32(0, HEADER_BYTES + 5, true);
      assert.equal(pair.ask(request).errno, 0);
    });
  });

  it('is answered with EINVAL when its numbers are beyond 2^53', () => {
    withPair((pair) => {
      for (const value of [2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
        const lost = pair.ask(fuseRequest(FUSE_OPCODE.LOOKUP, ['a'], { unique: value }));
        assert.deepEqual([lost.errno, lost.unique], [LINUX_E.INVAL, value]);
        const wide = pair.ask(fuseRequest(FUSE_OPCODE.LOOKUP, ['a'], { nodeId: value }));
        assert.equal(wide.errno, LINUX_E.INVAL);
      }
    });
  });

  it('may have extensions, which are passed over, but no more than there are bytes', () => {
    withPair((pair, fs) => {
      fs.addFile('name', new Uint8Array(0));
      const extension = new Uint8Array(16).fill(0x2f);
      const ask = (totalExtlen: number): number =>
        pair.ask(fuseRequest(FUSE_OPCODE.LOOKUP, ['name', extension], { totalExtlen })).errno;
      assert.equal(ask(2), 0);
      assert.equal(ask(3), LINUX_E.INVAL, 'the name is gone');
      assert.equal(ask(0xffff), LINUX_E.INVAL);
    });
  });
});

describe('a request that cannot be right', () => {
  it('is answered with ENOSYS when nobody knows it', () => {
    withPair((pair) => {
      const known = new Set<number>(Object.values(FUSE_OPCODE));
      const opcodes = [0, 7, 19, 54, 63, 64, 65, 4096, 0x0100_0000, 0xffff_ffff];
      for (const opcode of opcodes) {
        assert.ok(!known.has(opcode));
        assert.equal(pair.ask(fuseRequest(opcode, [new Uint8Array(64)])).errno, LINUX_E.NOSYS);
      }
      const { BMAP, POLL, NOTIFY_REPLY, SETUPMAPPING, REMOVEMAPPING, STATX } = FUSE_OPCODE;
      for (const opcode of [BMAP, POLL, NOTIFY_REPLY, SETUPMAPPING, REMOVEMAPPING, STATX]) {
        assert.equal(pair.ask(fuseRequest(opcode, [new Uint8Array(64)])).errno, LINUX_E.NOSYS);
      }
    });
  });

  it('never reaches a file system with fewer arguments than it has', () => {
    const called: string[] = [];
    const fs = everything(called);
    const pair = new FusePair(fs);
    pair.mount();
    const rows = requestRows(fs);
    for (const [opcode, row] of rows.entries()) {
      if (row === undefined || row.argumentBytes === 0) continue;
      const seen: number[] = [];
      for (let bytes = 0; bytes < row.argumentBytes; bytes++) {
        seen.push(pair.ask(fuseRequest(opcode, [new Uint8Array(bytes)])).errno);
      }
      const name = fuseOpcodeName(opcode);
      assert.deepEqual([...new Set(seen)], [LINUX_E.INVAL], name);
    }
    assert.deepEqual(called, []);
    pair.close();
  });

  it('has no effect when its answer would not fit', () => {
    withPair((pair, fs) => {
      const node = fs.addFile('name', new Uint8Array(0));
      const lookup = fuseRequest(FUSE_OPCODE.LOOKUP, ['name']);
      for (const room of [0, 1, FUSE_ENTRY_OUT.SIZE - 1]) {
        assert.equal(pair.ask(lookup, room).errno, LINUX_E.INVAL);
      }
      for (let room = 0; room < 16; room++) sendMute(pair, lookup, room);
      assert.equal(node.lookups, 0);
      const mkdir = fuseRequest(FUSE_OPCODE.MKDIR, [fuseStruct(FUSE_MKDIR_IN), 'new']);
      sendMute(pair, mkdir);
      assert.ok(!fs.root.children.has('new'));
      assert.equal(pair.ask(lookup, FUSE_ENTRY_OUT.SIZE).errno, 0);
    });
  });

  it('is answered with ERANGE when the answer turns out to be longer than its room', () => {
    const fs = new StubFileSystem();
    const readlink = (): number => 100;
    withPair(
      (pair) => {
        const request = fuseRequest(FUSE_OPCODE.READLINK);
        assert.equal(pair.ask(request, 99).errno, LINUX_E.RANGE);
        assert.equal(pair.ask(request, 100).errno, 0);
      },
      Object.assign(fs, { readlink }),
    );
  });

  it('is answered by the file system when it names nodes and handles that are not there', () => {
    withPair((pair) => {
      const ask = (opcode: number, parts: FusePart[], nodeId = 1): number =>
        pair.ask(fuseRequest(opcode, parts, { nodeId })).errno;
      const getattr = [fuseStruct(FUSE_GETATTR_IN)];
      for (const nodeId of [0, 2, 4711, Number.MAX_SAFE_INTEGER]) {
        assert.equal(ask(FUSE_OPCODE.GETATTR, getattr, nodeId), LINUX_E.STALE);
        assert.equal(ask(FUSE_OPCODE.LOOKUP, ['x'], nodeId), LINUX_E.STALE);
        assert.equal(ask(FUSE_OPCODE.OPEN, [fuseStruct(FUSE_OPEN_IN)], nodeId), LINUX_E.STALE);
      }
      for (const fh of [0n, 4711n, 2n ** 64n - 1n]) {
        const read = fuseStruct(FUSE_READ_IN, { fh, size: 16 });
        const write = fuseStruct(FUSE_WRITE_IN, { fh, size: 4 });
        const release = [fuseStruct(FUSE_RELEASE_IN, { fh })];
        assert.equal(ask(FUSE_OPCODE.READ, [read]), LINUX_E.BADF);
        assert.equal(ask(FUSE_OPCODE.READDIR, [read]), LINUX_E.BADF);
        assert.equal(ask(FUSE_OPCODE.WRITE, [write, new Uint8Array(4)]), LINUX_E.BADF);
        assert.equal(ask(FUSE_OPCODE.RELEASE, release), LINUX_E.BADF);
      }
      const rename = fuseStruct(FUSE_RENAME_IN, { newdir: 4711 });
      assert.equal(ask(FUSE_OPCODE.RENAME, [rename, 'a', 'b']), LINUX_E.STALE);
    });
  });

  it('is refused before the guest has mounted, and does nothing', () => {
    const fs = new StubFileSystem();
    const pair = new FusePair(fs);
    fs.addFile('name', new Uint8Array(0)).lookups = 5;
    for (const opcode of Object.values(FUSE_OPCODE)) {
      if (opcode === FUSE_OPCODE.INIT || opcode === FUSE_OPCODE.DESTROY) continue;
      if (opcode === FUSE_OPCODE.FORGET || opcode === FUSE_OPCODE.BATCH_FORGET) {
        sendMute(pair, fuseRequest(opcode, [new Uint8Array(8).fill(1)], { nodeId: 2 }));
        continue;
      }
      const { errno } = pair.ask(fuseRequest(opcode, [new Uint8Array(128)]));
      const interrupt = opcode === FUSE_OPCODE.INTERRUPT;
      const refused = errno === LINUX_E.IO || errno === LINUX_E.NOSYS;
      assert.ok(interrupt ? errno === 0 : refused, fuseOpcodeName(opcode));
    }
    assert.equal(fs.nodes.get(2)?.lookups, 5);
    assert.deepEqual(fs.events, []);
    pair.close();
  });

  it('is refused when an INIT is too short, or has no room for its answer', () => {
    const pair = new FusePair(new StubFileSystem());
    for (const argumentBytes of [0, 4, 8, 15]) {
      assert.equal(pair.ask(fuseInitRequest({ argumentBytes })).errno, LINUX_E.INVAL);
    }
    assert.equal(pair.ask(fuseInitRequest(), 63).errno, LINUX_E.INVAL);
    sendMute(pair, fuseInitRequest());
    assert.equal(pair.ask(fuseInitRequest(), 64).errno, 0);
    pair.close();
  });
});

describe('the data of a request', () => {
  it('is refused when there is less of it than a WRITE says', () => {
    withPair((pair, fs) => {
      const node = fs.addFile('file', new Uint8Array(8));
      const open = fuseRequest(FUSE_OPCODE.OPEN, [fuseStruct(FUSE_OPEN_IN)], { nodeId: node.id });
      const fh = pair.ask(open).view.getBigUint64(0, true);
      const write = (size: number, bytes: number): number => {
        const head = fuseStruct(FUSE_WRITE_IN, { fh, size });
        return pair.ask(fuseRequest(FUSE_OPCODE.WRITE, [head, new Uint8Array(bytes).fill(1)]))
          .errno;
      };
      assert.equal(write(9, 8), LINUX_E.INVAL);
      assert.equal(write(0xffff_ffff, 8), LINUX_E.INVAL);
      assert.equal(write(1, 0), LINUX_E.INVAL);
      assert.ok(node.data.every((byte) => byte === 0));
      assert.equal(write(0, 0), 0);
      assert.equal(write(4, 8), 0, 'only so much is written');
      assert.deepEqual([...node.data], [1, 1, 1, 1, 0, 0, 0, 0]);
    });
  });

  it('is refused when it comes in more buffers than one system call takes', () => {
    const fs = new StubFileSystem();
    const pair = new FusePair(fs, { size: 2048 });
    pair.mount();
    const read = fuseRequest(FUSE_OPCODE.READ, [fuseStruct(FUSE_READ_IN, { size: 1025 })]);
    const ones = (count: number): number[] => new Array<number>(count).fill(1);
    assert.equal(pair.askChain([read], [16, ...ones(1024)]).errno, LINUX_E.BADF);
    assert.equal(pair.askChain([read], [16, ...ones(1025)]).errno, LINUX_E.INVAL);
    pair.close();
  });

  it('is not what a file system says it read when that is more than there is room for', () => {
    const fs = Object.assign(new StubFileSystem(), { read: () => 1000 });
    const pair = new FusePair(fs);
    pair.mount();
    const read = fuseRequest(FUSE_OPCODE.READ, [fuseStruct(FUSE_READ_IN, { size: 999 })]);
    assert.equal(pair.ask(read).errno, LINUX_E.IO);
    assert.deepEqual(pair.lines, ['READ has the result 1000']);
    pair.close();
  });
});

describe('what a guest forgets', () => {
  it('may be more than it ever looked up, or nothing that there is', () => {
    withPair((pair, fs) => {
      const node = fs.addFile('name', new Uint8Array(0));
      pair.ask(fuseRequest(FUSE_OPCODE.LOOKUP, ['name']));
      const forget = (nodeId: number | bigint, nlookup: bigint): void => {
        const body = fuseStruct(FUSE_FORGET_IN, { nlookup });
        sendMute(pair, fuseRequest(FUSE_OPCODE.FORGET, [body], { nodeId }));
      };
      forget(4711, 1n);
      forget(0, 1n);
      forget(2n ** 64n - 1n, 1n);
      assert.equal(node.lookups, 1);
      forget(node.id, 2n ** 64n - 1n);
      assert.equal(node.lookups, 0);
      forget(node.id, 1n);
      assert.equal(node.lookups, 0);
      assert.equal(pair.counter(COUNTER.guestFaults), 0);
    });
  });

  it('is refused as a whole when a batch says more than it has', () => {
    withPair((pair, fs) => {
      const node = fs.addFile('name', new Uint8Array(0));
      node.lookups = 10;
      const one = fuseStruct(FUSE_FORGET_ONE, { nodeid: node.id, nlookup: 1 });
      const batch = (count: number, ...parts: Uint8Array[]): void => {
        const head = fuseStruct(FUSE_BATCH_FORGET_IN, { count });
        sendMute(pair, fuseRequest(FUSE_OPCODE.BATCH_FORGET, [head, ...parts]));
      };
      batch(2, one);
      batch(0xffff_ffff, one);
      batch(1, one.subarray(0, 15));
      assert.equal(node.lookups, 10);
      batch(0);
      batch(1, one, one);
      assert.equal(node.lookups, 9);
      sendMute(pair, fuseRequest(FUSE_OPCODE.BATCH_FORGET, [new Uint8Array(4)]));
      sendMute(pair, fuseRequest(FUSE_OPCODE.FORGET, [new Uint8Array(7)]));
      sendMute(pair, fuseRequest(FUSE_OPCODE.FORGET, [new Uint8Array(8)], { len: 39 }));
      sendMute(pair, fuseRequest(FUSE_OPCODE.FORGET, [new Uint8Array(8)], { len: 4000 }));
      assert.equal(node.lookups, 9);
    });
  });

  it('may have room for an answer, which it does not get', () => {
    withPair((pair) => {
      sendMute(pair, fuseRequest(FUSE_OPCODE.FORGET, [new Uint8Array(8)]), 64);
    });
  });
});

describe('an INTERRUPT', () => {
  it('of nothing, and of a request beyond 2^53, has no effect', () => {
    withPair((pair, fs) => {
      const interrupt = (unique: bigint, bytes = 8): Uint8Array =>
        fuseRequest(FUSE_OPCODE.INTERRUPT, [
          fuseStruct(FUSE_INTERRUPT_IN, { unique }).subarray(0, bytes),
        ]);
      sendMute(pair, interrupt(4711n));
      sendMute(pair, interrupt(2n ** 64n - 1n));
      assert.equal(pair.ask(interrupt(1n)).errno, 0);
      assert.equal(pair.ask(interrupt(1n, 7)).errno, LINUX_E.INVAL);
      sendMute(pair, interrupt(1n, 7));
      assert.deepEqual(fs.events, ['init', 'interrupt 4711', 'interrupt 1']);
    });
  });
});

describe('a guest that rewrites a request while it is served', () => {
  it('is served what was read once', async () => {
    const faults: string[] = [];
    const fs = new StubFileSystem();
    const text = (call: FuseCall): string => {
      const { inputArray, nameOffset, nameBytes } = call;
      return Buffer.from(inputArray.subarray(nameOffset, nameOffset + nameBytes)).toString();
    };
    const lookup = (call: FuseCall): number => {
      const first = text(call);
      if (first.includes('/') || first.includes('\0') || first === '') faults.push(first);
      for (let i = 0; i < 50; i++) if (text(call) !== first) faults.push('changed');
      return -LINUX_E.NOENT;
    };
    const pair = new FusePair(Object.assign(fs, { lookup }));
    pair.mount();
    const { memory, dataGpa, driver } = pair.ring;
    const request = fuseRequest(FUSE_OPCODE.LOOKUP, ['aaaaaaa']);
    memory.copyTo(dataGpa, request);
    const place = (at: number): number => memory.hvaOf(dataGpa + at, 4);
    const word = (value: string): number => Buffer.from(value).readUInt32LE();
    const flipper = await startFlipper([
      { hva: place(40), bytes: 4, values: [word('aaaa'), word('a/aa'), word('a\0aa')] },
      { hva: place(44), bytes: 4, values: [word('aaa\0'), word('aaaa'), word('/aa\0')] },
      { hva: place(0), bytes: 4, values: [48, 47, 0, 0xffff_ffff] },
      { hva: place(4), bytes: 4, values: [FUSE_OPCODE.LOOKUP, FUSE_OPCODE.MKDIR, 0] },
    ]);
    let answers = 0;
    try {
      const endMs = performance.now() + 500;
      const lastMs = endMs + 20_000; // on a machine that has much else to do
      while (performance.now() < endMs || (answers <= 100 && performance.now() < lastMs)) {
        driver.addChain(
          [{ gpa: dataGpa, lengthBytes: 48 }],
          [{ gpa: dataGpa + 4096, lengthBytes: 256 }],
          1,
        );
        driver.publish();
        pair.serve();
        pair.ring.device.publish();
        assert.equal(driver.take(), 1);
        answers++;
      }
    } finally {
      await flipper.stop();
    }
    assert.deepEqual(faults, []);
    assert.ok(answers > 100, `${String(answers)} requests`);
    assert.deepEqual(pair.lines, []);
    pair.close();
  });
});
