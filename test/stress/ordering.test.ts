/**
 * The short run of the ordering stress; `ordering.ts` itself is the long one.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatRound, runStress } from './ordering.ts';

const EXCHANGES = 2e6;

describe('memory ordering between two processes', () => {
  it('2 million exchanges: nothing is lost, doubled or stale, and nobody stalls', async (t) => {
    const reports = await runStress({ exchanges: EXCHANGES });
    for (const report of reports) {
      t.diagnostic(formatRound(report));
      assert.equal(report.exchanges, EXCHANGES / 4);
      assert.equal(report.device.served, report.exchanges);
      // Suppression works: both were told far less often than once per exchange, and did sleep.
      assert.ok(report.kicks < report.exchanges / 2, 'kicks');
      assert.ok(report.device.calls < report.exchanges / 2, 'calls');
      assert.ok(report.sleeps > 0 && report.device.sleeps > 0, 'sleeps');
    }
  });
});
