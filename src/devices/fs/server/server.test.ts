/**
 * The FUSE server over real rings: what it answers to honest requests and to others.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { COUNTER } from '../../../backend/index.ts';
import {
  FATTR,
  FUSE_ATTR,
  FUSE_ATTR_OUT,
  FUSE_CREATE_IN,
  FUSE_ENTRY_OUT,
  FUSE_FORGET_IN,
  FUSE_GETATTR_IN,
  FUSE_INIT,
  FUSE_INIT_OUT,
  FUSE_INTERRUPT_IN,
  FUSE_LK_IN,
  FUSE_OPCODE,
  FUSE_OPEN_IN,
  FUSE_READ_IN,
  FUSE_RENAME2_IN,
  FUSE_RENAME_IN,
  FUSE_SETATTR_IN,
  FUSE_WRITE_IN,
  LINUX_E,
  LINUX_F,
} from '../../../fuse/index.ts';
import {
  FusePair,
  StubFileSystem,
  fuseAnswer,
  fuseInitRequest,
  fuseRequest,
  fuseStruct,
} from '../../../testing/index.ts';
import type { FuseCall, FuseOperations } from '../operations.ts';

/** A pair whose guest has mounted already. */
function mounted(operations: FuseOperations = new StubFileSystem()): FusePair {
  const pair = new FusePair(operations);
  pair.mount();
  return pair;
}

/** Lets a body use a mounted pair. */
function withPair(body: (pair: FusePair, fs: StubFileSystem) => void): void {
  const fs = new StubFileSystem();
  const pair = mounted(fs);
  try {
    body(pair, fs);
    assert.equal(pair.ring.device.inFlight, 0, 'no chain is left behind');
  } finally {
    pair.close();
  }
}

function u64(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}

describe('FUSE_INIT', () => {
  it('agrees on what both have, and on nothing else', () => {
    withPair((pair, fs) => {
      const offered = FUSE_INIT.BIG_WRITES | FUSE_INIT.MAX_PAGES | FUSE_INIT.POSIX_LOCKS;
      const flags = offered | FUSE_INIT.WRITEBACK_CACHE;
      const { errno, view, body } = pair.ask(fuseInitRequest({ flags, minor: 31 }));
      assert.equal(errno, 0);
      assert.equal(body.length, FUSE_INIT_OUT.SIZE);
      assert.equal(view.getUint32(FUSE_INIT_OUT.major, true), 7);
      assert.equal(view.getUint32(FUSE_INIT_OUT.minor, true), 31);
      assert.equal(view.getUint32(FUSE_INIT_OUT.flags, true), offered);
      assert.equal(view.getUint32(FUSE_INIT_OUT.maxReadahead, true), 1024 * 1024);
      assert.equal(view.getUint32(FUSE_INIT_OUT.maxWrite, true), 1024 * 1024);
      assert.equal(view.getUint16(FUSE_INIT_OUT.maxPages, true), 256);
      assert.equal(view.getUint32(FUSE_INIT_OUT.timeGran, true), 1);
      assert.deepEqual(fs.session, { minor: 31, flags: offered, flags2: 0 });
    });
  });

  it('never agrees on a flag that it does not know', () => {
    const fs = new StubFileSystem();
    fs.abilities = { flags: 0xffff_ffff, flags2: 0xffff_ffff, timeGranularityNs: 1 };
    const pair = new FusePair(fs);
    const { view } = pair.ask(fuseInitRequest({ flags: 0xffff_ffff, flags2: 0xffff_ffff }));
    const flags = view.getUint32(FUSE_INIT_OUT.flags, true);
    assert.equal(flags & FUSE_INIT.MAP_ALIGNMENT, 0, 'there is no DAX window');
    assert.equal(flags & FUSE_INIT.DO_READDIRPLUS, 0, 'the stub has no readdirplus');
    pair.close();
  });

  it('takes the short arguments of kernels before 7.36', () => {
    withPair((pair) => {
      const { errno } = pair.ask(fuseInitRequest({ argumentBytes: 16, flags: 0x20, minor: 31 }));
      assert.equal(errno, 0);
    });
  });

  it('answers a newer major version with its own, and waits for another INIT', () => {
    const pair = new FusePair(new StubFileSystem());
    const { errno, view } = pair.ask(fuseInitRequest({ major: 8 }));
    assert.deepEqual([errno, view.getUint32(0, true)], [0, 7]);
    const getattr = fuseRequest(FUSE_OPCODE.GETATTR, [fuseStruct(FUSE_GETATTR_IN)]);
    assert.equal(pair.ask(getattr).errno, LINUX_E.IO, 'nothing is mounted yet');
    assert.equal(pair.ask(fuseInitRequest()).errno, 0);
    assert.equal(pair.ask(getattr).errno, 0);
    pair.close();
  });

  it('refuses versions that virtio-fs never had', () => {
    const pair = new FusePair(new StubFileSystem());
    assert.equal(pair.ask(fuseInitRequest({ major: 6 })).errno, LINUX_E.PROTO);
    assert.equal(pair.ask(fuseInitRequest({ minor: 26 })).errno, LINUX_E.PROTO);
    pair.close();
  });

  it('begins anew when a guest mounts twice, as after a reboot', () => {
    withPair((pair, fs) => {
      assert.equal(pair.ask(fuseInitRequest()).errno, 0);
      assert.deepEqual(fs.events, ['init', 'destroy', 'init']);
    });
  });

  it('ends the session with DESTROY, after which requests fail until the next INIT', () => {
    withPair((pair, fs) => {
      assert.equal(pair.ask(fuseRequest(FUSE_OPCODE.DESTROY)).errno, 0);
      assert.deepEqual(fs.events, ['init', 'destroy']);
      assert.equal(pair.ask(fuseRequest(FUSE_OPCODE.LOOKUP, ['a'])).errno, LINUX_E.IO);
      assert.equal(pair.ask(fuseRequest(FUSE_OPCODE.DESTROY)).errno, 0);
      assert.deepEqual(fs.events, ['init', 'destroy'], 'there was nothing to destroy');
    });
  });
});

describe('a FUSE server', () => {
  it('looks up, stats, opens, writes, reads and renames', () => {
    withPair((pair, fs) => {
      const create = fuseRequest(FUSE_OPCODE.CREATE, [
        fuseStruct(FUSE_CREATE_IN, { mode: 0o644 }),
        'hello',
      ]);
      const created = pair.ask(create);
      assert.equal(created.errno, 0);
      const nodeId = u64(created.view, FUSE_ENTRY_OUT.nodeid);
      const fh = u64(created.view, FUSE_ENTRY_OUT.SIZE);
      const data = Buffer.from('the quick brown fox');
      const write = fuseStruct(FUSE_WRITE_IN, { fh, offset: 5, size: data.length });
      const wrote = pair.ask(fuseRequest(FUSE_OPCODE.WRITE, [write, data], { nodeId }));
      assert.deepEqual([wrote.errno, wrote.view.getUint32(0, true)], [0, data.length]);
      const read = fuseStruct(FUSE_READ_IN, { fh, offset: 9, size: 5 });
      const got = pair.ask(fuseRequest(FUSE_OPCODE.READ, [read], { nodeId }));
      assert.equal(Buffer.from(got.body).toString(), 'quick');
      const attr = pair.ask(
        fuseRequest(FUSE_OPCODE.GETATTR, [fuseStruct(FUSE_GETATTR_IN)], { nodeId }),
      );
      assert.equal(u64(attr.view, FUSE_ATTR_OUT.attr + FUSE_ATTR.size), 5 + data.length);
      const cut = fuseStruct(FUSE_SETATTR_IN, { valid: FATTR.SIZE, size: 7 });
      assert.equal(pair.ask(fuseRequest(FUSE_OPCODE.SETATTR, [cut], { nodeId })).errno, 0);
      assert.equal(fs.nodes.get(nodeId)?.data.length, 7);
      const rename = fuseStruct(FUSE_RENAME_IN, { newdir: 1 });
      const renamed = fuseRequest(FUSE_OPCODE.RENAME, [rename, 'hello', 'world']);
      assert.equal(pair.ask(renamed).errno, 0);
      const lookup = pair.ask(fuseRequest(FUSE_OPCODE.LOOKUP, ['world'], { unique: 77 }));
      assert.equal(u64(lookup.view, FUSE_ENTRY_OUT.nodeid), nodeId);
      assert.equal(lookup.unique, 77n);
      assert.equal(pair.counters[COUNTER.bytesRead], 5);
      assert.equal(pair.counters[COUNTER.bytesWritten], data.length);
      assert.equal(pair.counters[COUNTER.guestFaults], 0);
    });
  });

  it('gives RENAME2 its flags and RENAME none', () => {
    const seen: number[][] = [];
    const fs = new StubFileSystem();
    fs.rename = (call, newDir, flags) => {
      seen.push([newDir, flags, call.nameBytes, call.secondBytes]);
      return 0;
    };
    const pair = mounted(fs);
    const rename2 = fuseStruct(FUSE_RENAME2_IN, { newdir: 3, flags: 1 });
    pair.ask(fuseRequest(FUSE_OPCODE.RENAME2, [rename2, 'a', 'bcd']));
    const rename = fuseStruct(FUSE_RENAME_IN, { newdir: 4 });
    pair.ask(fuseRequest(FUSE_OPCODE.RENAME, [rename, 'ab', 'c']));
    const wide = fuseStruct(FUSE_RENAME_IN, { newdir: 2n ** 53n });
    const refused = pair.ask(fuseRequest(FUSE_OPCODE.RENAME, [wide, 'ab', 'c']));
    assert.equal(refused.errno, LINUX_E.INVAL);
    assert.deepEqual(seen, [
      [3, 1, 1, 3],
      [4, 0, 2, 1],
    ]);
    pair.close();
  });

  it('gives COPY_FILE_RANGE_64 to the method of COPY_FILE_RANGE', () => {
    const seen: number[] = [];
    const fs: FuseOperations = Object.assign(new StubFileSystem(), {
      copyFileRange: (call: FuseCall): number => {
        seen.push(call.opcode);
        call.out.setUint32(0, 0xfedc_ba98, true);
        call.out.setUint32(4, 0, true);
        return 8;
      },
    });
    const pair = mounted(fs);
    for (const opcode of [FUSE_OPCODE.COPY_FILE_RANGE, FUSE_OPCODE.COPY_FILE_RANGE_64]) {
      const { errno, view } = pair.ask(fuseRequest(opcode, [new Uint8Array(56)]));
      assert.deepEqual([errno, view.byteLength, view.getUint32(0, true)], [0, 8, 0xfedc_ba98]);
    }
    assert.deepEqual(seen, [47, 53]);
    pair.close();
  });

  it('serves a request whatever buffers it comes in', () => {
    withPair((pair, fs) => {
      const node = fs.addFile('file', Buffer.from('0123456789abcdef'));
      const opened = pair.ask(
        fuseRequest(FUSE_OPCODE.OPEN, [fuseStruct(FUSE_OPEN_IN)], { nodeId: node.id }),
      );
      const fh = u64(opened.view, 0);
      const read = fuseStruct(FUSE_READ_IN, { fh, offset: 1, size: 12 });
      const request = fuseRequest(FUSE_OPCODE.READ, [read]);
      for (let cut = 1; cut < request.length; cut++) {
        const { body } = pair.askChain([request.subarray(0, cut), request.subarray(cut)], [28]);
        assert.equal(Buffer.from(body).toString(), '123456789abc', `cut at ${String(cut)}`);
      }
      for (let cut = 1; cut < 28; cut++) {
        const { body } = pair.askChain([request], [cut, 28 - cut]);
        assert.equal(Buffer.from(body).toString(), '123456789abc', `room cut at ${String(cut)}`);
      }
      const data = Buffer.from('data');
      const write = fuseStruct(FUSE_WRITE_IN, { fh, offset: 0, size: 4 });
      const writing = fuseRequest(FUSE_OPCODE.WRITE, [write, data]);
      for (let cut = 1; cut < writing.length; cut++) {
        node.data.fill(0);
        const parts = [writing.subarray(0, cut), writing.subarray(cut)];
        assert.equal(pair.askChain(parts, [24]).errno, 0);
        assert.equal(Buffer.from(node.data.subarray(0, 4)).toString(), 'data');
      }
      const bytes = [...request].map((byte) => Uint8Array.of(byte)).slice(0, 32);
      const { errno } = pair.askChain([...bytes, request.subarray(32)], [7, 9, 12]);
      assert.equal(errno, 0);
    });
  });

  it('reads no more than it was asked for, and than there is room for', () => {
    withPair((pair, fs) => {
      const node = fs.addFile('file', new Uint8Array(100).fill(7));
      const open = fuseRequest(FUSE_OPCODE.OPEN, [fuseStruct(FUSE_OPEN_IN)], { nodeId: node.id });
      const fh = u64(pair.ask(open).view, 0);
      const read = (size: number): Uint8Array =>
        fuseRequest(FUSE_OPCODE.READ, [fuseStruct(FUSE_READ_IN, { fh, size })]);
      assert.equal(pair.ask(read(10), 50).body.length, 10);
      assert.equal(pair.ask(read(50), 10).body.length, 10);
      assert.equal(pair.ask(read(0), 10).body.length, 0);
      assert.equal(pair.ask(read(10), 0).body.length, 0);
      assert.equal(pair.ask(read(0xffff_ffff), 200).body.length, 100);
    });
  });

  it('counts what the guest forgets, one by one and in batches', () => {
    withPair((pair, fs) => {
      const nodes = [fs.addFile('a', new Uint8Array(0)), fs.addFile('b', new Uint8Array(0))];
      for (const name of ['a', 'a', 'a', 'b', 'b']) {
        pair.ask(fuseRequest(FUSE_OPCODE.LOOKUP, [name]));
      }
      const nodeId = nodes[0]?.id ?? 0;
      const one = fuseStruct(FUSE_FORGET_IN, { nlookup: 1 });
      pair.send([fuseRequest(FUSE_OPCODE.FORGET, [one], { nodeId })], []);
      assert.deepEqual(
        [...pair.taken().values()].map((each) => each.usedBytes),
        [0],
      );
      const batch = new BigUint64Array([2n, BigInt(nodeId), 2n, BigInt(nodes[1]?.id ?? 0), 1n]);
      pair.send([fuseRequest(FUSE_OPCODE.BATCH_FORGET, [new Uint8Array(batch.buffer)])], []);
      assert.deepEqual(
        [...pair.taken().values()].map((each) => each.usedBytes),
        [0],
      );
      assert.deepEqual(
        nodes.map((node) => node.lookups),
        [0, 1],
      );
      assert.equal(pair.counters[COUNTER.guestFaults], 0);
    });
  });
});

describe('a request whose answer comes later', () => {
  const lock = (owner: number, type: number, unique: number, wait = true): Uint8Array => {
    const arguments_ = fuseStruct(FUSE_LK_IN, { owner });
    new DataView(arguments_.buffer).setUint32(FUSE_LK_IN.lk + 16, type, true);
    return fuseRequest(wait ? FUSE_OPCODE.SETLKW : FUSE_OPCODE.SETLK, [arguments_], { unique });
  };

  it('is answered when the file system finishes it', () => {
    withPair((pair) => {
      assert.equal(pair.ask(lock(1, LINUX_F.WRLCK, 2)).errno, 0);
      assert.equal(pair.ask(lock(2, LINUX_F.WRLCK, 4, false)).errno, LINUX_E.AGAIN);
      const waiting = pair.send([lock(2, LINUX_F.WRLCK, 6)], [16]);
      assert.equal(pair.taken().size, 0);
      assert.equal(pair.server.pendingCount, 1);
      const unlock = pair.send([lock(1, LINUX_F.UNLCK, 8)], [16]);
      const taken = pair.taken();
      const answers = [waiting, unlock].map((token) => {
        const done = taken.get(token);
        assert.ok(done !== undefined);
        return fuseAnswer(done.written, done.usedBytes);
      });
      assert.deepEqual(
        answers.map(({ errno, unique }) => [errno, unique]),
        [
          [0, 6n],
          [0, 8n],
        ],
      );
      assert.equal(pair.server.pendingCount, 0);
    });
  });

  it('is given up by INTERRUPT', () => {
    withPair((pair, fs) => {
      pair.ask(lock(1, LINUX_F.WRLCK, 2));
      const token = pair.send([lock(2, LINUX_F.WRLCK, 6)], [16]);
      const interrupt = fuseRequest(FUSE_OPCODE.INTERRUPT, [
        fuseStruct(FUSE_INTERRUPT_IN, { unique: 6 }),
      ]);
      pair.send([interrupt], []);
      const done = pair.taken().get(token);
      assert.ok(done !== undefined);
      assert.equal(fuseAnswer(done.written, done.usedBytes).errno, LINUX_E.INTR);
      assert.equal(pair.ask(interrupt).errno, 0, 'with room for an answer it has one');
      assert.deepEqual(fs.events, ['init', 'interrupt 6', 'interrupt 6']);
    });
  });

  it('is given up when its queue is stopped', () => {
    withPair((pair) => {
      pair.ask(lock(1, LINUX_F.WRLCK, 2));
      pair.send([lock(2, LINUX_F.WRLCK, 6)], [16]);
      pair.send([lock(3, LINUX_F.WRLCK, 8)], [16]);
      assert.equal(pair.server.pendingCount, 2);
      pair.server.interruptQueue(pair.ring.device);
      assert.equal(pair.server.pendingCount, 0);
      assert.equal(pair.taken().size, 2);
    });
  });

  it('gives the memory of its buffers back to the host when its queue is stopped', () => {
    const fs = new StubFileSystem();
    const places: number[] = [];
    fs.read = (call) => {
      places.push(call.iov);
      return 0;
    };
    const pair = mounted(fs);
    const request = fuseRequest(FUSE_OPCODE.READ, [fuseStruct(FUSE_READ_IN, { size: 8 })]);
    const read = (): void => {
      pair.send([request], [16, 8]);
      assert.equal(pair.taken().size, 1);
    };
    read();
    read();
    assert.equal(places[1], places[0], 'not while it runs');
    pair.server.interruptQueue(pair.ring.device);
    read();
    assert.notEqual(places[2], places[0], 'a new mapping: what was touched is the host’s again');
    pair.ask(lock(1, LINUX_F.WRLCK, 20));
    pair.send([lock(2, LINUX_F.WRLCK, 22)], [16]);
    pair.server.interruptQueue(pair.ring.device); // and then the last request is answered
    assert.equal(pair.taken().size, 1);
    read();
    assert.notEqual(places[3], places[2]);
    pair.close();
  });

  it('is given up before the guest mounts anew, whose INIT waits for it', () => {
    const fs = new StubFileSystem();
    let interrupts = 0;
    const pending: number[] = [];
    const operations: FuseOperations = Object.assign(fs, {
      interrupt: (unique: number) => {
        interrupts++;
        pending.push(unique);
      },
    });
    const pair = mounted(operations);
    pair.ask(lock(1, LINUX_F.WRLCK, 2));
    const waiting = pair.send([lock(2, LINUX_F.WRLCK, 6)], [16]);
    const init = pair.send([fuseInitRequest()], [16, 64]);
    assert.deepEqual([pair.taken().size, pair.server.full, interrupts], [0, true, 1]);
    assert.deepEqual(fs.events, ['init'], 'the old session goes on until then');
    StubFileSystem.prototype.interrupt.call(fs, pending[0] ?? 0);
    assert.deepEqual([...pair.taken().keys()], [waiting, init]);
    assert.deepEqual(fs.events, ['init', 'interrupt 6', 'destroy', 'init']);
    assert.equal(pair.server.full, false);
    pair.close();
  });

  it('is answered over the head of a file system that never does, and may come too late', () => {
    const fs = new StubFileSystem();
    const held: { finish(result: number): void; putData(from: Uint8Array): number }[] = [];
    fs.read = (call) => {
      held.push(call);
      return -0x7fff_ffff; // PENDING
    };
    const pair = mounted(fs);
    const request = fuseRequest(FUSE_OPCODE.READ, [fuseStruct(FUSE_READ_IN, { size: 8 })]);
    const token = pair.send([request], [16, 8]);
    pair.server.abandonPending();
    const done = pair.taken().get(token);
    assert.ok(done !== undefined);
    assert.equal(fuseAnswer(done.written, done.usedBytes).errno, LINUX_E.INTR);
    assert.equal(held[0]?.putData(new Uint8Array(8)), 0, 'its buffers are the guest’s again');
    for (const call of held) call.finish(8);
    assert.equal(pair.taken().size, 0);
    pair.close();
  });

  it('takes no more than there is room for, and goes on afterwards', () => {
    const fs = new StubFileSystem();
    const pair = new FusePair(fs, { callCount: 2 });
    pair.ask(fuseInitRequest());
    pair.ask(lock(1, LINUX_F.WRLCK, 2));
    pair.send([lock(2, LINUX_F.WRLCK, 4)], [16]);
    assert.equal(pair.server.full, false);
    pair.send([lock(3, LINUX_F.WRLCK, 6)], [16]);
    assert.equal(pair.server.full, true);
    pair.server.interruptQueue(pair.ring.device);
    assert.equal(pair.server.full, false);
    pair.close();
  });

  it('may be finished while its method still runs', () => {
    const fs = new StubFileSystem();
    fs.flush = function flush(call?: { finish(result: number): void }): number {
      call?.finish(0);
      return -0x7fff_ffff;
    };
    const pair = mounted(fs);
    const request = fuseRequest(FUSE_OPCODE.FLUSH, [new Uint8Array(24)]);
    assert.equal(pair.ask(request).errno, 0);
    assert.equal(pair.server.pendingCount, 0);
    pair.close();
  });
});
