/**
 * The runner of the tests hides nothing: whatever way a file of tests goes wrong is a failure.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Check } from './outcome.ts';
import { closingLine, countOf, longestLines, proofLines } from './outcome.ts';
import { runTestFiles } from './test-files.ts';

async function run(name: string, limitMs: number = 30_000): Promise<Check[]> {
  const checks: Check[] = [];
  const file = `test/runner/fixtures/${name}.ts`;
  // A test in a test would report to its parent.
  const env = { NODE_TEST_CONTEXT: '', NODE_V8_COVERAGE: '' };
  await runTestFiles([file], { atATime: 1, limitMs, env }, (check) => checks.push(check));
  return checks;
}

function named(checks: readonly Check[], end: string): Check {
  const found = checks.find(({ name }) => name.endsWith(end));
  assert.ok(found, `${end} is not in ${checks.map(({ name }) => name).join('; ')}`);
  return found;
}

test('each test is counted once, with its reason', async () => {
  const checks = await run('mixed');
  assert.equal(named(checks, ': passes').status, 'passed');
  assert.match(named(checks, ': fails by an assertion').detail ?? '', /1 !== 2/);
  assert.equal(named(checks, 'fails inside > inner passes').status, 'passed');
  assert.match(named(checks, 'fails inside > inner fails').detail ?? '', /the inner reason/);
  assert.equal(named(checks, ': is skipped').detail, 'no such machine');
  assert.equal(named(checks, ': is skipped while it runs').detail, 'found out late');
  assert.ok(checks.some(({ detail }) => detail?.includes('the hook failed')));
  const count = countOf(checks);
  assert.equal(count.passed, 2);
  assert.equal(count.skipped, 2);
  assert.ok(count.failed >= 3);
});

test('what tests have proved is told, but not by one that failed', async () => {
  const checks = await run('proving');
  assert.deepEqual(named(checks, ': proves two things').proofs, [
    'sums: 2 of 2',
    'products: 1 of 1',
  ]);
  assert.deepEqual(named(checks, 'a suite > proves inside').proofs, ['inside: 1 of 1']);
  assert.equal(named(checks, 'a suite > proves nothing').proofs, undefined);
  assert.equal(named(checks, ': fails after its proof').status, 'failed');
  assert.deepEqual(proofLines([...checks, ...checks]), [
    'proof: sums: 2 of 2',
    'proof: products: 1 of 1',
    'proof: inside: 1 of 1',
  ]);
});

test('a process that is killed after its tests is a failure, with what it printed', async () => {
  const checks = await run('crashing');
  const crash = named(checks, 'fixtures/crashing.ts');
  assert.equal(crash.status, 'failed');
  assert.match(crash.detail ?? '', /ended by SIGKILL\nthe last words/);
});

test('a file that does not end by itself is a failure that names the limit', async () => {
  const checks = await run('hanging', 1500);
  const file = named(checks, 'fixtures/hanging.ts');
  assert.equal(file.status, 'failed');
  assert.match(file.detail ?? '', /no end in 1.5 s/);
});

test('a file without tests is a failure', async () => {
  const [file] = await run('empty');
  assert.equal(file?.status, 'failed');
  assert.equal(file.detail, 'It has no tests.');
});

test('a file that was not compiled is a failure', async () => {
  const [file] = await run('of-another-day');
  assert.equal(file?.status, 'failed');
  assert.match(file.detail ?? '', /npm run build:all/);
});

test('the closing line has the three numbers and nothing else', () => {
  assert.equal(
    closingLine({ passed: 3, failed: 0, skipped: 12 }),
    '3 passed, 0 failed, 12 skipped',
  );
});

test('the files that took the longest are named, the longest first', async () => {
  const times: { tier: string; file: string; ms: number }[] = [];
  const took = (file: string, ms: number): void => void times.push({ tier: 'some', file, ms });
  const files = ['empty', 'of-another-day'].map((name) => `test/runner/fixtures/${name}.ts`);
  const env = { NODE_TEST_CONTEXT: '', NODE_V8_COVERAGE: '' };
  await runTestFiles(files, { atATime: 2, limitMs: 30_000, env, took }, () => undefined);
  assert.deepEqual(
    longestLines(times, 10)
      .map((line) => line.replace(/.* s {2}/, ''))
      .sort(),
    ['some: test/runner/fixtures/empty.ts', 'some: test/runner/fixtures/of-another-day.ts'],
  );
  const [one, two] = [1500, 62_000].map((ms) => ({ tier: 'some', file: `${String(ms)}.ts`, ms }));
  assert.ok(one !== undefined && two !== undefined);
  assert.deepEqual(longestLines([one, two, one], 2), [
    '   62.0 s  some: 62000.ts',
    '    1.5 s  some: 1500.ts',
  ]);
});
