/**
 * What the guest's script is, by running its parts, and what its lines mean.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { chosenLines, guestLines, guestScript, parseGuestLine, turns } from './guest-script.ts';

const LINES = guestLines();
const EFFORT = { seconds: 1 };

describe('the script of the guest', () => {
  it('is one that a shell can read, whatever is chosen', () => {
    for (const lines of [LINES, LINES.slice(0, 1), LINES.slice(-1)]) {
      const script = guestScript(lines, 'theirs', EFFORT);
      execFileSync('sh', ['-n'], { input: script });
    }
  });

  it('measures each line on both sides, the first one first', () => {
    const script = guestScript(LINES, 'theirs', EFFORT);
    // Of Thue and Morse: each half is the other one with the sides changed.
    const [abba, baab] = ['theirs ours ours theirs', 'ours theirs theirs ours'];
    const fair = `${abba} ${baab} ${baab} ${abba}`.split(' ');
    for (const { id, turnsEach } of LINES) {
      const sides = [...script.matchAll(new RegExp(`^measure (\\S+) ${id} line_`, 'gm'))];
      const order = sides.map(([, side]) => side).join(' ');
      assert.equal(order, fair.slice(0, 2 * turnsEach).join(' '), id);
    }
  });

  it('measures what changes nothing more than once, so that time alone favours no side', () => {
    const once = LINES.filter(({ turnsEach }) => turnsEach === 1).map(({ id }) => id);
    assert.deepEqual(once, ['create', 'unlink', 'tar', 'rm']);
    for (const line of LINES) {
      const order = turns(line, 'ours');
      const ours = order.filter((side) => side === 'ours');
      assert.deepEqual([order.length, ours.length], [2 * line.turnsEach, line.turnsEach], line.id);
    }
  });

  it('runs each line of fio, and the walk, on both sides before anything is measured', () => {
    const script = guestScript(LINES, 'theirs', EFFORT);
    const warmUp = /^warm_up\(\) \{\n([^]*?)\n\}/m.exec(script)?.[1] ?? '';
    const whole = LINES.filter(({ id, blockBytes }) => blockBytes > 0 || id === 'walk');
    assert.equal(whole.length, 11);
    for (const { id } of whole) assert.ok(warmUp.includes(`line_${id.replaceAll('-', '_')}`), id);
    assert.ok(script.indexOf('\nwarm_up ours') < script.indexOf('\nmeasure '));
    assert.ok(script.indexOf('time=1000ms') > script.indexOf('\nwarm_up ours'));
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
