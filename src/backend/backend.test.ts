/**
 * Where a back-end meets its front-ends: paths, inherited sockets, connections both ways.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { existsSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { acceptUnix, closeFd, connectUnix, fdKind, listenUnix, socketPair } from '../sys/index.ts';
import { EchoDevice, MockFrontend, RamDisk, expectNoLeak, holdings } from '../testing/index.ts';
import { startBackend } from './index.ts';
import type { BackendAddress, BackendEvents, DataPlane } from './index.ts';

const SIZE_BYTES = 64 * 1024;

/** Runs `body` in a folder of its own and looks for leaks afterwards. */
async function inFolder(body: (path: string) => Promise<void>): Promise<void> {
  const before = holdings();
  const dir = mkdtempSync(join(tmpdir(), 'vhu-be-'));
  try {
    await body(join(dir, 's'));
  } finally {
    rmSync(dir, { recursive: true });
  }
  await expectNoLeak(before);
}

const disk = (): RamDisk => new RamDisk({ sizeBytes: SIZE_BYTES });

/** Connects, has one request answered, and goes. */
async function useOnce(frontend: MockFrontend): Promise<void> {
  const guest = await frontend.bringUp();
  const header = new Uint8Array(16); // a read of sector 0
  const done = await guest.queue(0).exchange([header], [512, 1]);
  assert.equal(done.written[512], 0);
  frontend.close();
  guest.close();
}

async function until(happened: () => boolean): Promise<void> {
  for (let i = 0; i < 3000; i++) {
    if (happened()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail('it did not happen within 30 s');
}

describe('a back-end', () => {
  it('listens on a path, with the permissions that were asked for, and takes it away', async () => {
    await inFolder(async (path) => {
      const addresses: string[] = [];
      const events: BackendEvents = { listening: (address) => addresses.push(address) };
      const backend = await startBackend(disk(), { kind: 'listen', path, mode: 0o600 }, events);
      assert.deepEqual(addresses, [path]);
      assert.equal(statSync(path).mode & 0o777, 0o600);
      assert.equal(backend.io, 'event loop');
      await useOnce(await MockFrontend.connect(path));
      await backend.close();
      await backend.ended;
      assert.equal(existsSync(path), false);
    });
  });

  it('serves one front-end after the other, and tells who comes and goes', async () => {
    await inFolder(async (path) => {
      const log: string[] = [];
      const backend = await startBackend(
        disk(),
        { kind: 'listen', path },
        {
          connected: ({ pid }) => log.push(`connected ${String(pid === process.pid)}`),
          disconnected: (reason) => log.push(`gone ${String(reason)}`),
        },
      );
      const first = await MockFrontend.connect(path);
      const second = await MockFrontend.connect(path); // waits to be accepted
      await useOnce(first);
      await useOnce(second);
      await until(() => !backend.connected && log.length === 4);
      assert.deepEqual(log, ['connected true', 'gone null', 'connected true', 'gone null']);
      await backend.close();
    });
  });

  it('leaves a socket alone that somebody else has put in its place', async () => {
    await inFolder(async (path) => {
      const backend = await startBackend(disk(), { kind: 'listen', path });
      renameSync(path, `${path}.old`);
      const other = listenUnix(path);
      await backend.close();
      assert.equal(existsSync(path), true);
      closeFd(other);
    });
  });

  it('refuses a path that is taken, by a process or by a file', async () => {
    await inFolder(async (path) => {
      const backend = await startBackend(disk(), { kind: 'listen', path });
      await assert.rejects(startBackend(disk(), { kind: 'listen', path }), {
        code: 'ERR_VHU_SOCKET_IN_USE',
      });
      await useOnce(await MockFrontend.connect(path)); // the first one is untouched
      await backend.close();
      writeFileSync(path, 'precious');
      await assert.rejects(startBackend(disk(), { kind: 'listen', path }), {
        code: 'ERR_VHU_SOCKET_PATH',
      });
    });
  });

  it('takes over an inherited socket that listens', async () => {
    await inFolder(async (path) => {
      const fd = listenUnix(path);
      const backend = await startBackend(disk(), { kind: 'fd', fd });
      assert.equal(backend.address, `fd ${String(fd)}`);
      await useOnce(await MockFrontend.connect(path));
      await useOnce(await MockFrontend.connect(path));
      await backend.close();
      assert.equal(existsSync(path), true, 'the socket file belongs to whoever made it');
    });
  });

  it('takes over an inherited socket that is connected, and ends with it', async () => {
    await inFolder(async () => {
      const [ours, theirs] = socketPair();
      const backend = await startBackend(disk(), { kind: 'fd', fd: theirs });
      await useOnce(new MockFrontend(ours));
      await backend.ended;
      await backend.close();
    });
  });

  it('connects to a front-end that listens, waits for it, and comes again', async () => {
    await inFolder(async (path) => {
      const address: BackendAddress = { kind: 'connect', path };
      const backend = await startBackend(disk(), address);
      const listening = listenUnix(path); // later than the first attempt
      for (let i = 0; i < 2; i++) {
        let fd = -1;
        await until(() => (fd = acceptUnix(listening)) >= 0);
        await useOnce(new MockFrontend(fd));
      }
      await backend.close();
      closeFd(listening);
    });
  });

  it('does not come again at once to a front-end that hangs up at once', async () => {
    await inFolder(async (path) => {
      const listening = listenUnix(path);
      let connections = 0;
      const events: BackendEvents = { connected: () => connections++ };
      const backend = await startBackend(disk(), { kind: 'connect', path }, events);
      const endMs = performance.now() + 300;
      while (performance.now() < endMs) {
        const fd = acceptUnix(listening);
        if (fd >= 0) closeFd(fd);
        await new Promise(setImmediate);
      }
      await backend.close();
      closeFd(listening);
      assert.ok(connections <= 4, `${String(connections)} connections in 300 ms`);
    });
  });

  it('whose data plane cannot be made closes its device, and says why', async () => {
    await inFolder(async (path) => {
      const ways: readonly (() => Promise<DataPlane>)[] = [
        () => Promise.reject(new Error('no data plane')),
        () => {
          throw new Error('no data plane');
        },
      ];
      for (const create of ways) {
        const device = new EchoDevice();
        Object.assign(device, { dataPlane: { kind: 'local', create } });
        await assert.rejects(startBackend(device, { kind: 'listen', path }), /no data plane/);
        assert.equal(device.closed, true);
        assert.equal(existsSync(path), false);
      }
    });
  });

  it('refuses an inherited fd that is no socket, in words', async () => {
    await inFolder(async (path) => {
      writeFileSync(path, '');
      const [fd, other] = socketPair();
      closeFd(other);
      closeFd(fd);
      assert.equal(fdKind(fd), 'other');
      await assert.rejects(startBackend(disk(), { kind: 'fd', fd }), /EBADF/);
    });
  });

  it('closes under a connected front-end, which sees the end of the stream', async () => {
    await inFolder(async (path) => {
      const backend = await startBackend(disk(), { kind: 'listen', path });
      const frontend = await MockFrontend.connect(path);
      const guest = await frontend.bringUp();
      await backend.close();
      await assert.rejects(frontend.askNumber('GET_FEATURES'));
      assert.throws(() => connectUnix(path));
      frontend.close();
      guest.close();
    });
  });

  it('shares a process with others, each with its own device', async () => {
    await inFolder(async (path) => {
      const paths = [0, 1, 2, 3].map((i) => `${path}${String(i)}`);
      const backends = await Promise.all(
        paths.map((each) => startBackend(disk(), { kind: 'listen', path: each })),
      );
      await Promise.all(paths.map(async (each) => useOnce(await MockFrontend.connect(each))));
      await Promise.all(backends.map((backend) => backend.close()));
    });
  });
});
