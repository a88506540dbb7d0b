/**
 * Writes that are made at once as long as they do not keep the thread waiting: the rules, with a
 * clock and calls of the test's own, and what the kernel really counts.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import {
  BriskWriter,
  ERRNO,
  mapAnonymous,
  monotonicUs,
  threadSleeps,
  viewMemory,
} from './index.ts';

const EAGAIN = -(ERRNO.EAGAIN as number);
const EIO = -(ERRNO.EIO as number);
const MS = 1000;
const FAST_US = 2;
const NO_DISK = 'the kernel says which threads have slept on Linux only';

/** A disk of which each write takes as long as the test wants. */
class Disk {
  nowUs = 5_000_000;
  slept = 0;
  asked = 0;
  writes = 0;
  /** Of the next write. */
  takesUs = FAST_US;
  sleeps = false;
  result = 4096;
  readonly writer = new BriskWriter({
    now: () => this.nowUs,
    sleeps: () => {
      this.asked++;
      return this.slept;
    },
    write: () => {
      this.writes++;
      this.nowUs += this.takesUs;
      if (this.sleeps) this.slept++;
      return this.result;
    },
  });

  /** One write that takes so long, asleep or not; its result. */
  write(takesUs = FAST_US, sleeps = false): number {
    this.takesUs = takesUs;
    this.sleeps = sleeps;
    return this.writer.write(3, 0, 1, 0);
  }

  /** Two writes that sleep for so long: the first one raises the suspicion. */
  stall(takesUs: number): void {
    this.write(takesUs, true);
    this.write(takesUs, true);
  }
}

describe('writes that are made at once', () => {
  it('are, and nobody asks whether the thread has slept, while none takes long', () => {
    const disk = new Disk();
    for (let i = 0; i < 1000; i++) assert.equal(disk.write(499), 4096);
    assert.equal(disk.asked, 0);
  });

  it('are refused for a while after a second one that slept for long', () => {
    const disk = new Disk();
    assert.equal(disk.write(2 * MS, true), 4096);
    assert.equal(disk.write(), 4096, 'one may have been anything');
    assert.equal(disk.write(2 * MS, true), 4096);
    assert.equal(disk.write(), EAGAIN);
    assert.equal(disk.writes, 3);
    disk.nowUs += 100 * MS - 1;
    assert.equal(disk.write(), EAGAIN, 'for a tenth of a second');
    disk.nowUs += 1;
    assert.equal(disk.write(), 4096);
    assert.equal(disk.write(), 4096);
  });

  it('are refused for longer, the longer the thread slept, up to ten seconds', () => {
    for (const [sleptMs, refusedMs] of [
      [1, 100],
      [10, 320],
      [200, 6400],
      [5000, 10_000],
    ] as const) {
      const disk = new Disk();
      disk.stall(sleptMs * MS);
      disk.nowUs += refusedMs * MS - 1;
      assert.equal(disk.write(), EAGAIN, `${String(sleptMs)} ms`);
      disk.nowUs += 1;
      assert.equal(disk.write(), 4096, `${String(sleptMs)} ms`);
    }
  });

  it('are refused again after the first one that sleeps when they are tried again', () => {
    const disk = new Disk();
    disk.stall(10 * MS);
    disk.nowUs += 320 * MS;
    assert.equal(disk.write(10 * MS, true), 4096);
    assert.equal(disk.write(), EAGAIN);
  });

  it('cost a disk that stalls each of them a thirtieth of the time of the thread', () => {
    const disk = new Disk();
    const startUs = disk.nowUs;
    let asleepUs = 0;
    while (disk.nowUs - startUs < 60_000 * MS) {
      if (disk.write(20 * MS, true) === EAGAIN) disk.nowUs += 10;
      else asleepUs += 20 * MS;
    }
    const part = asleepUs / (disk.nowUs - startUs);
    assert.ok(part > 1 / 40 && part < 1 / 30, `${String(part)} of the time`);
  });

  it('go on when a thread that takes long is not asleep: it has to share its CPU', () => {
    const disk = new Disk();
    for (let i = 0; i < 50; i++) assert.equal(disk.write(4 * MS), 4096);
    assert.ok(disk.asked > 0, 'it was asked');
  });

  it('are watched for a second after one that took long, and no longer', () => {
    const disk = new Disk();
    disk.write(2 * MS, true);
    disk.nowUs += 1000 * MS;
    const before = disk.asked;
    assert.equal(disk.write(2 * MS, true), 4096);
    assert.equal(disk.asked, before, 'a second later it is like the first one');
    assert.equal(disk.write(), 4096);
    assert.equal(disk.asked, before + 1, 'it is watched now');
  });

  it('give back what the call says, an error too', () => {
    const disk = new Disk();
    disk.result = EIO;
    assert.equal(disk.write(), EIO);
    disk.result = 512;
    assert.equal(disk.write(), 512);
  });

  it('reach the file', () => {
    const folder = mkdtempSync(join(tmpdir(), 'vhu-brisk-'));
    const memory = mapAnonymous(4096);
    try {
      const bytes = new Uint8Array(viewMemory(memory.address, 4096));
      bytes.set(new TextEncoder().encode('brisk'), 1024);
      const iov = new DataView(bytes.buffer);
      iov.setBigUint64(0, BigInt(memory.address + 1024), true);
      iov.setBigUint64(8, 5n, true);
      const fd = openSync(join(folder, 'file'), 'w');
      assert.equal(new BriskWriter().write(fd, memory.address, 1, 3), 5);
      closeSync(fd);
      assert.equal(readFileSync(join(folder, 'file'), 'latin1'), '\0\0\0brisk');
    } finally {
      memory.unmap();
      rmSync(folder, { recursive: true });
    }
  });
});

describe('the sleeps of a thread', { skip: process.platform !== 'linux' && NO_DISK }, () => {
  it('are counted when it waits, not when it works', () => {
    const lock = new Int32Array(new SharedArrayBuffer(4));
    const before = threadSleeps();
    for (let i = 0; i < 5; i++) Atomics.wait(lock, 0, 0, 2);
    const waited = threadSleeps() - before;
    assert.ok(waited >= 5, `${String(waited)} sleeps, of 5 or more`);
    // Work is no sleep; the collector, which waits for its helpers, is not in all of these.
    const whileWorking = Array.from({ length: 10 }, () => {
      const still = threadSleeps();
      const untilUs = monotonicUs() + 2 * MS;
      while (monotonicUs() < untilUs);
      return threadSleeps() - still;
    });
    assert.equal(Math.min(...whileWorking), 0, whileWorking.join());
  });
});
