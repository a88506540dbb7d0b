/**
 * What `vhost-user qemu --print --for libvirt` writes is valid by libvirt's own schema.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { runProgram as runTool } from './process.ts';
import { ensurePeers, missingPeers } from './setup.ts';
import { runProgram } from '../support/program.ts';

const search = await ensurePeers();
const { peers } = search;
const skip = peers === undefined ? missingPeers(search) : false;

const EVERYTHING: readonly string[] = [
  ...['--blk', 'a.img,read-only', '--blk', 'b.img,num-queues=2'],
  ...['--fs', `./it's <a> & "b":my tag`, '--fs', 'archive=/tmp/x.tar,tag=x,queue-size=256'],
  ...['--vsock', '3', '--rng', '--console', 'unix:/tmp/c.sock'],
];

const LINES: readonly (readonly string[])[] = [
  [...EVERYTHING, '--', '-m', '3000M', '-smp', '4', '-M', 'pc,usb=off', '-append', `<"'&>`],
  [...EVERYTHING, '--', '-m', '8193b'],
  ['--rng', '--'],
  ['--fs', '.,tag=t', '--'],
];

test(
  'a domain for libvirt is valid by its schema, whatever is in it',
  { skip },
  async (context) => {
    const folder = mkdtempSync('/tmp/vhu-libvirt-');
    context.after(() => rmSync(folder, { recursive: true, force: true }));
    const path = join(folder, 'domain.xml');
    const validate = (): Promise<string> => runTool([...(peers?.validateDomain ?? []), path]);
    for (const line of LINES) {
      const args = ['qemu', '--print', '--for', 'libvirt', ...line];
      const { code, stdout, stderr } = await runProgram(args, { cwd: folder });
      assert.equal(code, 0, stderr);
      writeFileSync(path, stdout);
      assert.match(await validate(), /validates/);
      // The schema is one that finds faults.
      writeFileSync(path, stdout.replace("<access mode='shared'/>", "<access mode='common'/>"));
      await assert.rejects(validate(), /fails to validate/);
    }
  },
);
