/**
 * `vhost-user fs` with a real guest, as in fs.test.ts, by POSIX facilities only: no call of Linux's
 * own, with eventfds and with pipes.
 *
 * @module
 */
import { test } from 'node:test';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import { useFolder } from './fs-run.ts';
import type { FsSetting } from './fs-run.ts';

const SETTINGS: readonly FsSetting[] = [
  {
    name: 'QEMU 10, our device with POSIX facilities only',
    qemu: (peers) => peers.qemu10,
    memory: 'shm',
    cache: 'auto',
    host: 'posix',
    heavy: true,
    hostNames: 50_000,
    guestNames: 5_000,
  },
  {
    name: 'QEMU 10 without eventfd, so with pipes, POSIX facilities only, nothing cached',
    qemu: (peers) => peers.qemu10,
    memory: 'shm',
    cache: 'never',
    host: 'posix',
    pipes: true,
    hostNames: 5_000,
    guestNames: 1_000,
  },
];

const search = await ensurePeers();
if (search.peers === undefined) {
  test(
    'a guest uses the shared folder of a POSIX host',
    { skip: missingPeers(search) },
    () => undefined,
  );
} else {
  const { peers } = search;
  for (const setting of SETTINGS) {
    test(`a guest builds, clones and unpacks in a shared folder: ${setting.name}`, (context) =>
      useFolder(context, peers, setting));
  }
}
