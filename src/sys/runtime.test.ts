/**
 * What a runtime is asked before anything is done on it.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openFdCount } from './index.ts';
import { checkRuntime } from './runtime.ts';

test('this runtime takes descriptors that came by a call of C, and loses none by the question', () => {
  const before = openFdCount();
  checkRuntime();
  assert.equal(openFdCount(), before);
});

test('a runtime that knows only its own descriptors is refused, with what to do', () => {
  const before = openFdCount();
  const blind = (): never => {
    throw Object.assign(new Error('bad file descriptor'), { code: 'EBADF' });
  };
  assert.throws(() => checkRuntime(blind), { code: 'ERR_VHU_HOST', message: /use Node or Bun$/ });
  assert.equal(openFdCount(), before);
});
