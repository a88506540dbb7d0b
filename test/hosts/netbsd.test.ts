/**
 * What `src/sys` does on NetBSD by itself: names of functions, directories without positions, two
 * sizes of kevent, and what has to reach the disk. Played on Linux, by a child.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';

const TIME_LIMIT_MS = 120_000;
const ENDING = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const DOOR = new URL(`../../src/sys/index.${ENDING}`, import.meta.url).href;
const KQUEUE = new URL(`../../src/sys/poller-kqueue.${ENDING}`, import.meta.url).href;
const POSE = new URL(`netbsd-pose.${ENDING}`, import.meta.url).href;
const skip = process.platform === 'linux' ? false : 'NetBSD is played on Linux only';

const START = `
const sys = await import(${JSON.stringify(DOOR)});
const seen = globalThis.netbsd;
const block = new sys.NativeBlock(4096);
const show = (value) => console.log(JSON.stringify(value));
`;

/** What statements print in a child that takes this host for NetBSD. */
function answer(source: string, release = '11'): unknown {
  const args = ['--import', POSE, '--input-type=module', '-e', START + source];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    env: { ...process.env, VHU_NETBSD: release, VHOST_USER_HOST: '', NODE_TEST_CONTEXT: '' },
    encoding: 'utf8',
    timeout: TIME_LIMIT_MS,
  });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

describe('NetBSD', { skip }, () => {
  it('has the functions that its headers mean, and those of another library', () => {
    const result = answer(`show([
      ['__socket30', '__fstat50', '__fstatvfs90', '__getdents30', '__kevent100', 'openat']
        .filter((each) => !seen.names.has(each)),
      ['socket', 'fstat', 'fstatfs', 'fstatvfs', 'getdents', 'kevent', '__kevent50']
        .filter((each) => seen.names.has(each)),
      seen.libraries, seen.names.has('shm_open')]);`);
    assert.deepEqual(result, [[], [], ['librt.so.1'], true]);
  });

  it('hands out entries with positions, without those that are deleted or hidden', () => {
    const result = answer(`
      const names = Array.from({ length: 11 }, (_, i) => 'file' + 'x'.repeat(i) + i);
      seen.folder = names.map((name, i) => ({ ino: i === 5 ? 0 : 2 ** 33 + i, type: 8, name }));
      seen.folder[6].type = 14;
      for (const i of [8, 9, 10]) seen.folder[i].ino = 0; // a whole block, and the last
      seen.folder[10].ino = 77;
      const cursor = new sys.DirCursor();
      const decoder = new TextDecoder();
      const read = (bytes) => {
        const found = [];
        for (;;) {
          const count = sys.readDirBlock(3, block.address, bytes);
          if (count <= 0) return [found, count];
          for (let at = 0; at < count; ) {
            at = cursor.load(block.view, at, block.address);
            const name = block.bytes.subarray(cursor.nameAt, cursor.nameAt + cursor.nameBytes);
            found.push([decoder.decode(name), cursor.ino % 2 ** 33, cursor.offset, cursor.type]);
          }
        }
      };
      const [all, end] = read(120);
      sys.seekDir(3, 4);
      const [rest] = read(4096);
      sys.seekDir(3, 0);
      show([all, end, JSON.stringify(rest) === JSON.stringify(all.slice(4)), read(16)[1]]);`);
    const kept = [0, 1, 2, 3, 4, 7, 10];
    const entries = kept.map((i) => [`file${'x'.repeat(i)}${i}`, i === 10 ? 77 : i, i + 1, 8]);
    assert.deepEqual(result, [entries, 0, true, -22]);
  });

  it('reads events of 72 bytes, of 40 before release 11, and takes EBADF for a pipe unread', () => {
    const source = `
      const { KqueuePoller } = await import(${JSON.stringify(KQUEUE)});
      const poller = KqueuePoller.open();
      poller.add(0, 7, 1);
      const [, kq, changes, count, events] = seen.calls.at(-1);
      seen.fails.kevent = 9; // EBADF
      poller.add(1, 8, 4); // an fd that is open
      let refused = '';
      try { poller.add(999, 9, 4); } catch (error) { refused = error.message; }
      seen.fails.kevent = 0;
      const ready = [poller.wait(0), poller.readyKey(0), poller.readyEvents(0)];
      const max = seen.calls.at(-1)[5];
      seen.fails.kevent = 9;
      poller.add(1, 10, 4);
      poller.add(2, 11, 4);
      seen.fails.kevent = 0;
      const two = [poller.wait(0), poller.readyKey(1)];
      show([kq, count, events, ready, two, /EBADF/.test(refused), max]);`;
    const wanted = [1000, 1, 0, [1, 8, 4], [2, 11], true, 64];
    assert.deepEqual(answer(source), wanted);
    assert.deepEqual(answer(source, '10'), wanted);
  });

  it('empties the disk’s own cache, and takes fsync for what is not open for writing', () => {
    const result = answer(`
      const tried = (call, errno) => {
        seen.calls.length = 0;
        seen.fails.fsync_range = errno;
        return [call(), seen.calls.map(([name, , how]) => [name, how ?? null])];
      };
      const data = () => sys.dataSync(3);
      const all = () => sys.syncFd(3, false);
      show([tried(data, 0), tried(all, 0), tried(all, 9), tried(data, 5), tried(data, 25)]);`);
    assert.deepEqual(result, [
      [0, [['fsync_range', 0x50]]],
      [0, [['fsync_range', 0x60]]],
      [
        0,
        [
          ['fsync_range', 0x60],
          ['fsync', null],
        ],
      ],
      [-5, [['fsync_range', 0x50]]],
      [
        0,
        [
          ['fsync_range', 0x50],
          ['fsync', null],
        ],
      ],
    ]);
  });
});
