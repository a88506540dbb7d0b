/**
 * Tests of the completion scripts, in the shells that are installed.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { completionScript } from './completion-scripts.ts';
import { buildProgram } from './program.ts';

let folder = '';
const script = (shell: 'bash' | 'zsh' | 'fish'): string => completionScript(buildProgram(), shell);

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-completion-'));
  for (const shell of ['bash', 'zsh', 'fish'] as const) {
    writeFileSync(join(folder, `script.${shell}`), script(shell));
  }
  writeFileSync(join(folder, 'my disk.img'), '');
});
after(() => rmSync(folder, { recursive: true, force: true }));

function runs(shell: string, args: readonly string[]): string {
  const result = spawnSync(shell, args, { cwd: folder, encoding: 'utf8', timeout: 30_000 });
  assert.equal(result.stderr, '');
  assert.equal(result.status, 0, `${shell} ${args.join(' ')}`);
  return result.stdout;
}

function isMissing(t: TestContext, shell: string): boolean {
  const { error } = spawnSync(shell, ['-c', 'true']);
  if (error !== undefined) t.skip(`${shell} is not installed`);
  return error !== undefined;
}

/** What bash offers when TAB is pressed after the last word. */
function bashOffers(...words: readonly string[]): string[] {
  const list = words.map((word) => `'${word}'`).join(' ');
  const text = runs('bash', [
    '--norc',
    '-c',
    `set -u; source ./script.bash
     COMP_WORDS=(${list}); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _vhost_user
     printf '%s\\n' "\${COMPREPLY[@]-}"`,
  ]);
  return text.split('\n').filter((line) => line !== '');
}

test('bash completes commands, options, their values and files', (t) => {
  if (isMissing(t, 'bash')) return;
  assert.ok(bashOffers('vhost-user', '').includes('blk'));
  assert.deepEqual(bashOffers('vhost-user', 'comp'), ['completion']);
  assert.deepEqual(bashOffers('vhost-user', 'blk', '--en'), ['--engine']);
  assert.deepEqual(bashOffers('vhost-user', 'blk', '--engine', 'io'), ['io_uring']);
  assert.deepEqual(bashOffers('vhost-user', 'blk', '--engine', '=', 'p'), ['pread']);
  assert.deepEqual(bashOffers('vhost-user', 'blk', '--log-format', '='), ['auto', 'text', 'json']);
  assert.deepEqual(bashOffers('vhost-user', 'blk', 'my'), ['my disk.img']);
  assert.deepEqual(bashOffers('vhost-user', 'blk', '--blk-file', 'my'), ['my disk.img']);
  assert.deepEqual(bashOffers('vhost-user', 'blk', '--num-queues', ''), []);
  assert.deepEqual(bashOffers('/usr/bin/vhost-user-blk', '--read'), ['--read-only']);
  assert.deepEqual(bashOffers('vhost-user', 'fs', 'my'), ['my disk.img']);
  assert.deepEqual(bashOffers('vhost-user', 'fs', '--archive', 'my'), ['my disk.img']);
  assert.deepEqual(bashOffers('vhost-user', 'fs', '--cache', 'a'), ['auto', 'always']);
  assert.deepEqual(bashOffers('vhost-user-fs', '--posix-acl', '=', 'n'), ['never']);
  assert.deepEqual(bashOffers('vhost-user-rng', '-f', 'my'), ['my disk.img']);
  assert.deepEqual(bashOffers('vhost-user', 'rng', '--max'), ['--max-bytes']);
  assert.deepEqual(bashOffers('vhost-user', 'help', 'de'), ['description']);
});

test('bash may load its script twice', (t) => {
  if (isMissing(t, 'bash')) return;
  const text = runs('bash', [
    '--norc',
    '-c',
    'source ./script.bash; source ./script.bash; complete -p vhost-user',
  ]);
  assert.equal(text.trim(), 'complete -F _vhost_user vhost-user');
});

test('zsh reads its script', (t) => {
  if (isMissing(t, 'zsh')) return;
  runs('zsh', ['-f', '-n', './script.zsh']);
  const text = runs('zsh', [
    '-f',
    '-c',
    'autoload -U compinit; compinit -u -D; source ./script.zsh; print $_comps[vhost-user]',
  ]);
  assert.equal(text.trim(), '_vhost_user');
});

test('fish completes commands, options, their values and files', (t) => {
  if (isMissing(t, 'fish')) return;
  const offers = (line: string): string[] =>
    runs('fish', ['--no-config', '-c', `source script.fish; complete -C '${line}'`])
      .split('\n')
      .filter((each) => each !== '')
      .map((each) => each.split('\t')[0] ?? '');
  assert.deepEqual(offers('vhost-user b'), ['blk']);
  assert.deepEqual(offers('vhost-user blk --engine '), ['auto', 'io_uring', 'pread']);
  assert.deepEqual(offers('vhost-user blk my'), ['my disk.img']);
  assert.deepEqual(offers('vhost-user-blk --read'), ['--read-only']);
});

test('every script has every option', () => {
  const options = buildProgram().commands.flatMap((command) => command.options);
  for (const shell of ['bash', 'zsh', 'fish'] as const) {
    const text = script(shell);
    for (const { long = '--' } of options) {
      assert.ok(text.includes(shell === 'fish' ? `-l ${long.slice(2)}` : long), `${shell} ${long}`);
    }
  }
});
