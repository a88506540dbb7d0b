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

  it('the middle one is in the bucket of the true one, at its rank there', () => {
    fc.assert(
      fc.property(fc.array(latency, { minLength: 1, maxLength: 300 }), (list) => {
        const histogram = new LatencyHistogram();
        for (const ns of list) histogram.record(ns);
        const exact = list.toSorted((a, b) => a - b)[Math.ceil(list.length / 2) - 1]!;
        const got = histogram.medianNs;
        assert.ok(Math.abs(got - exact) <= exact * 0.032 + 1, `${String(got)}: ${String(exact)}`);
      }),
    );
    const even = new LatencyHistogram();
    for (let ns = 6144; ns < 6272; ns++) even.record(ns); // two buckets, each full
    assert.ok(Math.abs(even.medianNs - 6208) <= 1, String(even.medianNs));
    for (let i = 0; i < 32; i++) even.record(6300); // 16 ranks further up, of the same bucket
    assert.ok(Math.abs(even.medianNs - 6224) <= 1, String(even.medianNs));
    assert.equal(new LatencyHistogram().medianNs, 0);
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
