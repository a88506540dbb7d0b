/**
 * What is unveiled and promised on OpenBSD, from what a device needs.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runningPromises, startPromises, unveils } from './openbsd.ts';
import { NO_NEEDS } from './types.ts';
import type { PathAccess, SandboxNeeds } from './types.ts';

const ALWAYS = ['stdio', 'rpath', 'wpath', 'cpath', 'unix', 'recvfd', 'sendfd', 'prot_exec'];
const QUIET = { onRefusal: 'kill', onTerminal: false } as const;

function path(path: string, access: PathAccess): SandboxNeeds {
  return { ...NO_NEEDS, paths: [{ path, access }] };
}

/** What a device adds to the unveils of one that needs nothing. */
function added(needs: SandboxNeeds): Record<string, string> {
  const common = new Set(unveils(NO_NEEDS, []).map(({ path }) => path));
  const own = unveils(needs, []).filter((each) => !common.has(each.path));
  return Object.fromEntries(own.map(({ path, permissions }) => [path, permissions]));
}

/** What a device adds to the promises of one that needs nothing. */
function promised(needs: Partial<SandboxNeeds>): string[] {
  return runningPromises({ ...NO_NEEDS, ...needs }, QUIET).filter((each) => !ALWAYS.includes(each));
}

describe('unveil', () => {
  it('shows what the program is made of, for reading', () => {
    const all = unveils(NO_NEEDS, ['/opt/vhost-user']);
    assert.deepEqual(all.at(-3), { path: '/opt/vhost-user', permissions: 'r' });
    assert.ok(!all.some(({ permissions }) => permissions.includes('x')), 'nothing is executed');
    assert.ok(!all.some(({ path }) => path === '/' || path === '/etc'));
  });

  it('shows each path of a device for what is done with it', () => {
    const cases: readonly (readonly [PathAccess, Record<string, string>])[] = [
      ['read', { '/a/b': 'r' }],
      ['write', { '/a/b': 'rw' }],
      ['tree', { '/a/b': 'rwc' }],
      ['socket', { '/a/b': 'rwc' }],
      ['link', { '/a/b': 'rwc' }],
      ['temporary', { '/a/b': 'rwc' }],
      ['connect', { '/a/b': 'rw' }],
      ['connect-prefix', { '/a': 'rw' }],
      ['file', { '/a': 'rwc' }],
      ['terminals', { '/dev': 'rw' }],
    ];
    for (const [access, expected] of cases) {
      assert.deepEqual(added(path('/a/b', access)), expected, access);
    }
  });

  it('joins what is done with a path, in the order of the manual', () => {
    const paths = ['read', 'tree', 'write'] as const;
    const needs = { ...NO_NEEDS, paths: paths.map((access) => ({ path: '/a', access })) };
    assert.deepEqual(added(needs), { '/a': 'rwc' });
  });

  it('shows the files of the resolver to devices that look up names', () => {
    const names = added({ ...NO_NEEDS, looksUpNames: true });
    assert.deepEqual(names, {
      '/etc/resolv.conf': 'r',
      '/etc/hosts': 'r',
      '/etc/services': 'r',
    });
  });
});

describe('pledge', () => {
  it('promises as little as Node and a session can do with', () => {
    assert.deepEqual(runningPromises(NO_NEEDS, QUIET), ALWAYS);
  });

  it('promises what each need adds, and nothing else', () => {
    const cases: readonly (readonly [Partial<SandboxNeeds>, readonly string[]])[] = [
      [{ connectsUnix: true }, []],
      [{ connectsTcp: [80] }, ['inet']],
      [{ connectsTcp: null }, ['inet']],
      [{ listensTcp: [0] }, ['inet']],
      [{ looksUpNames: true }, ['inet', 'dns']],
      [{ ownsFiles: true }, ['fattr', 'chown', 'dpath']],
      [{ usesVsock: true }, []],
      [path('/srv', 'tree'), ['flock']],
      [path('/dev/pts', 'terminals'), ['tty']],
      [path('/dev/rsd0c', 'write'), ['disklabel']],
      [path('/dev/vnd1c', 'read'), ['disklabel']],
      [path('/dev/urandom', 'read'), []],
      [path('/srv/dev/sd0', 'read'), []],
    ];
    for (const [needs, expected] of cases) {
      assert.deepEqual(promised(needs), expected, JSON.stringify(needs));
    }
  });

  it('never promises other programs, other processes, or more paths', () => {
    const all: SandboxNeeds = {
      paths: (['tree', 'write', 'terminals', 'file'] as const).map((access) => ({
        path: '/dev/sd0c',
        access,
      })),
      connectsUnix: true,
      connectsTcp: null,
      listensTcp: [1],
      looksUpNames: true,
      usesVsock: true,
      ownsFiles: true,
      sharesFolder: true,
      fds: [3],
      hasReadOnce: true,
    };
    const promises = startPromises(all, { onRefusal: 'error', onTerminal: true });
    for (const never of ['exec', 'proc', 'id', 'unveil', 'settime', 'bpf', 'pf', 'vmm', 'route']) {
      assert.ok(!promises.includes(never), never);
    }
  });

  it('answers with an error, or ends the process, as it is asked', () => {
    for (const [onRefusal, survives] of [
      ['error', true],
      ['log', true],
      ['kill', false],
      ['trap', false],
    ] as const) {
      const promises = runningPromises(NO_NEEDS, { onRefusal, onTerminal: false });
      assert.equal(promises.includes('error'), survives, onRefusal);
    }
  });

  it('promises the terminal that the program is on', () => {
    const promises = runningPromises(NO_NEEDS, { onRefusal: 'kill', onTerminal: true });
    assert.deepEqual(promises, [...ALWAYS, 'tty']);
  });

  it('promises more for the start, which is given up when all is set up', () => {
    const needs = { ...path('/srv', 'tree'), ownsFiles: true };
    const start = startPromises(needs, QUIET);
    const running = runningPromises(needs, QUIET);
    assert.deepEqual(
      running.filter((each) => !start.includes(each)),
      [],
      'only fewer later',
    );
    assert.deepEqual(
      start.filter((each) => !running.includes(each)),
      ['ps', 'vminfo'],
    );
    assert.equal(new Set(start).size, start.length, 'each once');
  });
});
