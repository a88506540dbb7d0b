/**
 * Tests of what is printed for each monitor, held against the syntax that the monitor's own source
 * has. Validation of the domain against libvirt's schema is in test/peers/libvirt.test.ts.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { test } from 'node:test';
import type { Attachment } from './attachment.ts';
import { cloudHypervisorOptions } from './cloud-hypervisor.ts';
import { crosvmOptions } from './crosvm.ts';
import { libkrunSource } from './libkrun.ts';
import { libvirtDomain } from './libvirt.ts';
import type { LibvirtMachine } from './libvirt.ts';
import { shellScript } from './shell-script.ts';
import type { ServerCommand } from './shell-script.ts';

/** A path with everything that a shell, XML, C or a list of settings could take for its own. */
const ODD = `/tmp/it's "1a", <b>&[c] \\d/é`;

const DEVICES: readonly Attachment[] = [
  { type: 'blk', id: 'blk0', socketPath: '/s/b', queueCount: 2, readOnly: true, queueSize: 512 },
  { type: 'fs', id: 'fs0', socketPath: `${ODD}.sock`, queueCount: 2, tag: 'my,tag' },
  { type: 'vsock', id: 'vsock0', socketPath: '/s/v', queueCount: 3 },
  { type: 'rng', id: 'rng0', socketPath: '/s/r', queueCount: 1 },
  { type: 'console', id: 'console0', socketPath: '/s/c', queueCount: 4 },
];

const SERVERS: readonly ServerCommand[] = [
  { title: 'fs0', words: ['vhost-user', 'fs', ODD, '--tag', 'my,tag'], socketPaths: [] },
];

/**
 * The settings of cloud-hypervisor 53.0, vmm/src/config.rs: what the parsers of `DiskConfig`,
 * `FsConfig`, `GenericVhostUserConfig` and `MemoryConfig` are told by `add`, as far as we use them.
 */
const CLOUD_HYPERVISOR: Readonly<Record<string, readonly string[]>> = {
  '--disk': [
    'path',
    'readonly',
    'direct',
    'queue_size',
    'num_queues',
    'vhost_user',
    'socket',
    'serial',
  ],
  '--fs': ['tag', 'queue_size', 'num_queues', 'socket'],
  '--generic-vhost-user': ['device_type', 'virtio_id', 'queue_sizes', 'socket'],
  '--memory': ['size', 'file', 'mergeable', 'shared', 'hugepages', 'hugepage_size', 'prefault'],
};

/**
 * The settings in a text as cloud-hypervisor 53.0 takes them apart (option_parser/src/lib.rs):
 * commas count outside of quotation marks and brackets; two quotation marks inside are one.
 */
function settingsOf(text: string): Map<string, string> {
  const parts = text.match(/(?:"(?:[^"]|"")*"|\[[^\]]*\]|[^,"[])+/g) ?? [];
  assert.equal(parts.join(','), text, 'nothing is left over');
  return new Map(
    parts.map((part) => {
      const at = part.indexOf('=');
      const value = part.slice(at + 1).replace(/^"(.*)"$/, (_, inner: string) => inner);
      return [part.slice(0, at), value.replaceAll('""', '"')];
    }),
  );
}

test('each option for cloud-hypervisor has settings of its release, and paths stay whole', () => {
  const options = cloudHypervisorOptions(DEVICES, ['--kernel', 'k', '--memory', 'size=2G']);
  const [memory, own, disk, folder, vsock, rng, console, rest] = options;
  for (const [flag = '', value = ''] of options) {
    const known = CLOUD_HYPERVISOR[flag];
    if (known === undefined) continue;
    for (const key of settingsOf(value).keys()) assert.ok(known.includes(key), `${flag} ${key}`);
  }
  assert.deepEqual(memory, ['--memory', 'size=2G,shared=on']);
  assert.deepEqual(own, ['--console', 'off'], 'ours is the first console then');
  assert.deepEqual(disk, [
    '--disk',
    'vhost_user=on,socket=/s/b,num_queues=2,queue_size=512,readonly=on',
  ]);
  assert.equal(folder?.[0], '--fs');
  assert.equal(settingsOf(folder[1] ?? '').get('socket'), `${ODD}.sock`);
  assert.equal(settingsOf(folder[1] ?? '').get('tag'), 'my,tag');
  assert.equal(settingsOf(folder[1] ?? '').get('num_queues'), '1', 'request queues alone');
  const types = [vsock, rng, console].map((each) => settingsOf(each?.[1] ?? ''));
  assert.deepEqual(
    types.map((each) => [each.get('device_type'), each.get('queue_sizes')]),
    [
      ['19', '[256,256,256]'],
      ['4', '[256]'],
      ['3', '[256,256,256,256]'],
    ],
  );
  assert.deepEqual(rest, ['--kernel', 'k']);
});

test('the memory of cloud-hypervisor is shared, whatever the user says of it', () => {
  const memory = (words: readonly string[]): string | undefined =>
    cloudHypervisorOptions([], words)[0]?.[1];
  assert.equal(memory([]), 'size=1G,shared=on');
  assert.equal(memory(['--memory=size=3G,shared=off']), 'size=3G,shared=on');
  assert.equal(memory(['--memory', 'size=1G,hugepages=on']), 'size=1G,hugepages=on,shared=on');
  const options = cloudHypervisorOptions(DEVICES.slice(4), ['--console', 'null']);
  assert.equal(options.filter(([flag]) => flag === '--console').length, 1);
});

/** `DeviceType` of crosvm, devices/src/virtio/mod.rs at commit f1e797a68dad, in kebab-case. */
const CROSVM_TYPES = [
  'net',
  'block',
  'console',
  'rng',
  'balloon',
  'scsi',
  '9p',
  'gpu',
  'input',
  'vsock',
  'fs',
];

test('each device for crosvm is of a type that it has', () => {
  const options = crosvmOptions(DEVICES, ['--mem', 'size=512', 'vmlinux']);
  for (const [flag, value = ''] of options.slice(0, -1)) {
    assert.equal(flag, '--vhost-user');
    assert.ok(CROSVM_TYPES.includes(/^type=([a-z0-9]+),socket=./.exec(value)?.[1] ?? ''), value);
  }
  assert.deepEqual(options[0], ['--vhost-user', 'type=block,socket=/s/b,max-queue-size=512']);
  assert.match(options[1]?.[1] ?? '', /socket="\/tmp\/it's \\"1a\\", <b>&\[c\] \\\\d\/é\.sock"$/);
  assert.deepEqual(options.at(-1), ['--mem', 'size=512', 'vmlinux']);
});

/** The functions of libkrun 1.18's include/libkrun.h that are called. */
const LIBKRUN_H = `#include <stdint.h>
int32_t krun_set_vm_config(uint32_t ctx_id, uint8_t num_vcpus, uint32_t ram_mib);
int32_t krun_disable_implicit_console(uint32_t ctx_id);
int32_t krun_disable_implicit_vsock(uint32_t ctx_id);
int32_t krun_add_vhost_user_device(uint32_t ctx_id, uint32_t device_type, const char *socket_path,
    const char *name, uint16_t num_queues, const uint16_t *queue_sizes);
`;

/** It prints what it is called with. */
const CALLS = `#include <stdio.h>
int32_t krun_set_vm_config(uint32_t c, uint8_t n, uint32_t m)
{ return printf("%d %d\\n", n, m) < 0; }
int32_t krun_disable_implicit_console(uint32_t c) { return puts("no console") < 0; }
int32_t krun_disable_implicit_vsock(uint32_t c) { return puts("no vsock") < 0; }
int32_t krun_add_vhost_user_device(uint32_t c, uint32_t type, const char *path, const char *name,
    uint16_t count, const uint16_t *sizes)
{ return printf("%d %s %s %d %d\\n", type, path, name, count, sizes[count - 1]) < 0; }
int main(void) { return add_vhost_user_devices(0); }
`;

const hasCompiler = spawnSync('cc', ['--version']).status === 0;

test(
  'the source for libkrun compiles, and makes the calls',
  { skip: hasCompiler ? false : 'there is no C compiler (cc)' },
  () => {
    const machine = { cpuCount: 2, memoryBytes: 2 ** 30 };
    const source = libkrunSource(DEVICES, SERVERS, machine).replace(
      '#include <libkrun.h>\n',
      LIBKRUN_H,
    );
    const program = `/tmp/vhu-libkrun-${process.pid}`;
    const flags = ['-x', 'c', '-std=c11', '-Wall', '-Werror', '-o', program, '-'];
    execFileSync('cc', flags, { input: source + CALLS });
    const said = execFileSync(program, { encoding: 'utf8' });
    execFileSync('rm', [program]);
    assert.deepEqual(said.trimEnd().split('\n'), [
      '2 1024',
      'no console',
      'no vsock',
      '2 /s/b blk0 2 512',
      `26 ${ODD}.sock fs0 2 256`,
      '19 /s/v vsock0 3 256',
      '4 /s/r rng0 1 256',
      '3 /s/c console0 4 256',
    ]);
  },
);

const MACHINE: LibvirtMachine = {
  ...{ domainType: 'kvm', arch: 'x86_64', machine: 'q35', cpuCount: 2 },
  ...{ memoryBytes: 2 ** 30, words: ['-append', `<"'&\n>`] },
};

test('the domain for libvirt is well-formed, and has no text of ours as markup', () => {
  const xml = libvirtDomain(DEVICES, SERVERS, MACHINE);
  const open: string[] = [];
  const plain = xml.replaceAll(/<!--(?:(?!--)[^])*-->/g, '');
  for (const [, close, name = '', rest = ''] of plain.matchAll(
    /<(\/?)([a-z:]+)((?:\s[a-z:]+='[^'<&]*(?:&(?:amp|lt|gt|apos|quot|#\d+);[^'<&]*)*')*\/?)>/g,
  )) {
    if (close === '/') assert.equal(open.pop(), name);
    else if (!rest.endsWith('/')) open.push(name);
  }
  assert.deepEqual(open, []);
  assert.match(
    xml,
    /<source socket='\/tmp\/it&apos;s &quot;1a&quot;, &lt;b&gt;&amp;\[c\] \\d\/é\.sock'\/>/,
  );
  assert.match(xml, /<qemu:arg value='&lt;&quot;&apos;&amp;&#10;&gt;'\/>/);
  assert.match(
    xml,
    /<disk type='vhostuser'[^]*<source type='unix' path='\/s\/b'\/>[^]*<readonly\/>/,
  );
  assert.match(xml, /<memoryBacking>\s*<source type='memfd'\/>\s*<access mode='shared'\/>/);
});

test('a shell gets each word of a script as it was given', () => {
  const words = ['a b', "it's", '$HOME', '`ls`', '\\', '', '*', ODD, 'two\nlines', '!', '#'];
  const script = shellScript({
    about: ['a\nb'],
    folder: null,
    servers: [],
    remarks: ['a remark\nrm -rf /'],
    monitor: [['printf', '%s\\0'], ...words.map((word) => [word])],
  });
  const said = execFileSync('/bin/sh', ['-c', script], { encoding: 'utf8' });
  assert.deepEqual(said.split('\0').slice(0, -1), words);
});
