/**
 * Tests of the test kit's look at a process that has nothing to do.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { expectIdle } from './index.ts';

test('a process that sleeps is idle, and one with a thread that spins is not', async () => {
  await expectIdle();
  const spinner = new Worker('for (;;);', { eval: true });
  try {
    await assert.rejects(expectIdle(4), { code: 'ERR_VHU_MOCK_TIMEOUT' });
  } finally {
    await spinner.terminate();
  }
  await expectIdle();
});
