/**
 * What the guest's script is, by running its parts, and what its lines mean.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { chosenLines, guestLines, guestScript, parseGuestLine } from './guest-script.ts';

const LINES = guestLines({ seconds: 1 });

describe('the script of the guest', () => {
  it('is one that a shell can read, whatever is chosen', () => {
    for (const lines of [LINES, LINES.slice(0, 1), LINES.slice(-1)]) {
      const script = guestScript(lines, 'theirs');
      execFileSync('sh', ['-n'], { input: script });
    }
  });

  it('measures each line on both sides, the first one first', () => {
    const calls = guestScript(LINES, 'theirs').match(/^measure .*$/gm) ?? [];
    assert.equal(calls.length, 2 * LINES.length);
    assert.equal(calls[0], 'measure theirs read-1 read_1');
    assert.equal(calls[1], 'measure ours read-1 read_1');
  });

  it('what uses the files of another line is not measured without it', () => {
    const ids = (wanted: string): string[] =>
      chosenLines(LINES, ({ id }) => id === wanted).map(({ id }) => id);
    assert.deepEqual(ids('unlink'), ['create', 'stat', 'unlink']);
    assert.deepEqual(ids('tar'), ['tar', 'rm']);
    assert.deepEqual(ids('walk'), ['walk']);
  });
});

describe('a line of the console', () => {
  it('says when a measurement begins, and when it ends with what', () => {
    assert.deepEqual(parseGuestLine('@bench.begin=ours read-1'), {
      what: 'begin',
      side: 'ours',
      id: 'read-1',
    });
    assert.deepEqual(parseGuestLine('@bench.end=theirs create 5000 1230\r'), {
      what: 'end',
      side: 'theirs',
      id: 'create',
      count: 5000,
      ms: 1230,
    });
  });

  it('that is of somebody else says nothing', () => {
    assert.equal(parseGuestLine('[    1.0] virtiofs: probed'), null);
    assert.equal(parseGuestLine('@status=0'), null);
  });

  for (const bad of [
    '@bench.end=ours read-1 0 100',
    '@bench.end=ours read-1  ',
    '@bench.end=ours x',
  ]) {
    it(`"${bad}" is no measurement`, () => {
      assert.throws(() => parseGuestLine(bad), { code: 'ERR_VHU_BENCH_PROCESS' });
    });
  }
});
