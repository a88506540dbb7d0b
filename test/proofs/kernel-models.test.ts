/**
 * The code that meets the kernel, on models of the kernels of macOS, FreeBSD and OpenBSD: each rule
 * of a model, the tests of `src/sys` and of what stands on it, and mistakes that the models catch.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import {
  PLAYED_HOSTS,
  builtFile,
  compileModel,
  modelEnvironment,
  runTests,
  whyNoModels,
} from '../hosts/model.ts';
import type { ModelOptions, PlayedHost, TestRun } from '../hosts/model.ts';
import { NOT_THERE } from '../hosts/mutate.ts';
import { RULES } from '../hosts/rules.ts';
import { filesIn } from '../support/repository.ts';
import { tellProof } from '../support/proof.ts';
import { MISTAKES } from './kernel-mistakes.ts';

const TIME_LIMIT_MS = 60_000;

/** Apple silicon has pages of 16 KiB. */
const PAGE_BYTES: Readonly<Record<PlayedHost, number>> = {
  darwin: 16384,
  freebsd: 4096,
  openbsd: 4096,
};

/** Tests that compare with what Node says, which is Linux's: no model can pass them. */
const NODE_SAYS_LINUX: Readonly<Record<PlayedHost, readonly string[]>> = {
  darwin: [
    'are what Node says of this host',
    'is the same by name and by fd as Node says, for files, folders and links',
    'has numbers of a device',
  ],
  freebsd: ['are what Node says of this host'],
  openbsd: ['are what Node says of this host'],
};

const SYS = filesIn('src/sys').filter(
  // The one runs all the others once more, and the sandbox has a part for each host of its own.
  (file) => file.endsWith('.test.ts') && !/posix-mode|\/sandbox\//.test(file),
);
/** Beyond it, with both sides on the model: sessions, their threads, and a whole disk. */
const ABOVE = [
  'src/backend/session-fds.test.ts',
  'src/backend/session-worker.test.ts',
  'src/devices/blk/blk.test.ts',
];
/** Discarded blocks stay where a host has no holes. */
const NO_HOLES = 'gives discarded space back to the file system, and reads zeroes from it';
/** Where the rules are the hardest, memory and messages as well. */
const ABOVE_DARWIN = [
  ...ABOVE,
  'src/memory/guest-memory.test.ts',
  'src/protocol/socket-channel.test.ts',
  'src/frontend/shared-memory.test.ts',
  'src/backend/session-memory.test.ts',
  'src/backend/session-notifiers.test.ts',
  'src/backend/session-rings.test.ts',
];

const folder = mkdtempSync(join(tmpdir(), 'vhu-kernels-'));
const libraries = new Map<PlayedHost, string>();
after(() => rmSync(folder, { recursive: true }));

function on(os: PlayedHost, env: Readonly<Record<string, string>> = {}): ModelOptions {
  return { os, library: libraries.get(os) ?? '', pageBytes: PAGE_BYTES[os], env };
}

/** The names of tests that failed by themselves, and not by one inside. */
function failures(run: TestRun): string[] {
  return [...run.text.matchAll(/^ *not ok \d+ - (.*)\n(?: .*\n)*? *failureType: '(\w+)'/gm)]
    .filter(([, , type]) => type !== 'subtestsFailed')
    .map(([, name = '']) => name)
    .sort();
}

/** Fails, with all that the run has said, unless these tests and no others have failed. */
function expectFailures(run: TestRun, names: readonly string[]): void {
  const failed = failures(run);
  const expected = [...names].sort();
  if (JSON.stringify(failed) === JSON.stringify(expected)) return;
  const said = run.text.split('\n').filter((line) => !/^ *(ok|#|---|\.\.\.|\w+:) ?/.test(line));
  assert.fail(`failed: ${failed.join('; ')}\nexpected: ${expected.join('; ')}\n${said.join('\n')}`);
}

/** What the rules of a host came to, with the model's knowing them and without. */
function tryRules(os: PlayedHost): { name: string; holds: boolean; without: boolean }[] {
  const child = join(folder, `rules-${os}.mjs`);
  const rules = builtFile('test/hosts/rules.ts');
  writeFileSync(
    child,
    `const { tryRules } = await import(${JSON.stringify(rules)});
     console.log(JSON.stringify(tryRules(${JSON.stringify(os)})));`,
  );
  const { status, stdout, stderr } = spawnSync(process.execPath, [child], {
    env: modelEnvironment(on(os)),
    encoding: 'utf8',
    timeout: TIME_LIMIT_MS,
  });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as ReturnType<typeof tryRules>;
}

describe('the models of other kernels', { skip: whyNoModels() }, () => {
  before(() => {
    for (const os of PLAYED_HOSTS) libraries.set(os, compileModel(folder, os));
  });

  it('enforce each of their rules, and no longer once it is switched off', (context) => {
    let count = 0;
    for (const os of PLAYED_HOSTS) {
      const results = tryRules(os);
      const expected = RULES.filter(({ hosts }) => hosts.includes(os)).map(({ name }) => ({
        name,
        holds: true,
        without: false,
      }));
      assert.deepEqual(results, expected, os);
      count += results.length;
    }
    tellProof(
      context,
      `kernel models: ${String(RULES.length)} rules, ${String(count)} on ` +
        `${String(PLAYED_HOSTS.length)} kernels, each punished and each switched off`,
    );
  });

  for (const os of PLAYED_HOSTS) {
    it(`${os}: the tests of sys pass`, async (context) => {
      const run = await runTests(SYS.map(builtFile), on(os));
      expectFailures(run, NODE_SAYS_LINUX[os]);
      assert.ok(run.passed > 200, `${String(run.passed)} passed`);
      tellProof(context, `kernel models: ${String(run.passed)} tests of sys on ${os}`);
    });

    it(`${os}: sessions and a disk work, both sides on the model`, async (context) => {
      const above = os === 'darwin' ? ABOVE_DARWIN : ABOVE;
      const run = await runTests(above.map(builtFile), on(os));
      expectFailures(run, os === 'openbsd' ? [NO_HOLES] : []);
      assert.ok(run.passed > 100, `${String(run.passed)} passed`);
      tellProof(
        context,
        `kernel models: ${String(run.passed)} tests of sessions and a disk on ${os}`,
      );
    });
  }

  it('catch mistakes in our own code', async (context) => {
    for (const { os, tests, only, about, ...mutation } of MISTAKES) {
      const options = on(os, { VHU_MUTATE: JSON.stringify(mutation) });
      const run = await runTests([builtFile(tests)], options, only);
      assert.ok(!run.text.includes(NOT_THERE), `${about}: ${mutation.from}`);
      const own = failures(run).filter((name) => !NODE_SAYS_LINUX[os].includes(name));
      assert.ok(
        own.length > 0 && (only !== undefined || run.passed > 0),
        `${os}: nobody saw: ${about}`,
      );
    }
    tellProof(
      context,
      `kernel models: ${String(MISTAKES.length)} of ${String(MISTAKES.length)} mistakes caught`,
    );
  });
});
