/**
 * Tests of `vhost-user doctor` as a user starts it, with programs in the place of QEMU.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runProgram } from '../support/program.ts';

const folder = mkdtempSync(join(tmpdir(), 'vhu-doctor-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('a QEMU of a folder in PATH is found first, and what it attaches is named', async () => {
  const bin = join(folder, 'good');
  mkdirSync(bin);
  const file = join(bin, 'qemu-system-x86_64');
  const cases = [
    '*--version*) echo "QEMU emulator version 99.1.0 (test)" ;;',
    `*'-device help'*) for name in blk fs vsock rng test-device; do
       printf 'name "vhost-user-%s-pci", bus PCI\\n' $name; done ;;`,
    `*'-object help'*) echo 'List of user creatable objects:'; echo '  memory-backend-shm' ;;`,
    `*'-accel help'*) echo 'Accelerators supported in QEMU binary:'; echo tcg ;;`,
  ];
  writeFileSync(file, `#!/bin/sh\ncase "$*" in\n${cases.join('\n')}\n*) exit 64 ;;\nesac\n`);
  chmodSync(file, 0o755);
  const env = { PATH: `${bin}:${process.env.PATH ?? ''}` };
  const { code, stdout, stderr } = await runProgram(['doctor'], { env });
  assert.equal(code, 0, stdout);
  assert.equal(stderr, '');
  assert.match(stdout, new RegExp(`${file} attaches blk, fs, vsock, rng, console`));
  assert.match(stdout, /99\.1\.0 \(test\); vhost-user-\{blk,fs,rng,test-device,vsock\}/);
});
