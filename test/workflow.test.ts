/**
 * The workflow for public runners, which nobody here can run: what can be said of it by reading it.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { readText } from './support/repository.ts';

const PATH = '.github/workflows/test.yml';

/** Labels of GitHub's own runners, of processors and systems that the package names. */
const RUNNERS = ['ubuntu-24.04', 'ubuntu-24.04-arm', 'macos-15', 'macos-15-intel'];
/** Node's release lines that the package supports and that are still mended. */
const NODES = ['20', '22', '24', '26'];

interface Step {
  readonly uses?: string;
  readonly run?: string;
  readonly with?: Readonly<Record<string, unknown>>;
}

interface Job {
  readonly 'runs-on': string;
  readonly 'timeout-minutes'?: number;
  readonly permissions?: unknown;
  readonly strategy?: { readonly matrix: Readonly<Record<string, readonly unknown[]>> };
  readonly steps: readonly Step[];
}

interface Workflow {
  readonly permissions: unknown;
  readonly concurrency: unknown;
  readonly jobs: Readonly<Record<string, Job>>;
}

const text = readText(PATH);
const workflow = parse(text) as Workflow;
const jobs = Object.entries(workflow.jobs);
const manifest = JSON.parse(readText('package.json')) as {
  readonly scripts: Readonly<Record<string, string>>;
  readonly os: readonly string[];
};

test('the workflow may read the repository and nothing else, and knows no secrets', () => {
  assert.deepEqual(workflow.permissions, { contents: 'read' });
  for (const [name, job] of jobs) assert.equal(job.permissions, undefined, name);
  assert.doesNotMatch(text, /secrets\.|pull_request_target/);
  assert.ok(workflow.concurrency !== undefined);
});

test('each action of the workflow is pinned to a commit, beside its version', () => {
  const uses = text.split('\n').filter((line) => /^\s*(- )?uses:/.test(line));
  assert.ok(uses.length >= jobs.length);
  for (const line of uses)
    assert.match(line, /uses: [\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
  const checkouts = jobs.flatMap(([, { steps }]) =>
    steps.filter((step) => step.uses?.startsWith('actions/checkout@') === true),
  );
  assert.equal(checkouts.length, jobs.length);
  for (const step of checkouts) assert.equal(step.with?.['persist-credentials'], false);
});

test('each job of the workflow ends, and runs the test that is documented', () => {
  for (const [name, job] of jobs) {
    assert.ok((job['timeout-minutes'] ?? 360) <= 180, name);
    const runs = job.steps.map((step) => step.run ?? '');
    const isWhole = runs.includes('.ci/run');
    assert.ok(isWhole || (runs.includes('npm ci') && runs.includes('npm test')), name);
  }
  assert.ok(manifest.scripts.test !== undefined);
  assert.match(readText('CONTRIBUTING.md'), /^npm ci\nnpm test$/m);
});

test('the workflow runs on every system that the package names, and on each Node', () => {
  const matrix = (job: string): Readonly<Record<string, readonly unknown[]>> =>
    workflow.jobs[job]?.strategy?.matrix ?? {};
  const labels = jobs.flatMap(([name, job]) => matrix(name).os ?? [job['runs-on']]);
  assert.deepEqual([...new Set(labels)].sort(), [...RUNNERS].sort());
  const machines = (matrix('bsd').include ?? []) as readonly { readonly system: string }[];
  const systems = new Set(['linux', 'darwin', ...machines.map(({ system }) => system)]);
  assert.deepEqual([...systems].sort(), [...manifest.os].sort());
  assert.deepEqual(matrix('linux').node, NODES);
  for (const version of matrix('macos').node ?? []) assert.ok(NODES.includes(String(version)));
});

test('what guards the main branch fails where guests or proofs would be skipped', () => {
  const [, required = ''] =
    /VHOST_USER_REQUIRE=\$\{VHOST_USER_REQUIRE-([\w,]*)\}/.exec(readText('.ci/run')) ?? [];
  assert.deepEqual(required.split(',').sort(), ['guest', 'proofs']);
});
