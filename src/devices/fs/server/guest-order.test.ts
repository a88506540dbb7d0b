/**
 * A big-endian guest: its requests are written and its answers read by the widths that are given
 * here, most significant byte first.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { COUNTER } from '../../../backend/index.ts';
import {
  FUSE_DIRENT,
  FUSE_INIT,
  FUSE_MAJOR,
  FUSE_OPCODE,
  LINUX_E,
  LINUX_F,
  fuseOrderRow,
  swapU32,
} from '../../../fuse/index.ts';
import { FusePair, StubFileSystem, fuseInitRequest } from '../../../testing/index.ts';
import type { FuseOperations } from '../operations.ts';
import { requestRows } from './requests.ts';

const HEADER = [4, 4, 8, 8, 4, 4, 4, 2, 2];
const ANSWER = [4, 4, 8];
const INIT_FLAGS = FUSE_INIT.INIT_EXT | FUSE_INIT.POSIX_LOCKS;
const ROOM_BYTES = 4096;

/** Numbers, the most significant byte first. */
function big(widths: readonly number[], values: readonly (number | bigint)[]): Buffer {
  const parts = widths.map((width, i) => {
    const digits = BigInt(values[i] ?? 0)
      .toString(16)
      .padStart(width * 2, '0');
    return Buffer.from(digits, 'hex');
  });
  return Buffer.concat(parts);
}

/** The reverse of {@link big}. */
function read(widths: readonly number[], bytes: Buffer): bigint[] {
  let at = 0;
  return widths.map((width) => {
    const value = BigInt(`0x${bytes.subarray(at, at + width).toString('hex')}`);
    at += width;
    return value;
  });
}

function request(opcode: number, parts: readonly (Buffer | string)[], nodeId = 1): Buffer {
  const bodies = parts.map((part) => (typeof part === 'string' ? Buffer.from(`${part}\0`) : part));
  const bytes = bodies.reduce((sum, { length }) => sum + length, 40);
  return Buffer.concat([big(HEADER, [bytes, opcode, 0x1_0002n, nodeId, 7, 8, 9]), ...bodies]);
}

interface Answer {
  readonly errno: number;
  readonly body: Buffer;
}

/** A guest that has mounted, unless it is told not to. */
class BigGuest {
  readonly pair: FusePair;

  constructor(operations: FuseOperations) {
    this.pair = new FusePair(operations);
  }

  /** Sends a request and takes its answer apart; the header has to be right. */
  ask(opcode: number, parts: readonly (Buffer | string)[] = [], nodeId = 1): Answer {
    const token = this.pair.send([request(opcode, parts, nodeId)], [ROOM_BYTES]);
    const done = this.pair.taken().get(token);
    assert.ok(done !== undefined, 'it is answered at once');
    return this.answerOf(done);
  }

  answerOf(done: { readonly written: Uint8Array; readonly usedBytes: number }): Answer {
    const bytes = Buffer.from(done.written.subarray(0, done.usedBytes));
    const [length, error, unique] = read(ANSWER, bytes);
    assert.equal(length, BigInt(done.usedBytes));
    assert.equal(unique, 0x1_0002n);
    return { errno: Math.abs(Number(error) | 0), body: bytes.subarray(16) };
  }

  mount(): Answer {
    const widths = [4, 4, 4, 4, 4, ...new Array<number>(11).fill(4)];
    return this.ask(FUSE_OPCODE.INIT, [big(widths, [FUSE_MAJOR, 38, 0x20000, INIT_FLAGS])], 0);
  }
}

function withGuest(body: (guest: BigGuest, fs: StubFileSystem) => void): void {
  const fs = new StubFileSystem();
  const guest = new BigGuest(fs);
  try {
    guest.mount();
    body(guest, fs);
    assert.equal(guest.pair.ring.device.inFlight, 0, 'no chain is left behind');
  } finally {
    guest.pair.close();
  }
}

describe('a big-endian guest', () => {
  it('is known by its INIT, whose answer has its order', () => {
    const fs = new StubFileSystem();
    const guest = new BigGuest(fs);
    const { errno, body } = guest.mount();
    assert.equal(errno, 0);
    const [major, minor, readahead, flags, background, , maxWrite] = read(
      [4, 4, 4, 4, 2, 2, 4],
      body,
    );
    assert.deepEqual([major, minor, readahead, background], [7n, 38n, 0x20000n, 1024n]);
    assert.equal(Number(flags), INIT_FLAGS);
    assert.equal(maxWrite, 131_072n);
    assert.deepEqual(fs.session, { minor: 38, flags: INIT_FLAGS, flags2: 0 });
    assert.equal(guest.pair.counter(COUNTER.guestFaults), 0);
    guest.pair.close();
  });

  it('makes, writes, reads, stats, lists and renames', () => {
    withGuest((guest, fs) => {
      const made = guest.ask(FUSE_OPCODE.CREATE, [big([4, 4, 4, 4], [0x8002, 0o644]), 'hello']);
      assert.equal(made.errno, 0);
      const entry = read([8, 8, 8, 8, 4, 4, 8, 8], made.body);
      const nodeId = Number(entry[0]);
      assert.equal(fs.nodes.get(nodeId)?.mode, 0o100644);
      const [fh = 0n] = read([8], made.body.subarray(128));
      const data = Buffer.from('the quick brown fox');
      const arguments_ = [8, 8, 4, 4, 8, 4, 4];
      const write = big(arguments_, [fh, 0x1_0000, data.length]);
      const wrote = guest.ask(FUSE_OPCODE.WRITE, [Buffer.concat([write, data])], nodeId);
      assert.deepEqual(read([4], wrote.body), [BigInt(data.length)]);
      const got = guest.ask(FUSE_OPCODE.READ, [big(arguments_, [fh, 0x1_0004, 5])], nodeId);
      assert.equal(got.body.toString(), 'quick');
      const attr = guest.ask(FUSE_OPCODE.GETATTR, [big([4, 4, 8], [])], nodeId);
      const [, , , ino, size] = read([8, 4, 4, 8, 8], attr.body);
      assert.deepEqual([ino, size], [BigInt(nodeId), 0x1_0013n]);
      const rename = [big([8, 4, 4], [1, 0]), 'hello', 'world'];
      assert.equal(guest.ask(FUSE_OPCODE.RENAME2, rename).errno, 0);
      assert.deepEqual([...fs.root.children.keys()], ['world']);
      assert.equal(guest.pair.counter(COUNTER.bytesWritten), data.length);
      assert.equal(guest.pair.counter(COUNTER.guestFaults), 0);
    });
  });

  it('gets every head of a list of names in its order, and the names as they are', () => {
    withGuest((guest, fs) => {
      const names = ['a', 'bb', '12345678', 'a name that is longer'];
      const nodes = names.map((name) => fs.addFile(name, Buffer.alloc(0)));
      const opened = guest.ask(FUSE_OPCODE.OPENDIR, [big([4, 4], [])]);
      const [fh = 0n] = read([8], opened.body);
      const readdir = big([8, 8, 4, 4, 8, 4, 4], [fh, 0, ROOM_BYTES - 16]);
      const { body } = guest.ask(FUSE_OPCODE.READDIR, [readdir]);
      const found = new Map<string, bigint>();
      for (let at = 0; at < body.length;) {
        const [ino = 0n, , bytes] = read([8, 8, 4, 4], body.subarray(at));
        const start = at + FUSE_DIRENT.SIZE;
        found.set(body.subarray(start, start + Number(bytes)).toString(), ino);
        at = Math.ceil((start + Number(bytes)) / 8) * 8;
      }
      for (const [i, name] of names.entries()) {
        assert.equal(found.get(name), BigInt(nodes[i]?.id ?? 0));
      }
    });
  });

  it('is told how long an attribute is as a number, and gets the value as it is', () => {
    const fs = new StubFileSystem();
    const value = Buffer.from([1, 2, 3, 4, 5, 6, 7, 8]);
    const operations = Object.assign(fs, {
      getxattr: (call: Parameters<NonNullable<FuseOperations['getxattr']>>[0]): number => {
        call.outArray.set(value);
        if (call.input.getUint32(0, true) > 0) return value.length;
        call.out.setUint32(0, value.length, true);
        call.out.setUint32(4, 0, true);
        return 8;
      },
    });
    const guest = new BigGuest(operations);
    guest.mount();
    const long = guest.ask(FUSE_OPCODE.GETXATTR, [big([4, 4], [64]), 'user.x']);
    assert.deepEqual([...long.body], [...value]);
    const { body } = guest.ask(FUSE_OPCODE.GETXATTR, [big([4, 4], [0]), 'user.x']);
    assert.deepEqual(read([4, 4], body), [8n, 0n]);
    assert.equal(guest.mount().body.length, 64);
    const [major] = read([4], guest.mount().body);
    assert.equal(major, 7n, 'an INIT after a value is turned around as ever');
    guest.pair.close();
  });

  it('forgets one by one and in batches', () => {
    withGuest((guest, fs) => {
      const [a, b] = [fs.addFile('a', Buffer.alloc(0)), fs.addFile('b', Buffer.alloc(0))];
      for (const name of ['a', 'a', 'a', 'b', 'b']) guest.ask(FUSE_OPCODE.LOOKUP, [name]);
      guest.pair.send([request(FUSE_OPCODE.FORGET, [big([8], [1])], a.id)], []);
      const batch = big([4, 4, 8, 8, 8, 8], [2, 0, a.id, 2, b.id, 1]);
      guest.pair.send([request(FUSE_OPCODE.BATCH_FORGET, [batch])], []);
      assert.equal(guest.pair.taken().size, 2);
      assert.deepEqual([a.lookups, b.lookups], [0, 1]);
      assert.equal(guest.pair.counter(COUNTER.guestFaults), 0);
    });
  });

  it('waits for a lock, and gives it up by INTERRUPT', () => {
    withGuest((guest, fs) => {
      const lock = (owner: number): Buffer =>
        big([8, 8, 8, 8, 4, 4, 4, 4], [0, owner, 0, 99, LINUX_F.WRLCK]);
      assert.equal(guest.ask(FUSE_OPCODE.SETLKW, [lock(1)]).errno, 0);
      const token = guest.pair.send([request(FUSE_OPCODE.SETLKW, [lock(2)])], [16]);
      assert.equal(guest.pair.server.pendingCount, 1);
      guest.pair.send([request(FUSE_OPCODE.INTERRUPT, [big([8], [0x1_0002n])])], []);
      const done = guest.pair.taken().get(token);
      assert.ok(done !== undefined);
      assert.equal(guest.answerOf(done).errno, LINUX_E.INTR);
      assert.deepEqual(fs.events, ['init', `interrupt ${String(0x1_0002)}`]);
    });
  });

  it('is told of errors, and its requests that cannot be right are refused', () => {
    withGuest((guest) => {
      assert.equal(guest.ask(FUSE_OPCODE.LOOKUP, ['nobody']).errno, LINUX_E.NOENT);
      assert.equal(guest.ask(FUSE_OPCODE.OPEN, [big([4], [0])]).errno, LINUX_E.INVAL);
      assert.equal(guest.ask(63).errno, LINUX_E.NOSYS);
      assert.equal(guest.pair.counter(COUNTER.guestFaults), 1);
    });
  });

  it('may come after a little-endian one, and that one after it', () => {
    withGuest((guest, fs) => {
      const { errno, view } = guest.pair.ask(fuseInitRequest());
      assert.deepEqual([errno, view.getUint32(0, true)], [0, 7]);
      const { body } = guest.mount();
      assert.deepEqual(read([4], body), [7n]);
      assert.deepEqual(fs.events, ['init', 'destroy', 'init', 'destroy', 'init']);
      assert.equal(guest.ask(FUSE_OPCODE.LOOKUP, ['nobody']).errno, LINUX_E.NOENT);
    });
  });

  it('takes the order over only with an INIT whose length is right in it', () => {
    const pair = new FusePair(new StubFileSystem());
    pair.mount();
    const bad = fuseInitRequest();
    const view = new DataView(bad.buffer, bad.byteOffset);
    view.setUint32(4, swapU32(FUSE_OPCODE.INIT), true);
    for (const bytes of [5000, 39, 8, 0]) {
      view.setUint32(0, swapU32(bytes), true);
      assert.equal(pair.ask(bad).errno, LINUX_E.INVAL);
      assert.equal(pair.mount().errno, 0, 'the order is the old one');
    }
    pair.close();
  });
});

describe('the table of byte orders', () => {
  it('is as long as the arguments and the answer of each request', () => {
    const sum = (widths: readonly number[]): number => widths.reduce((all, each) => all + each, 0);
    const rows = requestRows(new StubFileSystem());
    let checked = 0;
    for (const [opcode, row] of rows.entries()) {
      if (row === undefined) continue;
      const order = fuseOrderRow(opcode);
      assert.equal(sum(order?.arguments ?? []), row.argumentBytes, `opcode ${String(opcode)}`);
      const answer = sum(order?.answer ?? []);
      const isChoice = opcode === FUSE_OPCODE.GETXATTR || opcode === FUSE_OPCODE.LISTXATTR;
      assert.equal(answer, isChoice ? 8 : row.answerBytes, `opcode ${String(opcode)}`);
      checked++;
    }
    assert.ok(checked >= 38, String(checked));
  });
});
