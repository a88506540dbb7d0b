/**
 * The content of a file in memory against one plain buffer: any steps, near the beginning and far
 * behind it, and all memory comes back.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Budget } from './budget.ts';
import { FileData } from './file-data.ts';

const MODEL_BYTES = 300_000;
const BUDGET_BYTES = 1 << 20;

type Step =
  | { readonly do: 'write'; readonly at: number; readonly bytes: number; readonly fill: number }
  | { readonly do: 'truncate'; readonly at: number }
  | { readonly do: 'punch' | 'reserve' | 'read'; readonly at: number; readonly bytes: number };

/** Round numbers find edges of chunks and pages. */
const position = fc.oneof(
  fc.nat(MODEL_BYTES),
  fc.constantFrom(0, 1, 4095, 4096, 8192, 65_535, 65_536, 65_537, 131_072, 200_000, 262_144),
);
const length = fc.oneof(fc.nat(100_000), fc.constantFrom(1, 4096, 65_536, 65_537));
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constant('write' as const),
    at: position,
    bytes: length,
    fill: fc.integer({ min: 1, max: 255 }),
  }),
  fc.record({ do: fc.constant('truncate' as const), at: position }),
  fc.record({
    do: fc.constantFrom('punch' as const, 'reserve' as const, 'read' as const),
    at: position,
    bytes: length,
  }),
);

/** A file that is one buffer. */
class Model {
  bytes: Uint8Array = new Uint8Array(0);

  resize(size: number): void {
    const grown = new Uint8Array(size);
    grown.set(this.bytes.subarray(0, size));
    this.bytes = grown;
  }

  apply(each: Step): void {
    if (each.do === 'truncate') this.resize(each.at);
    if (each.do === 'punch') this.bytes.fill(0, each.at, each.at + each.bytes);
    if (each.do !== 'write' || each.bytes === 0) return;
    if (each.at + each.bytes > this.bytes.length) this.resize(each.at + each.bytes);
    this.bytes.fill(each.fill, each.at, each.at + each.bytes);
  }
}

function apply(data: FileData, each: Step, base: number): void {
  switch (each.do) {
    case 'write':
      data.write(new Uint8Array(each.bytes).fill(each.fill), base + each.at);
      break;
    case 'truncate':
      data.truncate(base + each.at);
      break;
    case 'punch':
      data.punch(base + each.at, each.bytes);
      break;
    case 'reserve':
      data.reserve(base + each.at, each.bytes);
      break;
    case 'read':
      break;
  }
}

/** Between data that is found by seeking there are zeroes only. */
function checkHoles(data: FileData, model: Uint8Array, base: number): void {
  for (let at = 0; at < model.length;) {
    let start = model.length;
    try {
      start = data.seekData(base + at) - base;
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'ENXIO');
    }
    assert.ok(start >= at && start <= model.length);
    assert.ok(
      model.subarray(at, start).every((byte) => byte === 0),
      'a hole holds nothing',
    );
    if (start >= model.length) return;
    at = data.seekHole(base + start) - base;
    assert.ok(at > start && at <= model.length);
  }
}

describe('a file in memory', () => {
  it('holds what was written, whatever else was done to it', () => {
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 40 }),
        fc.constantFrom(0, 65_536 * 163_840, 4 * 2 ** 40 + 12_345),
        (steps, base) => {
          const budget = new Budget(BUDGET_BYTES, 1);
          const data = new FileData(budget);
          data.truncate(base);
          const model = new Model();
          for (const each of steps) {
            apply(data, each, base);
            model.apply(each);
            assert.equal(data.size, base + model.bytes.length);
            if (each.do !== 'read') continue;
            const into = new Uint8Array(each.bytes).fill(0xee);
            const count = data.read(into, base + each.at);
            const expected = model.bytes.subarray(each.at, each.at + each.bytes);
            assert.deepEqual(into.subarray(0, count), expected);
          }
          const all = new Uint8Array(model.bytes.length + 10);
          assert.equal(data.read(all, base), model.bytes.length);
          assert.deepEqual(all.subarray(0, model.bytes.length), model.bytes);
          checkHoles(data, model.bytes, base);
          assert.equal(budget.bytesMax - budget.bytesFree, data.allocated);
          data.close();
          assert.equal(budget.bytesFree, BUDGET_BYTES, 'all memory comes back');
        },
      ),
      { numRuns: 300 },
    );
  });
});
