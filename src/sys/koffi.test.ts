/**
 * Tests of koffi that does not load.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VhostUserError } from '../util/index.ts';
import { loadKoffi } from './koffi.ts';

/** What is thrown when the loader throws this. */
function thrownFor(error: unknown): VhostUserError {
  try {
    loadKoffi(() => {
      throw error;
    });
  } catch (thrown) {
    assert.ok(thrown instanceof VhostUserError);
    return thrown;
  }
  throw new Error('it was loaded');
}

test('koffi that does not load says on which host, what the loader said, and what to do', () => {
  const cause = new Error("Cannot find module 'koffi'\nRequire stack:\n- /somewhere/libc.js");
  const error = thrownFor(cause);
  assert.equal(error.code, 'ERR_VHU_KOFFI');
  assert.equal(error.cause, cause);
  const where = `${process.platform}-${process.arch} with Node ${process.versions.node}`;
  assert.ok(error.message.includes(` does not load on ${where}: Cannot find module 'koffi'. Its`));
  assert.match(error.message, /'npm install --include=optional'; 'vhost-user doctor' says which/);
  assert.doesNotMatch(error.message, /Require stack/);
  assert.match(thrownFor('bundled?').message, /: bundled\? Its binary/);
});

test('koffi that loads is the same each time', () => {
  const koffi = loadKoffi();
  assert.equal(typeof koffi.load(null).func, 'function');
  assert.equal(loadKoffi(), koffi);
});
