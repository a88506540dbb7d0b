/**
 * Tests of what is measured of a server that knows many files: by our own, with few files.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PROGRAM_FILE } from '../../test/support/program.ts';
import { lookAtMemory, makeMemoryTree } from './memory.ts';
import { ourFsPlan } from './servers.ts';

const FILES = 2500;
const NOFILE = 256;
const skip = process.platform === 'linux' ? false : 'it looks into /proc';

test(
  'a server is looked at before, with all files, after FORGET, and alone',
  { skip },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vhu-memory-'));
    try {
      const shared = join(folder, 'share');
      mkdirSync(shared);
      makeMemoryTree(join(shared, 'tree'), FILES);
      const options = { entry: PROGRAM_FILE, extraArgs: [], nodeArgs: [], posix: false };
      const plan = ourFsPlan('auto', { folder, shared, peerRoot: '' }, options);
      const how = { servers: ['ours'], files: FILES, nofile: [NOFILE] } as const;
      const limits = { memoryBytes: 512 * 2 ** 20, settleMs: 500 };
      const seen = await lookAtMemory(plan, { ...how, ...limits }, NOFILE);
      assert.equal(seen.failure, null);
      assert.equal(seen.filesKnown, FILES);
      const { idle, known, forgotten, gone } = seen;
      assert.ok(gone !== null, 'our server serves the next front-end');
      for (const { bytes, peakBytes } of [idle, known, forgotten, gone]) {
        assert.ok(
          bytes > 2 ** 20 && bytes <= peakBytes,
          `${String(bytes)} of ${String(peakBytes)}`,
        );
      }
      // The folders of the tree are open, and files that are only looked up are not.
      assert.ok(seen.descriptorsMax >= known.descriptors && seen.descriptorsMax < NOFILE);
      assert.ok(known.descriptors - forgotten.descriptors >= 3, String(known.descriptors));
      // Two are opened by the first session, and stay; of a guest that is killed nothing does.
      const kept = gone.descriptors - idle.descriptors;
      assert.ok(kept <= 2, `${String(kept)} are kept`);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
