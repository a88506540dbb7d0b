/**
 * The short run of the stress of a shared folder's borders; `fs-escape.ts` itself is the long one.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatEscape, runEscape, runNaive } from './fs-escape.ts';

const SECONDS = 10;
const CONTROL_SECONDS = 2;

describe('the borders of a shared folder', () => {
  it('hold while the host swaps folders for links and the guest tries everything', async (t) => {
    const seed = Date.now() % 2 ** 31;
    const report = await runEscape({ seconds: SECONDS, seed });
    t.diagnostic(`seed ${String(seed)}`);
    for (const line of formatEscape(report).split('\n')) t.diagnostic(line);
    assert.deepEqual(report.escapes, []);
    assert.equal(report.leakedFds, 0);
    // Both sides were at it, and the guest got somewhere with each kind of request.
    assert.ok(report.host.swaps > 100, 'swaps');
    for (const name of ['lookup', 'read', 'write', 'create', 'rename', 'link', 'unlink', 'mkdir']) {
      assert.ok((report.successes.get(name) ?? 0) > 0, name);
    }
  });

  it('would not hold for somebody who goes by paths', async () => {
    assert.ok((await runNaive(CONTROL_SECONDS, 1)) > 0);
  });
});
