/**
 * Tests of the doctor's text, its JSON and its report.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Diagnosis, Finding } from '../doctor/index.ts';
import { ATTACHED_BY } from '../doctor/index.ts';
import { CAPABILITIES } from './capabilities.ts';
import { diagnosisJson, reportPage, withoutSecrets } from './doctor-report.ts';
import { diagnosisText, verdictOf } from './doctor-text.ts';

const WORKS: Finding = {
  id: 'poller',
  section: 'kernel',
  title: 'Waiting',
  status: 'works',
  needed: true,
  detail: 'epoll, woken by a notifier',
  remedy: null,
};
const SLOWER: Finding = {
  ...WORKS,
  id: 'io_uring',
  title: 'io_uring',
  status: 'slower',
  needed: false,
  detail: 'switched off: kernel.io_uring_disabled is 2; files are read by preadv, which is slower',
  remedy: { text: 'Switch it on', commands: ['sudo sysctl kernel.io_uring_disabled=0'] },
};
const MISSING: Finding = {
  ...SLOWER,
  id: 'vmm',
  section: 'vmm',
  title: 'A monitor',
  status: 'missing',
  needed: true,
  detail: 'no QEMU was found',
  remedy: { text: 'Install it', commands: [] },
};

function diagnosis(...findings: readonly Finding[]): Diagnosis {
  return {
    host: {
      os: 'linux',
      arch: 'x64',
      name: 'Linux',
      release: '6.12.0',
      distribution: 'Debian GNU/Linux 13 (trixie)',
      family: ['debian'],
      codename: 'trixie',
      packager: 'apt',
      isContainer: true,
      isRoot: false,
      node: '24.1.0',
    },
    findings,
    qemus: [
      {
        path: '/home/me/bin/qemu-system-x86_64',
        guestArch: 'x86_64',
        version: { major: 10, minor: 2, micro: 0, text: '10.2.0', packaging: 'mine' },
        devices: ['vhost-user-blk-pci', 'vhost-user-blk-pci-transitional', 'virtio-net-pci'],
        objects: ['iothread', 'memory-backend-shm'],
        accelerators: ['tcg'],
        fault: null,
      },
    ],
  };
}

const PLAIN = { columns: 80, colours: false };

test('findings stand below their headings, remedies below their findings', () => {
  const text = diagnosisText(diagnosis(WORKS, SLOWER, MISSING), 'vhost-user 1.0.0', PLAIN);
  assert.equal(
    text,
    [
      'vhost-user 1.0.0, Node 24.1.0, Linux 6.12.0 x64, Debian GNU/Linux 13 (trixie),',
      'in a container',
      '',
      'The kernel',
      '  works    Waiting         epoll, woken by a notifier',
      '  slower   io_uring        switched off: kernel.io_uring_disabled is 2; files',
      '                           are read by preadv, which is slower',
      '                           -> Switch it on:',
      '                              sudo sysctl kernel.io_uring_disabled=0',
      '',
      'Virtual machine monitors',
      '  missing  A monitor       no QEMU was found',
      '                           -> Install it.',
      '',
      'Needed and not working: A monitor. What to do is said above.',
      '',
    ].join('\n'),
  );
});

test('colours are an addition: without them the text is the same', () => {
  const all = diagnosis(WORKS, SLOWER, MISSING);
  const coloured = diagnosisText(all, 'vhost-user 1.0.0', { ...PLAIN, colours: true });
  assert.match(coloured, /\x1b\[31mmissing/);
  const plain = coloured.replaceAll(/\x1b\[\d+m/g, '');
  assert.equal(plain, diagnosisText(all, 'vhost-user 1.0.0', PLAIN));
  assert.match(plain, /^[\x20-\x7e\n]*$/);
});

test('no line but a command is wider than the terminal', () => {
  for (const columns of [60, 80, 100]) {
    const style = { columns, colours: false };
    const text = diagnosisText(diagnosis(WORKS, SLOWER, MISSING), 'vhost-user 1.0.0', style);
    for (const line of text.split('\n')) {
      assert.ok(line.length <= columns || line.includes('sudo '), `${columns}: ${line}`);
    }
  }
});

test('the last sentence says what matters', () => {
  assert.match(verdictOf([WORKS])[0], /^All works\.$/);
  assert.match(verdictOf([WORKS, SLOWER])[0], /^All that is needed works.*better: io_uring\.$/);
  assert.match(verdictOf([WORKS, SLOWER, MISSING])[0], /^Needed and not working: A monitor\./);
});

test('the JSON has a version, the verdict, and of each QEMU what matters for vhost-user', () => {
  const value = JSON.parse(diagnosisJson(diagnosis(WORKS, MISSING), '1.0.0')) as object;
  assert.deepEqual(value, {
    schemaVersion: 1,
    vhostUser: '1.0.0',
    healthy: false,
    host: {
      os: 'linux',
      arch: 'x64',
      release: '6.12.0',
      distribution: 'Debian GNU/Linux 13 (trixie)',
      container: true,
      node: '24.1.0',
    },
    findings: [WORKS, MISSING],
    qemus: [
      {
        path: '/home/me/bin/qemu-system-x86_64',
        guestArch: 'x86_64',
        version: '10.2.0',
        packaging: 'mine',
        vhostUserDevices: ['vhost-user-blk-pci'],
        memoryBackends: ['memory-backend-shm'],
        accelerators: ['tcg'],
        fault: null,
      },
    ],
  });
});

test('a report has what is asked of the reporter, the text and the JSON, without the home', () => {
  const secrets = { home: '/home/me', user: 'me', hostName: 'box.example.org' };
  const page = reportPage(diagnosis(WORKS), '1.0.0', secrets);
  assert.match(page, /^## What happened$/m);
  assert.match(page, /```text\nvhost-user 1\.0\.0, /);
  assert.match(page, /"path": "~\/bin\/qemu-system-x86_64"/);
  assert.doesNotMatch(page, /\/home\/me/);
});

test('private names go, and words that only hold them stay', () => {
  const secrets = { home: '/home/me', user: 'disk', hostName: 'box.example.org' };
  for (const [text, expected] of [
    ['/home/me/x and "/home/me"', '~/x and "~"'],
    ['/home/me-too/x /srv/home/me/y', '/home/me-too/x /srv/home/me/y'],
    ['/media/disk/qemu serves a disk', '/media/USER/qemu serves a disk'],
    ['on box.example.org or box: inbox, box-2', 'on HOST or HOST: inbox, box-2'],
  ] as const) {
    assert.equal(withoutSecrets(text, secrets), expected);
  }
  const nobody = { home: '/', user: '', hostName: 'localhost' };
  assert.equal(withoutSecrets('/usr/bin on localhost', nobody), '/usr/bin on localhost');
});

test('the doctor knows how each device of this program is attached', () => {
  assert.deepEqual(Object.keys(ATTACHED_BY).sort(), Object.keys(CAPABILITIES).sort());
});
