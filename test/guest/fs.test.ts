/**
 * `vhost-user fs` with a real guest: a Linux under QEMU builds, clones, unpacks and keeps data
 * bases in a shared folder, which is then compared from the host's side with what the guest says.
 *
 * @module
 */
import { test } from 'node:test';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import { useFolder } from './fs-run.ts';
import type { FsSetting } from './fs-run.ts';

const SETTINGS: readonly FsSetting[] = [
  {
    name: 'QEMU 10, native',
    qemu: (peers) => peers.qemu10,
    memory: 'memfd',
    cache: 'auto',
    heavy: true,
    hostNames: 50_000,
    guestNames: 50_000,
  },
  {
    name: 'QEMU 11, native, everything cached',
    qemu: (peers) => peers.qemu11,
    memory: 'memfd',
    cache: 'always',
    writeback: true,
    hostNames: 5_000,
    guestNames: 2_000,
  },
];

const search = await ensurePeers();
if (search.peers === undefined) {
  test('a guest uses our shared folder', { skip: missingPeers(search) }, () => undefined);
} else {
  const { peers } = search;
  for (const setting of SETTINGS) {
    test(`a guest builds, clones and unpacks in a shared folder: ${setting.name}`, (context) =>
      useFolder(context, peers, setting));
  }
}
