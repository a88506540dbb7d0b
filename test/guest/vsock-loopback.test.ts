/**
 * `vhost-user vsock` with the host's own AF_VSOCK. Few test machines have that, so the host is a
 * guest: a Linux with the kernel's loopback of vsock, in which Node and our programs run out of
 * this host's own root, shared read-only. What is done there is `vsock-inside.ts`.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { startFsServer, stopServer } from '../peers/servers.ts';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import type { Peers } from '../peers/setup.ts';
import { BUILD } from '../support/repository.ts';
import { runGuest } from './qemu.ts';
import { VSOCK_GUEST, vsockPrograms } from './vsock-program.ts';

const TAG = 'host';
const TIMEOUT_MS = 400_000; // some 60 s on an idle machine
const LOOPBACK = 'kernel/net/vmw_vsock/vsock_loopback.ko';
/** Code that is made at run time is what an emulated processor is slowest at. */
const ENGINE = '--jitless --no-expose-wasm';
const FROM_GUEST = ['closed-port', 'send', 'receive', 'at-once'];
const FROM_HOST = [
  ...['host-sends', 'host-receives', 'host-at-once'],
  ...['host-to-closed-port', 'killed-program'],
];
const MESSAGES = ['messages', 'late-reader', 'torn-message'];
const STEPS = [
  ...['absent-listener', 'absent', 'no-transport'],
  ...[...FROM_GUEST, ...MESSAGES, 'end'].map((each) => `library.${each}`),
  ...[...FROM_GUEST, ...FROM_HOST, ...MESSAGES, 'host-messages', 'end'].map(
    (each) => `command.${each}`,
  ),
];

/**
 * This host's root, with a /dev and /proc of the guest's own; no module of vsock is left. What is
 * written goes to /dev/shm, since any other folder may be the one that the tests lie in.
 */
const SCRIPT = `set -e
mkdir -p /host
echo "mounts the host's root"
mount -t virtiofs ${TAG} /host -o ro
echo 'has the root'
for point in proc sys dev; do mount --bind /$point /host/$point; done
mkdir -p /dev/shm
mount -t tmpfs shm /host/dev/shm
ip link set lo up
rmmod vsock_diag vmw_vsock_virtio_transport vmw_vsock_virtio_transport_common vsock
cp /bin/busybox ${VSOCK_GUEST} /modules/*vsock*.ko /host/dev/shm/
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/dev/shm TMPDIR=/dev/shm VHOST_USER_HOST=posix
echo 'starts Node'
chroot /host ${process.execPath} ${ENGINE} ${join(BUILD, 'test/guest/vsock-inside.js')}
`;

const search = await ensurePeers();
const name = "a host's own AF_VSOCK is reached by the guest, and reaches it";
if (search.peers === undefined) {
  test(name, { skip: missingPeers(search) }, () => undefined);
} else {
  const { peers } = search;
  const loopback = join(peers.modules, LOOPBACK);
  const skip = existsSync(loopback) ? false : `the guest's kernel has no ${LOOPBACK}`;
  test(name, { skip }, (context) => useHostVsock(context, peers, loopback));
}

async function useHostVsock(context: TestContext, peers: Peers, loopback: string): Promise<void> {
  const folder = mkdtempSync('/tmp/vhost-user-vsock-host-');
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const socketPath = join(folder, 'fs.sock');
  const share = { peers, sharedDir: '/', socketPath, tag: TAG, cache: 'always' } as const;
  const server = await startFsServer({ ...share, readOnly: true });
  context.after(() => server.stop('SIGKILL'));
  const programs = await vsockPrograms(peers);
  programs.set('/modules/vsock_loopback.ko', loopback);
  const guest = await runGuest({
    peers,
    qemu: peers.qemu10,
    folder,
    shares: [{ socketPath, tag: TAG }],
    programs,
    bare: true,
    memoryMb: 1024,
    memory: 'memfd',
    script: SCRIPT,
    timeoutMs: TIMEOUT_MS,
  });
  const said = `${guest.output}\nThe folder's server:\n${server.output}`;
  assert.equal(guest.status, 0, said);
  const done = [...guest.values.keys()].filter((each) => each.startsWith('ok.'));
  assert.deepEqual(
    done,
    STEPS.map((each) => `ok.${each}`),
    said,
  );
  context.diagnostic(`${guest.seconds.toFixed(1)} s`);
  await stopServer(server);
}
