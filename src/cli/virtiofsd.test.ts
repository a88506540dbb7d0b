/**
 * Tests of command lines that were made for virtiofsd.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UsageError } from './errors.ts';
import { buildProgram } from './program.ts';
import { takesValue } from './root.ts';
import { fromVirtiofsd, remarksOn } from './virtiofsd.ts';

const TAKES_VALUE = takesValue(buildProgram(), 'fs');

function today(...words: readonly string[]): string[] {
  return fromVirtiofsd(words, TAKES_VALUE);
}

test("libvirt's older command line becomes the options of today", () => {
  const words = today(
    ...['fs', '--fd=25', '-o', 'source=/srv/a,,b,cache=none,sandbox=chroot,xattr,flock'],
    ...['--thread-pool-size=4', '-d'],
  );
  assert.deepEqual(words, [
    ...['fs', '--fd=25', '--shared-dir=/srv/a,b', '--cache=never', '--sandbox=chroot', '--xattr'],
    ...['--shared-locks', '--thread-pool-size=4', '--log-level=debug'],
  ]);
});

test("libvirt's newer command line stays as it is", () => {
  const words = [
    ...['fs', '--fd=25', '--shared-dir', '/srv', '--cache', 'never', '--sandbox', 'namespace'],
    ...['--xattr', '--thread-pool-size=1', '--rlimit-nofile=1000', '--log-level', 'debug'],
    ...['--uid-map=:0:1000:1:', '--uid-map=:1:100000:65536:', '--gid-map=:0:1000:1:'],
  ];
  assert.deepEqual(today(...words), words);
});

test('every word that virtiofsd has for -o is understood', () => {
  const flags = [
    ...['xattr', 'no_xattr', 'readdirplus', 'no_readdirplus', 'writeback', 'no_writeback'],
    ...['allow_direct_io', 'no_allow_direct_io', 'announce_submounts', 'killpriv_v2'],
    ...['no_killpriv_v2', 'posix_acl', 'no_posix_acl', 'no_security_label', 'no_posix_lock'],
    'no_flock',
  ];
  assert.doesNotThrow(() => today('-o', flags.join(',')));
  assert.deepEqual(today('-ologlevel=err', '-o', 'no_readdirplus,writeback'), [
    ...['--log-level=error', '--no-readdirplus', '--writeback'],
  ]);
  assert.deepEqual(today('-o', 'cache=always,modcaps=+sys_admin,xattrmap=:map::user.v.:'), [
    ...['--cache=always', '--modcaps=+sys_admin', '--xattrmap=:map::user.v.:'],
  ]);
});

test('old names of options and values are replaced, and values of options are left alone', () => {
  assert.deepEqual(today('--socket=/a', '-f', '--read-only', '--inode-file-handles=fallback'), [
    ...['--socket-path=/a', '--readonly', '--inode-file-handles=prefer'],
  ]);
  assert.deepEqual(today('--log-level', 'trace', '--log-level=off'), [
    ...['--log-level', 'debug', '--log-level=error'],
  ]);
  assert.deepEqual(today('--tag', '-d', '--tag=-f', '--', '-d'), [
    '--tag',
    '-d',
    '--tag=-f',
    '--',
    '-d',
  ]);
});

test('--posix-acl has its value in the same word, in the next one, or none', () => {
  assert.deepEqual(today('--posix-acl', '/srv'), ['--posix-acl=always', '/srv']);
  assert.deepEqual(today('--posix-acl', 'auto', '/srv'), ['--posix-acl=auto', '/srv']);
  assert.deepEqual(today('--posix-acl=never'), ['--posix-acl=never']);
});

test('what would promise something that is not kept is refused', () => {
  for (const [words, text] of [
    [['--security-label'], /SELinux/],
    [['-o', 'security_label'], /SELinux/],
    [['--migration-mode=find-paths'], /cannot be migrated/],
    [['--migration-on-error', 'abort'], /cannot be migrated/],
    [['-o', 'colour=red'], /-o colour=red: there is no such option/],
    [['-o', 'sauce'], /-o sauce: there is no such option/],
    [['-o'], /-o needs a list/],
  ] as const) {
    assert.throws(
      () => today(...words),
      (error) => error instanceof UsageError && text.test(error.message),
    );
  }
});

test('options without effect are named, each once, and those that ask for nothing are not', () => {
  assert.deepEqual(remarksOn({}), []);
  assert.deepEqual(
    remarksOn({ threadPoolSize: 0, inodeFileHandles: 'prefer', sandbox: 'none' }),
    [],
  );
  const remarks = remarksOn({
    ...{ threadPoolSize: 4, inodeFileHandles: 'mandatory', sandbox: 'chroot' },
    ...{ modcaps: '-mknod', syslog: true },
  });
  assert.deepEqual(
    remarks.map(({ level, text }) => [level, text.split(/[ :=]/)[0]]),
    [
      ['info', '--thread-pool-size'],
      ['warn', '--inode-file-handles'],
      ['info', '--sandbox'],
      ['warn', '--modcaps'],
      ['warn', '--syslog'],
    ],
  );
});
