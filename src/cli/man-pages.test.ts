/**
 * Tests of the manual pages.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { manPages } from './man-pages.ts';
import { buildProgram } from './program.ts';
import { programVersion } from './version.ts';

const program = buildProgram();
const pages = manPages(program, programVersion());

/** The root of the repository, from src/cli or build/src/cli. */
function readPage(name: string): string {
  for (const up of ['../..', '../../..']) {
    try {
      return readFileSync(new URL(`${up}/man/${name}`, import.meta.url), 'utf8');
    } catch {
      // Further up.
    }
  }
  return '';
}

test('the pages in man/ are what the command line says', () => {
  assert.deepEqual(
    [...pages.keys()],
    [
      'vhost-user.1',
      ...['blk', 'fs', 'rng', 'console', 'vsock'].map((name) => `vhost-user-${name}.1`),
    ],
  );
  for (const [name, text] of pages) {
    assert.equal(readPage(name), text, `${name} is old: vhost-user man --dir man`);
  }
});

test('every option and every command has its place in a page', () => {
  const all = [...pages.values()].join('\n').replaceAll('\\-', '-');
  for (const command of program.commands) {
    assert.ok(all.includes(command.name()), command.name());
    for (const { long } of command.options) assert.ok(all.includes(long ?? '-'), String(long));
  }
});

test('groff reads the pages without a warning and shows every option', (t) => {
  const version = spawnSync('groff', ['--version']);
  if (version.error !== undefined) {
    t.skip('groff is not installed');
    return;
  }
  for (const [name, input] of pages) {
    const result = spawnSync('groff', ['-man', '-Tutf8', '-ww', '-P-cbou'], {
      input,
      encoding: 'utf8',
    });
    assert.equal(result.stderr, '', name);
    assert.equal(result.status, 0);
  }
  for (const [name, example] of [
    ['blk', /truncate -s 1G \/tmp\/disk\.img/],
    ['fs', /mount -t virtiofs share \/mnt/],
    ['rng', /vhost-user-rng-pci,chardev=rng/],
  ] as const) {
    const command = program.commands.find((each) => each.name() === name);
    const { stdout } = spawnSync('groff', ['-man', '-Tascii', '-P-cbou'], {
      input: pages.get(`vhost-user-${name}.1`),
      encoding: 'utf8',
    });
    assert.ok(command !== undefined);
    for (const { long } of command.options) assert.ok(stdout.includes(long ?? '-'), String(long));
    assert.match(stdout, example);
  }
});
