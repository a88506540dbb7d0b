/**
 * Where a control group is made, and that it bounds who is in it.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { MemoryGroup, groupPlace } from './memory-group.ts';
import { startProcess } from './process.ts';

const MIB = 2 ** 20;

test('the group of version 1 is found beside one of version 2 without controllers', () => {
  const mounts = [
    'cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0',
    'cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0',
    'cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0',
  ].join('\n');
  const groups = '4:memory:/a:b/c\n1:cpu:/\n0::/\n';
  const expected = { folder: '/sys/fs/cgroup/memory/a:b/c', version: 1 };
  assert.deepEqual(groupPlace(mounts, groups), expected);
  assert.deepEqual(groupPlace(mounts, groups.split('\n').reverse().join('\n')), expected);
});

test('the group of version 2 is found where it is the only one', () => {
  const mounts = 'cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n';
  const expected = { folder: '/sys/fs/cgroup/user.slice', version: 2 };
  assert.deepEqual(groupPlace(mounts, '0::/user.slice\n'), expected);
  assert.deepEqual(groupPlace(mounts, '0::/\n'), { folder: '/sys/fs/cgroup', version: 2 });
});

test('without a mount there is no group', () => {
  assert.equal(groupPlace('tmpfs /tmp tmpfs rw 0 0\n', '0::/\n'), null);
  assert.equal(groupPlace('', ''), null);
});

test('who takes more memory than its group may have is ended by the kernel', async (t) => {
  const group = MemoryGroup.make(64 * MIB);
  if (group === null) {
    t.skip('this user may make no control group with a limit of memory');
    return;
  }
  try {
    const run = async (mib: number): Promise<unknown[]> => {
      const text = `Buffer.alloc(${mib} * 2 ** 20, 1)`;
      const command = group.inside({ file: process.execPath, args: ['-e', text] });
      return once(startProcess(command, { stdio: 'ignore' }), 'exit');
    };
    assert.deepEqual(await run(1), [0, null]);
    assert.deepEqual(await run(256), [null, 'SIGKILL']);
    const { peakBytes } = group;
    if (peakBytes !== null) assert.ok(peakBytes > 32 * MIB && peakBytes <= 64 * MIB);
  } finally {
    await group.remove();
  }
});

test('a benchmark that is ended by a signal leaves no group behind', async (t) => {
  const group = MemoryGroup.make(64 * MIB);
  await group?.remove();
  if (group === null) {
    t.skip('this user may make no control group with a limit of memory');
    return;
  }
  const of = (name: string): string => JSON.stringify(new URL(name, import.meta.url).href);
  const text = `
    const { MemoryGroup } = await import(${of('./memory-group.js')});
    const { startProcess } = await import(${of('./process.js')});
    const { withFolder } = await import(${of('./site.js')});
    await withFolder(async () => {
      const group = MemoryGroup.make(${64 * MIB});
      startProcess(group.inside({ file: 'sleep', args: ['60'] }), { stdio: 'ignore' });
      setTimeout(() => console.log('ready'), 200);
      await new Promise((resolve) => setTimeout(resolve, 60_000));
    });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', text]);
  await once(child.stdout, 'data');
  const own = (name: string): string => readFileSync(`/proc/self/${name}`, 'utf8');
  const place = groupPlace(own('mounts'), own('cgroup'));
  const folder = `${place?.folder ?? ''}/vhost-user-bench-${String(child.pid)}`;
  assert.ok(existsSync(folder), `${folder} is there meanwhile`);
  child.kill('SIGTERM');
  assert.deepEqual(await once(child, 'exit'), [143, null]);
  assert.ok(!existsSync(folder), `${folder} is gone`);
});
