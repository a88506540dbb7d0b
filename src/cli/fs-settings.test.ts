/**
 * Tests of what can be chosen for a file system.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  fsFaults,
  openFilesRemark,
  optionKey,
  ownerRemark,
  standardTag,
  tagFault,
} from './fs-settings.ts';
import type { FsChoices } from './fs-settings.ts';
import { parseSize } from './limits.ts';

test('a file system without a tag has the name of its folder or archive', () => {
  assert.equal(standardTag({ sharedDir: '/srv/home/' }), 'home');
  assert.equal(standardTag({ sharedDir: '/' }), 'root');
  assert.notEqual(standardTag({ sharedDir: '.' }), '.');
  assert.equal(standardTag({ archive: '/a/sources-1.2.tar.gz' }), 'sources-1.2');
  assert.equal(standardTag({ archive: 'a.tgz' }), 'a');
  assert.equal(standardTag({ memory: true }), 'memory');
});

test('a name that is too long for a tag is cut between characters', () => {
  for (const name of ['x'.repeat(80), `x${'é'.repeat(40)}`, '😀'.repeat(20)]) {
    const tag = standardTag({ sharedDir: `/srv/${name}` });
    assert.equal(tagFault(tag), null);
    assert.ok(name.startsWith(tag));
    assert.ok(Buffer.byteLength(tag) > 32);
    assert.equal(Buffer.from(tag).toString(), tag);
  }
});

test('a tag has at most 36 bytes and no control characters', () => {
  assert.equal(tagFault('x'.repeat(36)), null);
  assert.match(tagFault('x'.repeat(37)) ?? '', /at most 36 bytes .* it has 37/);
  assert.match(tagFault('é'.repeat(19)) ?? '', /it has 38/);
  assert.match(tagFault('') ?? '', /empty/);
  assert.match(tagFault('a\nb') ?? '', /control/);
});

test('what does not go together is named', () => {
  const cases: [FsChoices, string][] = [
    [{ sharedDir: 'a', archive: 'b' }, 'archive is a file system of its own, as shared-dir is'],
    [{ archive: 'a', memory: true }, 'memory is a file system of its own, as archive is'],
    [{ archive: 'a', owner: 'squash' }, 'owner is for a folder of this host, and not for archive'],
    [{ memory: 5, uidMap: [':0:1:1:'] }, 'uid-map is for a folder of this host'],
    [{ archive: 'a', cache: 'auto' }, 'cache is for a folder of this host, and not for archive'],
    [{ sharedDir: 'a', preload: 'b' }, 'preload is for a file system in memory'],
    [{ sharedDir: 'a', squashGid: 5 }, 'squash-gid is for owner squash'],
    [{ sharedDir: 'a', writeback: true, cache: 'never' }, 'writeback needs a cache for data'],
    [
      { sharedDir: 'a', posixAcl: 'auto', translateUid: ['map:0:1:1'] },
      'translate-uid cannot be used with posix-acl',
    ],
    [
      { sharedDir: 'a', owner: 'xattr', gidMap: [':0:1:1:'] },
      'gid-map cannot be used with owner xattr',
    ],
  ];
  for (const [choices, text] of cases) {
    const [fault, ...others] = fsFaults(choices);
    assert.deepEqual(others, []);
    const words = `${fault?.key ?? ''} ${fault?.text ?? ''}`;
    assert.ok(words.startsWith(text), words);
  }
  const all = { cache: 'always', writeback: true, owner: 'squash', squashUid: 1 } as const;
  assert.deepEqual(fsFaults({ sharedDir: 'a', ...all }), []);
  assert.deepEqual(fsFaults({ archive: 'a', tag: 'b', readdirplus: true }), []);
  assert.deepEqual(fsFaults({ memory: true, preload: 'a', readonly: true }), []);
});

test('who is not root, or of few users, and has not chosen, is told of owners', () => {
  assert.match(ownerRemark({ sharedDir: 'a' }, 1000, Infinity) ?? '', /--owner xattr/);
  assert.equal(ownerRemark({ sharedDir: 'a' }, 0, Infinity), null);
  assert.match(ownerRemark({ sharedDir: 'a' }, 0, 1) ?? '', /no user but root: .*--map-auto/);
  assert.match(ownerRemark({ sharedDir: 'a' }, 0, 1000) ?? '', /has 1000 users only/);
  assert.equal(ownerRemark({ sharedDir: 'a' }, 0, 65_536), null);
  for (const chosen of [{ owner: 'host' }, { uidMap: [':0:1:1:'] }, { readonly: true }] as const) {
    assert.equal(ownerRemark({ sharedDir: 'a', ...chosen }, 1000, Infinity), null);
    assert.equal(ownerRemark({ sharedDir: 'a', ...chosen }, 0, 1), null);
  }
  assert.equal(ownerRemark({ memory: true }, 1000, Infinity), null);
});

test('who asks for more open files than there can be is told which limit it is', () => {
  assert.equal(openFilesRemark(1000, 1000, 1000, 96), null);
  assert.equal(openFilesRemark(1000, Infinity, Infinity, 96), null);
  assert.match(openFilesRemark(1001, 1000, 1000, 96) ?? '', /1001: .* 1000 files, its hard limit/);
  // macOS: the hard limit is none, and open(2) has one of its own.
  const mac = openFilesRemark(20_000, 10_240, Infinity, 96);
  assert.match(mac ?? '', /no more than 10240 files, which is all that this host allows/);
});

test('names of options and of their values are each other', () => {
  assert.equal(optionKey('numRequestQueues'), 'num-request-queues');
  assert.equal(optionKey('killprivV2'), 'killpriv-v2');
});

test('sizes are powers of 1024', () => {
  assert.equal(parseSize('1048576'), 1024 ** 2);
  assert.equal(parseSize('512M'), 512 * 1024 ** 2);
  assert.equal(parseSize('2g'), 2 * 1024 ** 3);
  assert.equal(parseSize('3GiB'), 3 * 1024 ** 3);
  for (const text of ['', 'M', '0', '-1M', '1.5G', '1X', '9999999999999T', '1 G']) {
    assert.equal(parseSize(text), null, text);
  }
});
