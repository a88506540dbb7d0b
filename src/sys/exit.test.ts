/**
 * Work at the end of the process.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { atExit } from './index.ts';

describe('work at the end of the process', () => {
  it('needs one listener for any number, and none once all was taken back', () => {
    const before = process.listenerCount('exit');
    const calls: number[] = [];
    const cancels = Array.from({ length: 50 }, (_, i) => atExit(() => calls.push(i)));
    assert.equal(process.listenerCount('exit'), before + 1);
    cancels.slice(2).forEach((cancel) => {
      cancel();
      cancel();
    });
    for (const listener of process.listeners('exit').slice(before)) {
      (listener as () => void)();
    }
    assert.deepEqual(calls, [0, 1]);
    cancels.forEach((cancel) => {
      cancel();
    });
    assert.equal(process.listenerCount('exit'), before);
  });
});
