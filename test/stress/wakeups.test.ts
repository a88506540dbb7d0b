/**
 * The short run of the stress of wake-ups; `wakeups.ts` itself is the long one.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatWakeups, runWakeups } from './wakeups.ts';

const EXCHANGES = 2e5;

describe('wake-ups between drivers and a whole runner', () => {
  it('200,000 exchanges while rings are stopped, moved and switched off: all wake', async (t) => {
    const reports = await runWakeups({ exchanges: EXCHANGES });
    assert.ok(reports.length >= 12, 'threads and the event loop, all ways to be notified');
    const done: Record<string, number> = {};
    for (const report of reports) {
      t.diagnostic(formatWakeups(report));
      assert.ok(report.exchanges >= EXCHANGES / reports.length);
      // Both sides did sleep, and were not told each time.
      for (const driver of report.drivers) assert.ok(driver.sleeps > 0, report.name);
      assert.ok(report.kicks > 0 && report.kicks < report.exchanges, report.name);
      assert.ok(report.calls > 0 && report.calls < report.exchanges, report.name);
      assert.equal(report.sleeps > 0, report.waits !== 'event loop', report.name);
      for (const [what, times] of Object.entries(report.disturbances)) {
        done[what] = (done[what] ?? 0) + times;
      }
    }
    for (const [what, times] of Object.entries(done)) assert.ok(times >= reports.length, what);
  });
});
