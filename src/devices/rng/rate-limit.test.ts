/**
 * The rate limit against a model: whatever is asked for and when, no period has more than it may.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { RateLimit } from './rate-limit.ts';

describe('a rate limit', () => {
  it('gives a whole period at once, then nothing until the next', () => {
    const limit = new RateLimit(100, 1000);
    assert.equal(limit.available(5000), 100);
    limit.spend(70, 5000);
    assert.equal(limit.available(5000), 30);
    limit.spend(30, 5400);
    assert.equal(limit.available(5999), 0);
    assert.equal(limit.waitMs(5400), 600);
    assert.equal(limit.available(6000), 100);
  });

  it('begins a period with the first bytes, so that a pause costs nothing', () => {
    const limit = new RateLimit(100, 1000);
    limit.spend(100, 0);
    assert.equal(limit.available(2500), 100);
    limit.spend(0, 2500);
    limit.spend(100, 2600);
    assert.equal(limit.waitMs(2600), 1000);
  });

  it('gives no more than twice its bytes in the time of one period, whenever that begins', () => {
    const step = fc.record({ waitMs: fc.nat(400), want: fc.nat(300) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const limit = new RateLimit(100, 250);
        const given: { readonly ms: number; readonly bytes: number }[] = [];
        let nowMs = 0;
        for (const { waitMs, want } of steps) {
          nowMs += waitMs;
          const bytes = Math.min(want, limit.available(nowMs));
          limit.spend(bytes, nowMs);
          given.push({ ms: nowMs, bytes });
          if (bytes === 0 && want > 0) {
            assert.ok(limit.waitMs(nowMs) > 0);
            assert.equal(limit.available(nowMs + limit.waitMs(nowMs)), 100);
          }
        }
        for (const { ms: start } of given) {
          const within = given.filter(({ ms }) => ms >= start && ms < start + 250);
          const sum = within.reduce((total, { bytes }) => total + bytes, 0);
          assert.ok(sum <= 200, `${sum} bytes in 250 ms`);
        }
        const all = given.reduce((total, { bytes }) => total + bytes, 0);
        assert.ok(all <= 100 * (1 + Math.floor(nowMs / 250)), `${all} bytes in ${nowMs} ms`);
      }),
    );
  });
});
