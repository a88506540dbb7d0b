/**
 * What is read from /proc.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { describe, it } from 'node:test';
import { parseIdle } from './others.ts';
import {
  cpuBetweenNs,
  hasListener,
  parseChildren,
  parsePeak,
  parseSchedstat,
  parseStat,
  parseStatus,
  sampleTree,
  treeFootprint,
  treePids,
  trySampleCpu,
} from './proc.ts';
import type { CpuSample } from './proc.ts';
import { killAll, startProcess } from './process.ts';

function sample(threads: Record<string, number>, coarseNs: number): CpuSample {
  const entries = Object.entries(threads).map(([tid, ns]) => [Number(tid), ns] as const);
  return { threads: new Map(entries), coarseNs };
}

describe('CPU time', () => {
  it('of a thread is the first number of its schedstat', () => {
    assert.equal(parseSchedstat('1952807 5177 4\n'), 1952807);
  });

  it('of a process is found behind a name with brackets and blanks', () => {
    const before = '7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0';
    const stat = `${before} 250 50 9 8 20 0 3 0 12345`;
    assert.equal(parseStat(stat), 3_000_000_000);
    assert.equal(parseChildren(stat), 170_000_000);
  });

  it('that nobody used is idle time, and waiting for I/O', () => {
    const text = 'cpu  10 20 30 4000 500 0 7 0 0 0\ncpu0 1 2 3 4 5 6 7 0 0 0\n';
    assert.equal(parseIdle(text), 45_000_000_000);
  });

  it('between two samples is that of all threads, and of new ones from their start', () => {
    const before = sample({ 1: 100, 2: 1000 }, 0);
    const after = sample({ 1: 150, 2: 1000, 3: 7 }, 10_000_000);
    assert.equal(cpuBetweenNs(before, after), 57);
  });

  it('of a thread that has ended is taken from the coarse sum', () => {
    const before = sample({ 1: 100, 2: 1000 }, 20_000_000);
    const after = sample({ 1: 150 }, 50_000_000);
    assert.equal(cpuBetweenNs(before, after), 30_000_000);
    assert.equal(cpuBetweenNs(before, { ...after, coarseNs: 20_000_000 }), 50);
  });
});

describe('a process and its descendants', () => {
  it('are measured together, and one that has ended has none', async () => {
    const command = { file: 'sh', args: ['-c', 'sleep 30 & echo $!; wait'] };
    const child = startProcess(command, { stdio: ['ignore', 'pipe', 'ignore'] });
    const [line] = (await once(child.stdout!, 'data')) as [Buffer];
    const pid = child.pid!;
    assert.deepEqual(treePids(pid), [pid, Number(line.toString())]);
    assert.equal(sampleTree(pid).threads.size, 2);
    killAll();
    await once(child, 'exit');
    assert.deepEqual(treePids(pid), [pid]);
    assert.equal(trySampleCpu(pid), null);
    assert.throws(() => sampleTree(pid), { code: 'ERR_VHU_BENCH_PROCESS' });
  });
});

describe('memory', () => {
  it('is anonymous and file pages, without what is shared', () => {
    const lines = ['Name:\tnode', 'VmRSS:\t   60 kB', 'RssAnon:\t   20 kB', 'RssFile:\t   30 kB'];
    const text = [...lines, 'RssShmem:\t   10 kB', ''].join('\n');
    assert.equal(parseStatus(text), 50 * 1024);
  });

  it('was at most what was resident, without what is shared', () => {
    const text = 'VmHWM:\t   90 kB\nVmRSS:\t   60 kB\nRssShmem:\t   10 kB\n';
    assert.equal(parsePeak(text), 80 * 1024);
  });

  it('of this process is there, with as many descriptors as it has', () => {
    const before = treeFootprint(process.pid);
    const fds = Array.from({ length: 20 }, () => openSync('/dev/null', 'r'));
    const after = treeFootprint(process.pid);
    for (const fd of fds) closeSync(fd);
    assert.equal(after.descriptors - before.descriptors, 20);
    assert.ok(before.bytes > 2 ** 20 && before.peakBytes >= before.bytes);
    assert.equal(treeFootprint(2 ** 30).bytes, 0);
  });
});

describe('hasListener', () => {
  const text = `Num       RefCount Protocol Flags    Type St Inode Path
00000000e8: 00000002 00000000 00010000 0001 01 12345 /dev/shm/x/a.sock
00000000e9: 00000002 00000000 00000000 0001 01 12346 /dev/shm/x/b.sock
00000000ea: 00000003 00000000 00000000 0001 03 12347
`;

  it('finds who listens', () => assert.ok(hasListener(text, '/dev/shm/x/a.sock')));

  it('a socket that is bound and does not listen yet is none', () => {
    assert.ok(!hasListener(text, '/dev/shm/x/b.sock'));
  });

  it('part of a path is not it', () => assert.ok(!hasListener(text, '/dev/shm/x/a')));
});
