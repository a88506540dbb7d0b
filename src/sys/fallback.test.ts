/**
 * Telling of what is done instead of a call that the kernel refuses.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { fallbackText, fellBack, onFallback } from './index.ts';

describe('a fallback', () => {
  after(() => onFallback(null));

  it('is told once for each call and way round, and to a listener that comes later too', () => {
    const heard: string[] = [];
    const hear = (call: string, instead: string): void => {
      if (call.startsWith('a test')) heard.push(fallbackText(call, instead));
    };
    fellBack('a test', 'one');
    fellBack('a test', 'one');
    onFallback(hear);
    assert.deepEqual(heard, ['a test is refused here: one instead']);
    fellBack('a test', 'one');
    fellBack('a test of another', 'two');
    fellBack('a test', 'three');
    assert.deepEqual(heard.slice(1), [
      'a test of another is refused here: two instead',
      'a test is refused here: three instead',
    ]);
  });

  it('is told to nobody once the listener is taken away', () => {
    let heard = 0;
    onFallback(() => {
      heard++;
    });
    const before = heard;
    fellBack('a last test', 'one');
    assert.equal(heard, before + 1);
    onFallback(null);
    fellBack('a last test', 'two');
    assert.equal(heard, before + 1);
  });
});
