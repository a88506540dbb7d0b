/**
 * The look for the peers: quick, and of use where something is missing.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { findPeers, missingPeers } from './setup.ts';
import { ensureZig } from './zig.ts';

const LOOK_MS_MAX = 20_000; // some 0.2 s on an idle machine
const GUEST_TEST = fileURLToPath(new URL('./libblkio.test.js', import.meta.url));

test('what is missing is named together with the way to install it', () => {
  const text = missingPeers({ missing: ['fio', 'strace'] });
  assert.match(text, /^missing: fio, strace; /);
  assert.match(text, /test\/peers\/install-debian\.sh \S+/);
});

test('a look for the peers is quick', () => {
  const started = performance.now();
  findPeers();
  assert.ok(performance.now() - started < LOOK_MS_MAX);
});

test('a test without its peers is one skipped test that says why', (context) => {
  const cache = mkdtempSync(join(tmpdir(), 'vhost-user-no-peers-'));
  context.after(() => rmSync(cache, { recursive: true }));
  const environment = {
    ...process.env,
    VHOST_USER_TEST_CACHE: cache,
    VHOST_USER_TEST_INSTALL: '0',
  };
  delete (environment as Record<string, string>).NODE_TEST_CONTEXT; // it is a run of its own
  const { stdout, status } = spawnSync(
    process.execPath,
    ['--test-reporter=tap', '--test', GUEST_TEST],
    { env: environment, encoding: 'utf8' },
  );
  assert.equal(status, 0, stdout);
  assert.match(stdout, /^# tests 1$/m);
  assert.match(stdout, /^# skipped 1$/m);
  assert.match(stdout, /# SKIP missing: .*guest kernel.*install-debian\.sh/);
});

test('without pip or without leave to fetch the compiler of the proofs, it is said why', async () => {
  const before = { ...process.env };
  const cache = mkdtempSync(join(tmpdir(), 'vhu-no-zig-'));
  try {
    process.env.VHOST_USER_TEST_CACHE = cache;
    delete process.env.VHOST_USER_TEST_INSTALL;
    const means = { pips: [['/nowhere/python3', '-m', 'pip']], apt: false };
    const none = await ensureZig(undefined, means);
    assert.match(none.missing ?? '', /^missing: the compiler zig \S+; .*python3-pip\)$/);
    process.env.VHOST_USER_TEST_INSTALL = '0';
    const { missing } = await ensureZig(undefined, means);
    assert.match(missing ?? '', /^missing: the compiler zig \S+; .*VHOST_USER_TEST_INSTALL=0/);
  } finally {
    process.env = before;
    rmSync(cache, { recursive: true, force: true });
  }
});
