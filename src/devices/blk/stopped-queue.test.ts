/**
 * What a disk gives back to the host when its guest stops a queue: the memory of long requests.
 *
 * @module
 */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { TestBackend } from '../../testing/index.ts';
import { openBlk } from './index.ts';

const QUEUE_SIZE = 256;
/** `struct iovec` of 1024 buffers, for each request that a queue may hold. */
const ARRAYS_BYTES = QUEUE_SIZE * 1024 * 16;
const MAPS = '/proc/self/maps';

type Range = readonly [number, number];

/** All that is mapped, in the order of addresses. */
function mapped(): Range[] {
  const lines = readFileSync(MAPS, 'latin1').matchAll(/^([0-9a-f]+)-([0-9a-f]+) /gm);
  return Array.from(lines, ([, from, to]): Range => [
    parseInt(from ?? '', 16),
    parseInt(to ?? '', 16),
  ]);
}

/** The longest range of `before` that is not mapped any more, in bytes. */
function longestGone(before: readonly Range[], after: readonly Range[]): number {
  let longest = 0;
  for (const [from, to] of before) {
    let at = from;
    for (const [start, end] of after) {
      if (end <= at || start >= to) continue;
      longest = Math.max(longest, start - at);
      at = end;
    }
    longest = Math.max(longest, to - at);
  }
  return longest;
}

const skip = existsSync(MAPS) ? false : 'only Linux tells what is mapped';

it('a disk whose queue is stopped maps the memory of its requests anew', { skip }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vhu-'));
  const image = join(folder, 'disk.img');
  writeFileSync(image, '');
  truncateSync(image, 65536);
  const device = openBlk({ image, lock: false, pollUs: 0, queueSize: QUEUE_SIZE });
  const served = await TestBackend.start(device);
  try {
    await served.session(async (frontend, keep) => {
      const guest = keep(await frontend.bringUp({ queueSize: QUEUE_SIZE }));
      const read = async (): Promise<void> => {
        const done = await guest.queue(0).exchange([new Uint8Array(16)], [512, 512, 1]);
        assert.equal(done.written[1024], 0);
      };
      await read();
      const before = mapped();
      await read();
      const running = longestGone(before, mapped());
      await guest.stopQueue(0);
      const stopped = longestGone(before, mapped());
      assert.ok(running < ARRAYS_BYTES, `${running} bytes while it runs`);
      assert.ok(stopped >= ARRAYS_BYTES, `${stopped} bytes at the stop`);
    });
  } finally {
    await served.close();
    rmSync(folder, { recursive: true });
  }
});
