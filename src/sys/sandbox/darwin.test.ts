/**
 * The profile of macOS, from what a device needs.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { profileText, resolvedPath } from './darwin.ts';
import { NO_NEEDS } from './types.ts';
import type { PathAccess, SandboxNeeds } from './types.ts';

const FACTS = { program: ['/opt/p'], onTerminal: false };

function lines(needs: Partial<SandboxNeeds>, facts = FACTS): string[] {
  return profileText({ ...NO_NEEDS, ...needs }, facts).split('\n');
}

/** The lines that a need adds. */
function added(needs: Partial<SandboxNeeds>): string[] {
  const common = new Set(lines({}));
  return lines(needs).filter((line) => !common.has(line));
}

function at(path: string, access: PathAccess): string[] {
  return added({ paths: [{ path, access }] });
}

describe('a profile', () => {
  it('denies first, and lets the program be read and mapped, not written or run', () => {
    const [version, first, ...rest] = lines({});
    assert.deepEqual([version, first], ['(version 1)', '(deny default)']);
    const about = rest.filter((line) => line.includes('/opt/p'));
    assert.deepEqual(
      about.map((line) => line.split(' ')[1]),
      ['file-read*', 'file-map-executable'],
    );
    assert.ok(!rest.some((line) => /process-exec|process-fork|mach-lookup/.test(line)));
    assert.ok(!rest.some((line) => /network|file-write\*/.test(line)));
  });

  it('has balanced brackets, and each line is a rule', () => {
    const paths = (['tree', 'terminals', 'file', 'socket'] as const).map((access) => ({
      path: '/a',
      access,
    }));
    for (const line of lines({ paths, looksUpNames: true, connectsTcp: null, listensTcp: [0] })) {
      const bare = line.replaceAll(/"[^"]*"/g, '');
      assert.equal(bare.split('(').length, bare.split(')').length, line);
      assert.match(
        line,
        /^$|^\((version 1|deny default|allow [^ ]+.*|if \(defined\? '[\w*-]+\) .*)\)$/,
      );
    }
  });

  it('allows with each path what is done with it', () => {
    assert.deepEqual(at('/a', 'read'), ['(allow file-read* file-ioctl (subpath "/a"))']);
    assert.deepEqual(at('/a', 'write'), [
      '(allow file-read* file-write-data file-ioctl (literal "/a"))',
    ]);
    assert.deepEqual(at('/a', 'tree').slice(0, 1), [
      '(allow file-read* file-write* (subpath "/a"))',
    ]);
    assert.deepEqual(at('/a', 'temporary'), ['(allow file-read* file-write* (subpath "/a"))']);
    assert.deepEqual(at('/a', 'link'), ['(allow file-read* file-write* (literal "/a"))']);
    assert.deepEqual(at('/a', 'socket'), [
      '(allow file-read* file-write* (literal "/a"))',
      '(allow network-bind network-inbound (literal "/a"))',
      '(allow network-outbound (literal "/a"))',
    ]);
    assert.deepEqual(at('/a', 'connect'), ['(allow network-outbound (literal "/a"))']);
    assert.deepEqual(at('/a', 'connect-prefix'), ['(allow network-outbound (regex #"^/a"))']);
    assert.deepEqual(at('/a', 'terminals').at(0), '(allow pseudo-tty)');
  });

  it('quotes paths, so that none of them is a rule', () => {
    assert.deepEqual(at('/a")(allow default)("', 'link'), [
      String.raw`(allow file-read* file-write* (literal "/a\")(allow default)(\""))`,
    ]);
    assert.deepEqual(at('/a\\', 'link'), [
      String.raw`(allow file-read* file-write* (literal "/a\\"))`,
    ]);
    assert.deepEqual(at('/a.b"(c)', 'file'), [
      String.raw`(allow file-read* file-write* (regex #"^/a\.b.\(c\)"))`,
    ]);
  });

  it('names the ports of TCP', () => {
    assert.deepEqual(added({ connectsTcp: [80, 443] }), [
      '(allow network-outbound (remote tcp "*:80"))',
      '(allow network-outbound (remote tcp "*:443"))',
    ]);
    assert.deepEqual(added({ connectsTcp: null }), ['(allow network-outbound (remote tcp))']);
    assert.deepEqual(added({ listensTcp: [8080, 0] }), [
      '(allow network-bind network-inbound (local tcp "*:8080"))',
      '(allow network-bind network-inbound (local tcp "*:*"))',
    ]);
  });

  it('lets names be looked up by those that do', () => {
    const text = added({ looksUpNames: true }).join('\n');
    assert.match(text, /mDNSResponder/);
    assert.match(text, /\(remote udp "\*:53"\)/);
    assert.match(text, /resolv\.conf/);
  });

  it('has the terminals, when the program is on one', () => {
    const more = lines({}, { ...FACTS, onTerminal: true }).filter(
      (line) => !lines({}).includes(line),
    );
    assert.deepEqual(more, [
      '(allow file-read* file-write-data file-ioctl (regex #"^/dev/ttys[0-9]+$"))',
    ]);
  });
});

describe('a path of a profile', () => {
  let folder = '';
  before(() => {
    folder = realpathSync(mkdtempSync(join(tmpdir(), 'vhu-seatbelt-')));
    mkdirSync(join(folder, 'real'));
    symlinkSync(join(folder, 'real'), join(folder, 'link'));
  });
  after(() => rmSync(folder, { recursive: true }));

  it('is the one that the kernel sees, links followed', () => {
    assert.equal(resolvedPath(join(folder, 'link')), join(folder, 'real'));
  });

  it('may have names at its end that are not there yet', () => {
    assert.equal(resolvedPath(join(folder, 'link/new/name')), join(folder, 'real/new/name'));
    assert.equal(resolvedPath('/'), '/');
  });
});
