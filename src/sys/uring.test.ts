/**
 * io_uring through system calls.
 *
 * @module
 */
import assert from 'node:assert/strict';
import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import {
  ERRNO,
  READABLE,
  Notifier,
  Uring,
  closeFd,
  createNotifier,
  dupFd,
  host,
  mapAnonymous,
  monotonicUs,
  openFdCount,
  sendWithFds,
  socketPair,
  viewMemory,
} from './index.ts';
import * as libc from './libc.ts';

const folder = mkdtempSync(join(tmpdir(), 'vhu-uring-'));
const path = join(folder, 'file');
const memory = mapAnonymous(1 << 20);
const bytes = new Uint8Array(viewMemory(memory.address, 1 << 20));
const view = new DataView(bytes.buffer);
after(() => {
  memory.unmap();
  rmSync(folder, { recursive: true });
});

const errno = (name: string): number => -(ERRNO[name] as number);

function probe(): string | false {
  if (host().mode === 'posix') return 'posix mode leaves io_uring alone';
  const ring = Uring.open(2);
  ring?.close();
  return ring === null ? 'this kernel gives no io_uring' : false;
}
const skip = probe();

/** Runs `use` with a ring, and checks that closing it leaves no fd and no mapping. */
function withRing(entries: number, use: (ring: Uring) => void): void {
  const before = [openFdCount(), mappedRings()];
  const ring = Uring.open(entries);
  assert.ok(ring);
  try {
    use(ring);
  } finally {
    ring.close();
    ring.close();
  }
  assert.deepEqual([openFdCount(), mappedRings()], before);
}

function mappedRings(): number {
  return readFileSync('/proc/self/maps', 'latin1').split('[io_uring]').length;
}

/** The rings of this process. */
function ringFds(): number[] {
  const isRing = (name: string): boolean => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`) === 'anon_inode:[io_uring]';
    } catch {
      return false; // the one that listed them
    }
  };
  return readdirSync('/proc/self/fd').filter(isRing).map(Number);
}

/** Submits, waits for `count` completions and takes them: results by user data. */
function complete(ring: Uring, count: number): Map<number, number> {
  const results = new Map<number, number>();
  const end = monotonicUs() + 5e6;
  while (results.size < count) {
    assert.ok(monotonicUs() < end, `${String(results.size)} of ${String(count)} have completed`);
    ring.submitAndWait(1, 1e6);
    const ready = ring.pending();
    for (let i = 0; i < ready; i++) results.set(ring.userDataAt(i), ring.resultAt(i));
    ring.advance(ready);
  }
  return results;
}

function only(ring: Uring): number {
  const results = complete(ring, 1);
  return [...results.values()][0] as number;
}

describe('io_uring in posix mode or where there is none', { skip: !skip && 'it is here' }, () => {
  it('is null', () => {
    assert.equal(Uring.open(8), null);
  });
});

describe('io_uring', { skip }, () => {
  it('is null for a size that the kernel refuses', () => {
    const before = openFdCount();
    assert.equal(Uring.open(0), null);
    assert.equal(Uring.open(1 << 30), null);
    assert.equal(openFdCount(), before);
  });

  it('reads and writes by address, at offsets beyond 4 GiB', () => {
    const fd = openSync(path, 'w+');
    withRing(8, (ring) => {
      for (let i = 0; i < 4096; i++) bytes[i] = i * 3;
      const far = 5 * 2 ** 32 + 7;
      assert.ok(ring.prepWrite(fd, memory.address, 4096, far, 0xffff_ffff));
      assert.deepEqual([...complete(ring, 1)], [[0xffff_ffff, 4096]]);
      assert.equal(fstatSync(fd).size, far + 4096);
      assert.ok(ring.prepRead(fd, memory.address + 8192, 5000, far, 0));
      assert.deepEqual([...complete(ring, 1)], [[0, 4096]], 'short at the end');
      assert.deepEqual(bytes.slice(8192, 8192 + 4096), bytes.slice(0, 4096));
      ring.prepRead(fd, memory.address, 10, far + 4096, 5);
      assert.equal(only(ring), 0, 'the end of the file');
    });
    closeSync(fd);
  });

  it('gathers and scatters by iovecs', () => {
    const fd = openSync(path, 'w+');
    withRing(8, (ring) => {
      for (let i = 0; i < 100; i++) bytes[i] = i + 1;
      const iov = (list: [number, number][]): number => {
        list.forEach(([at, length], i) => {
          view.setBigUint64(65536 + i * 16, BigInt(memory.address + at), true);
          view.setBigUint64(65536 + i * 16 + 8, BigInt(length), true);
        });
        return memory.address + 65536;
      };
      const out: [number, number][] = [
        [10, 5],
        [0, 7],
      ];
      ring.prepWritev(fd, iov(out), 2, 3, 1);
      assert.equal(only(ring), 12);
      const into: [number, number][] = [
        [1000, 1],
        [2000, 100],
      ];
      ring.prepReadv(fd, iov(into), 2, 3, 2);
      assert.equal(only(ring), 12);
      const got = [bytes[1000], ...bytes.slice(2000, 2011)];
      assert.deepEqual(got, [...bytes.slice(10, 15), ...bytes.slice(0, 7)]);
    });
    closeSync(fd);
  });

  it('syncs, and changes the space of a file', () => {
    const fd = openSync(path, 'w+');
    withRing(8, (ring) => {
      bytes.fill(0x44, 0, 65536);
      ring.prepWrite(fd, memory.address, 65536, 0, 1);
      assert.equal(only(ring), 65536);
      ring.prepFsync(fd, true, 2);
      ring.prepFsync(fd, false, 3);
      assert.deepEqual(complete(ring, 2), new Map([2, 3].map((key) => [key, 0])));
      const [KEEP_SIZE, PUNCH_HOLE] = [1, 2];
      ring.prepFallocate(fd, KEEP_SIZE | PUNCH_HOLE, 4096, 8192, 4);
      const result = only(ring);
      assert.ok(result === 0 || result === errno('EOPNOTSUPP'));
      if (result === 0) assert.equal(readFileSync(path)[4096], 0);
      ring.prepFallocate(fd, 0, 0, 2 ** 33 + 5, 5);
      const grown = only(ring);
      if (grown === 0) assert.equal(fstatSync(fd).size, 2 ** 33 + 5, 'lengths beyond 4 GiB');
      else assert.ok([errno('ENOSPC'), errno('EOPNOTSUPP'), errno('EFBIG')].includes(grown));
    });
    closeSync(fd);
    rmSync(path);
  });

  it('gives errors as results, each to its request', () => {
    withRing(8, (ring) => {
      ring.prepRead(99_999, memory.address, 1, 0, 1);
      ring.prepWrite(99_999, memory.address, 1, 0, 2);
      ring.prepNop(3);
      ring.prepFsync(99_999, true, 4);
      assert.deepEqual(
        [...complete(ring, 4)].sort(([a], [b]) => a - b),
        [
          [1, errno('EBADF')],
          [2, errno('EBADF')],
          [3, 0],
          [4, errno('EBADF')],
        ],
      );
    });
  });

  it('polls an fd once', () => {
    const { notifier, consumer } = createNotifier();
    withRing(8, (ring) => {
      ring.prepPollAdd(consumer.fd, READABLE, 11);
      assert.equal(ring.submit(), 1);
      assert.equal(ring.pending(), 0);
      notifier.signal();
      const end = monotonicUs() + 2e6;
      while (ring.pending() === 0) assert.ok(monotonicUs() < end, 'found by looking alone');
      assert.equal(ring.userDataAt(0), 11);
      assert.equal(ring.resultAt(0) & READABLE, READABLE);
      ring.advance(1);
      notifier.signal();
      ring.submitAndWait(1, 1000);
      assert.equal(ring.pending(), 0, 'not a second time');
    });
    notifier.close();
    consumer.close();
  });

  it('hears each signal of an eventfd by one request, though nobody drains it', () => {
    const { notifier, consumer } = createNotifier();
    withRing(8, (ring) => {
      notifier.signal(); // before there is anybody to hear it
      ring.prepPollAdd(consumer.fd, READABLE, 12, true);
      ring.submit();
      for (let signals = 0; signals < 20; signals++) {
        if (signals > 0) notifier.signal();
        ring.submitAndWait(1, 2e6);
        assert.equal(ring.pending(), 1, `signal ${signals}`);
        assert.equal(ring.userDataAt(0), 12);
        assert.equal(ring.resultAt(0) & READABLE, READABLE);
        assert.ok(ring.hasMoreAt(0));
        ring.advance(1);
      }
      ring.submitAndWait(1, 1000);
      assert.equal(ring.pending(), 0, 'ready as it is, it is not told of again');
      ring.prepCancel(12, 13);
      ring.submitAndWait(2, 2e6);
      assert.equal(ring.pending(), 2);
      const cancelled = ring.userDataAt(0) === 12 ? 0 : 1;
      assert.equal(ring.resultAt(cancelled), errno('ECANCELED'));
      assert.equal(ring.hasMoreAt(cancelled), false);
      ring.advance(2);
    });
    notifier.close();
    consumer.close();
  });

  it('signals as the first part of a wait, and completes that only when it failed', (context) => {
    const { notifier, consumer } = createNotifier();
    const pipe = libc.pipe(memory.address) === 0;
    assert.ok(pipe);
    const [readFd, writeFd] = [view.getInt32(0, true), view.getInt32(4, true)];
    const broken = new Notifier(writeFd);
    closeFd(readFd);
    withRing(8, (ring) => {
      if (!ring.prepSignal(notifier.fd, 31)) {
        context.skip('this kernel completes everything (before Linux 5.17)');
        return;
      }
      ring.prepPollAdd(consumer.fd, READABLE, 32);
      ring.submitAndWait(1, 2e6);
      assert.equal(ring.pending(), 1);
      assert.equal(ring.userDataAt(0), 32);
      ring.advance(1);
      assert.equal(consumer.drain(), 1);
      assert.equal(consumer.drain(), 0, 'signalled once');
      ring.prepSignal(broken.fd, 33);
      assert.equal(only(ring), errno('EPIPE'));
    });
    broken.close();
    notifier.close();
    consumer.close();
  });

  it('cancels what waits, and says when there is nothing to cancel', () => {
    const { notifier, consumer } = createNotifier();
    withRing(8, (ring) => {
      ring.prepPollAdd(consumer.fd, READABLE, 21);
      ring.submit();
      ring.prepCancel(21, 22);
      assert.deepEqual(
        [...complete(ring, 2)].sort(([a], [b]) => a - b),
        [
          [21, errno('ECANCELED')],
          [22, 0],
        ],
      );
      ring.prepCancel(21, 23);
      assert.equal(only(ring), errno('ENOENT'));
    });
    notifier.close();
    consumer.close();
  });

  it('waits no longer than it was told, to the microsecond upwards', () => {
    withRing(8, (ring) => {
      for (const timeoutUs of [0, 500, 20_000]) {
        const start = monotonicUs();
        assert.equal(ring.submitAndWait(1, timeoutUs), 0);
        const waited = monotonicUs() - start;
        assert.ok(waited >= timeoutUs, `${String(waited)} us`);
        assert.ok(waited < timeoutUs + 1e6, `${String(waited)} us`);
        assert.equal(ring.pending(), 0);
      }
    });
  });

  it('hands over what was prepared, even when the time to wait is over at once', () => {
    const [a, b] = socketPair();
    withRing(8, (ring) => {
      ring.prepPollAdd(a, READABLE, 1);
      ring.prepNop(2);
      assert.equal(ring.submitAndWait(2, 1000), 2);
      assert.equal(ring.pending(), 1);
      assert.equal(ring.userDataAt(0), 2);
      ring.advance(1);
      sendWithFds(b, Uint8Array.of(1), []);
      ring.submitAndWait(1, -1);
      assert.equal(ring.pending(), 1);
    });
    closeFd(a);
    closeFd(b);
  });

  it('is full when all entries are prepared, and takes more once they are handed over', () => {
    withRing(8, (ring) => {
      for (let round = 0; round < 3; round++) {
        for (let i = 0; i < 8; i++) assert.ok(ring.prepNop(i));
        assert.equal(ring.prepNop(99), false);
        assert.equal(ring.prepRead(0, memory.address, 1, 0, 99), false);
        assert.equal(ring.submit(), 8);
        assert.equal(ring.submit(), 0);
        assert.equal(complete(ring, 8).size, 8);
      }
    });
  });

  it('loses no completion when more come than its queue holds', () => {
    withRing(8, (ring) => {
      const total = 200;
      let prepared = 0;
      const seen = new Set<number>();
      for (let round = 0; round < 1000 && prepared < total; round++) {
        while (prepared < total && ring.prepNop(prepared)) prepared++;
        ring.submit();
      }
      // Nothing was taken until now: the queue has 16 entries, and the kernel keeps the rest.
      assert.ok(prepared > 16);
      for (let round = 0; round < 1000 && seen.size < total; round++) {
        const ready = ring.pending();
        for (let i = 0; i < ready; i++) seen.add(ring.userDataAt(i));
        ring.advance(ready);
        while (prepared < total && ring.prepNop(prepared)) prepared++;
        ring.submitAndWait(0, 0);
      }
      assert.equal(seen.size, total);
    });
  });

  it('goes round its queues many times', () => {
    withRing(4, (ring) => {
      for (let i = 0; i < 5000; i += 2) {
        assert.ok(ring.prepNop(i) && ring.prepNop(i + 1));
        ring.submitAndWait(2, -1);
        assert.equal(ring.pending(), 2);
        assert.deepEqual([ring.userDataAt(0), ring.userDataAt(1)], [i, i + 1]);
        ring.advance(2);
      }
    });
  });

  it('is not touched after it was closed, since its memory is gone', () => {
    const ring = Uring.open(4);
    assert.ok(ring);
    ring.prepNop(1);
    ring.close();
    for (const use of [
      (): unknown => ring.prepNop(2),
      (): unknown => ring.submit(),
      (): unknown => ring.pending(),
      (): unknown => ring.submitAndWait(1, 0),
      (): unknown => {
        ring.advance(1);
        return 0;
      },
    ]) {
      assert.throws(use, /a closed ring is not used/);
    }
  });

  it('says which call failed, and for what, when the ring itself is gone', () => {
    const fd = dupFd(0); // the number that the ring will have
    closeFd(fd);
    const ring = Uring.open(4);
    assert.ok(ring);
    closeFd(fd);
    ring.prepNop(1);
    assert.throws(() => ring.submit(), /^.*io_uring_enter\(submit 1, wait for 0\): EBADF: set up/);
    const taken = dupFd(0); // for close() to close
    assert.equal(taken, fd);
    ring.close();
  });

  it('takes no other requests, even from somebody who writes them into its memory', () => {
    const others = new Set(ringFds()); // libuv's, of newer releases of Node
    withRing(4, (ring) => {
      const fd = ringFds().find((each) => !others.has(each)) ?? -1;
      const entry = libc.mmap(0, 4096, 3, 1, fd, 0x1000_0000); // IORING_OFF_SQES
      assert.ok(entry > 0);
      const opcodes = new Uint8Array(libc.rawView(entry, 256));
      const refused = [18, 45, 46, 28, 36, 13, 16]; // OPENAT, SOCKET, URING_CMD, OPENAT2, …
      refused.forEach((opcode, i) => {
        assert.ok(ring.prepNop(i));
        opcodes[(i % 4) * 64] = opcode;
        assert.equal(only(ring), errno('EACCES'), `opcode ${String(opcode)}`);
      });
      const flags = [1, 2, 4, 8, 16]; // FIXED_FILE, IO_DRAIN, IO_LINK, IO_HARDLINK, ASYNC
      for (const flag of flags) {
        const at = refused.length + flags.indexOf(flag);
        assert.ok(ring.prepNop(9));
        opcodes[(at % 4) * 64 + 1] = flag;
        assert.equal(only(ring), errno('EACCES'), `flag ${String(flag)}`);
      }
      ring.prepNop(9);
      assert.equal(only(ring), 0);
      libc.munmap(entry, 4096);
    });
  });

  it('closes with requests under way', () => {
    const { notifier, consumer } = createNotifier();
    withRing(4, (ring) => {
      ring.prepPollAdd(consumer.fd, READABLE, 1);
      ring.submit();
    });
    notifier.signal();
    notifier.close();
    consumer.close();
  });
});
