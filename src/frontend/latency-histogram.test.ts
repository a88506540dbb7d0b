/**
 * Percentiles from buckets against percentiles from a sorted list.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { LatencyHistogram } from './latency-histogram.ts';

const latency = fc.oneof(
  fc.nat(100),
  fc.nat(1_000_000),
  fc.double({ min: 0, max: 2 ** 35, noNaN: true }),
);

describe('LatencyHistogram', () => {
  it('a percentile is not below the true one, and not more than 3.2 % above it', () => {
    fc.assert(
      fc.property(fc.array(latency, { minLength: 1, maxLength: 300 }), (list) => {
        const histogram = new LatencyHistogram();
        for (const ns of list) histogram.record(ns);
        const sorted = list.toSorted((a, b) => a - b);
        for (const percent of [1, 50, 90, 99, 100]) {
          const exact = sorted[Math.max(1, Math.ceil((percent / 100) * list.length)) - 1]!;
          const got = histogram.percentileNs(percent);
          assert.ok(
            got >= Math.floor(exact),
            `p${String(percent)}: ${String(got)} < ${String(exact)}`,
          );
          assert.ok(
            got <= exact * 1.032 + 1,
            `p${String(percent)}: ${String(got)} > ${String(exact)}`,
          );
        }
        assert.equal(histogram.maxNs, sorted.at(-1));
        assert.equal(histogram.count, list.length);
      }),
    );
  });

  it('adds up and forgets', () => {
    const [a, b] = [new LatencyHistogram(), new LatencyHistogram()];
    a.record(10);
    b.record(1000);
    b.record(2000);
    a.add(b);
    assert.equal(a.count, 3);
    assert.equal(a.maxNs, 2000);
    assert.ok(Math.abs(a.meanNs - 3010 / 3) < 1e-9);
    a.clear();
    assert.deepEqual([a.count, a.maxNs, a.meanNs, a.percentileNs(99)], [0, 0, 0, 0]);
  });

  it('what is longer than a minute counts as the longest', () => {
    const histogram = new LatencyHistogram();
    histogram.record(1e15);
    assert.equal(histogram.percentileNs(50), 2 ** 36 - 1);
    assert.equal(histogram.maxNs, 1e15);
  });
});
