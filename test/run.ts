/**
 * What `npm test` runs: every tier in its order, each with its duration; failures with their
 * output; the files that took the longest; what was skipped with its reason; what was proved; and
 * the count as the last line.
 *
 * `npm test -- --tier unit,posix --filter virtqueue --seed 7` runs a part of it.
 *
 * @module
 */
import { parseArgs } from 'node:util';
import type { Check, Count, FileTime, Tier } from './runner/outcome.ts';
import {
  closingLine,
  countOf,
  indent,
  longestLines,
  proofLines,
  seconds,
} from './runner/outcome.ts';
import { tiersOf } from './runner/tiers.ts';

const SEED_MAX = 2 ** 31;
const LONGEST_COUNT = 10;

const { values } = parseArgs({
  options: {
    tier: { type: 'string', multiple: true, default: [] },
    filter: { type: 'string', default: '' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * SEED_MAX)) },
    help: { type: 'boolean', default: false },
  },
});

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

const PROOFS_FOLDER = 'test/proofs/';

/** Tiers in which nothing may be skipped here: VHOST_USER_REQUIRE=guest,proofs. */
const REQUIRED: readonly string[] = (process.env.VHOST_USER_REQUIRE ?? '')
  .split(',')
  .filter((name) => name !== '');

/** Runs a tier and tells how it went; what is thrown in it is a failure of it. */
async function runTier(tier: Tier): Promise<Check[]> {
  const checks: Check[] = [];
  const report = (check: Check): void => {
    checks.push(check);
    if (check.status === 'failed') say(`not ok  ${check.name}\n${indent(check.detail ?? '')}`);
    if (check.status === 'passed' && check.detail !== undefined) say(check.detail);
  };
  const start = performance.now();
  try {
    await tier.run(report);
  } catch (error) {
    const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
    report({ name: `tier ${tier.name}`, status: 'failed', detail });
  }
  requireTier(tier, checks, report);
  const took = seconds(performance.now() - start);
  say(`${tier.name.padEnd(12)} ${closingLine(countOf(checks)).padEnd(40)} ${took.padStart(8)}`);
  return checks;
}

function requireTier(tier: Tier, checks: readonly Check[], report: (check: Check) => void): void {
  if (!REQUIRED.includes(tier.name)) return;
  const skipped = checks.filter((check) => check.status === 'skipped' && !isExcused(check, checks));
  if (checks.length > 0 && skipped.length === 0) return;
  const why = skipped.map(({ name, detail }) => `${name}: ${detail ?? ''}`).join('\n');
  const detail = `VHOST_USER_REQUIRE names it.\n${why === '' ? 'It has no tests.' : why}`;
  report({ name: `tier ${tier.name} has to run whole`, status: 'failed', detail });
}

/**
 * A file that has told what it proved has run; what it left out, such as a user who may not read
 * these files, is named with its reason and is no failure.
 */
function isExcused({ name }: Check, checks: readonly Check[]): boolean {
  const file = name.replace(/: .*/s, '');
  const told = checks.filter(({ proofs = [] }) => proofs.length > 0);
  return file.startsWith(PROOFS_FOLDER) && told.some((each) => each.name.startsWith(`${file}:`));
}

/** Each skipped test by name, under its reason. */
function tellSkipped(checks: readonly Check[]): void {
  const skipped = checks.filter(({ status }) => status === 'skipped');
  const reasons = new Set(skipped.map(({ detail }) => detail ?? ''));
  for (const reason of reasons) {
    const names = skipped.filter(({ detail }) => (detail ?? '') === reason).map(({ name }) => name);
    say(`skipped: ${reason === '' ? 'no reason is given' : reason}`);
    for (const name of names) say(`    ${name}`);
  }
}

/** @throws Error in words when there is no tier of a name */
function chosenTiers(all: readonly Tier[]): readonly Tier[] {
  const names = values.tier.flatMap((list) => list.split(','));
  const unknown = [...names, ...REQUIRED].filter((name) => !all.some((tier) => tier.name === name));
  if (unknown.length > 0) {
    const known = all.map(({ name }) => name).join(', ');
    throw new Error(`there is no tier called ${unknown.join(', ')}; there are ${known}`);
  }
  return names.length === 0 ? all : all.filter(({ name }) => names.includes(name));
}

async function main(): Promise<Count> {
  const times: FileTime[] = [];
  let current = '';
  const took = (file: string, ms: number): void => void times.push({ tier: current, file, ms });
  const options = { filter: values.filter, seed: Number(values.seed), say, took };
  const all = tiersOf(options);
  if (values.help) {
    for (const { name, about } of all) say(`${name.padEnd(12)} ${about}`);
    return countOf([]);
  }
  const tiers = chosenTiers(all);
  const isWhole = tiers.length === all.length && values.filter === '';
  say(`Node ${process.version}, ${process.platform} ${process.arch}, seed ${values.seed}`);
  const checks: Check[] = [];
  for (const tier of tiers) {
    current = tier.name;
    checks.push(...(await runTier(tier)));
  }
  const failed = checks.filter(({ status }) => status === 'failed');
  if (failed.length > 0) say(`failed:\n${failed.map(({ name }) => `    ${name}`).join('\n')}`);
  if (isWhole) say(`longest:\n${longestLines(times, LONGEST_COUNT).join('\n')}`);
  tellSkipped(checks);
  for (const line of proofLines(checks)) say(line);
  if (!isWhole) say('This was a part of the tests.');
  return countOf(checks);
}

const count = await main().catch((error: unknown) => {
  say(error instanceof Error ? error.message : String(error));
  return { passed: 0, failed: 1, skipped: 0 };
});
if (!values.help) say(closingLine(count));
process.exitCode = count.failed > 0 ? 1 : 0;
