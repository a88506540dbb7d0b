/**
 * What this layer is made of on macOS, FreeBSD and OpenBSD, on the models of those hosts: which
 * notifiers, shared memory and poller are chosen, and what stands in for what a host lacks.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { PLAYED_HOSTS, compileModel, modelEnvironment, whyNoModels } from './model.ts';
import type { PlayedHost } from './model.ts';

const TIME_LIMIT_MS = 60_000;
const ENDING = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const DOOR = new URL(`../../src/sys/index.${ENDING}`, import.meta.url).href;
const libraries = new Map<PlayedHost, string>();
const folder = mkdtempSync(join(tmpdir(), 'vhu-hosts-'));
after(() => rmSync(folder, { recursive: true }));

/** What a module prints as JSON that has this layer as `sys`. */
function answer(os: PlayedHost, source: string, env: Record<string, string> = {}): unknown {
  const file = join(folder, 'child.mjs');
  writeFileSync(file, `import * as sys from ${JSON.stringify(DOOR)};\n${source}`);
  const { status, stdout, stderr } = spawnSync(process.execPath, [file], {
    env: modelEnvironment({ os, library: libraries.get(os) ?? '', env }),
    encoding: 'utf8',
    timeout: TIME_LIMIT_MS,
  });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

describe('the facilities of other hosts', { skip: whyNoModels() }, () => {
  before(() => {
    for (const os of PLAYED_HOSTS) libraries.set(os, compileModel(folder, os));
  });

  it('are chosen by what the host has', () => {
    const source = `console.log(JSON.stringify([sys.host().os, sys.notifierKind(),
      sys.sharedMemoryKind(), sys.pollerKind(), sys.hasUnixSeqpacket(), sys.Uring.open(8)]));`;
    assert.deepEqual(
      PLAYED_HOSTS.map((os) => answer(os, source)),
      [
        ['darwin', 'pipe', 'shm_open', 'kqueue', false, null],
        ['freebsd', 'eventfd', 'memfd', 'kqueue', true, null],
        ['openbsd', 'pipe', 'shm_mkstemp', 'kqueue', true, null],
      ],
    );
  });

  it('shared memory leaves no name and no fd behind, and is zeroed', () => {
    for (const os of PLAYED_HOSTS) {
      const result = answer(
        os,
        `import { readdirSync } from 'node:fs';
         const names = () => readdirSync('/dev/shm').filter((name) => name.includes('vhu-model'));
         const before = sys.openFdCount();
         const fd = sys.createSharedMemory(65536, 'x');
         const mapping = sys.mapFd(fd, 65536, 0, { writable: true });
         const zero = new Uint8Array(sys.viewMemory(mapping.address, 65536)).every((b) => b === 0);
         const kind = sys.fdKind(fd);
         mapping.unmap();
         sys.closeFd(fd);
         console.log(JSON.stringify({ zero, kind, names: names(),
           leaked: sys.openFdCount() - before }));`,
      );
      const kind = os === 'darwin' ? 'memory' : 'file';
      assert.deepEqual(result, { zero: true, kind, names: [], leaked: 0 }, os);
    }
  });

  it('a listening socket is told from a connected one, with SO_ACCEPTCONN and without', () => {
    for (const os of PLAYED_HOSTS) {
      const path = join(folder, `${os}.sock`);
      const result = answer(
        os,
        `const listener = sys.listenUnix(${JSON.stringify(path)});
         const client = sys.connectUnix(${JSON.stringify(path)});
         const server = sys.acceptUnix(listener);
         const [a] = sys.socketPair();
         const { notifier } = sys.createNotifier();
         let text;
         try { sys.isListening(notifier.fd); } catch (error) { text = error.message; }
         const fds = [listener, client, server, a].map(sys.isListening);
         console.log(JSON.stringify({ text, fds }));`,
      ) as { text: string };
      const { text, ...rest } = result;
      assert.deepEqual(rest, { fds: [true, false, false, false] });
      assert.match(text, /^getsockopt\(fd \d+, SO_ACCEPTCONN\): ENOTSOCK: fd \d+ is /);
    }
  });

  it('a file system without holes is EOPNOTSUPP, whichever of its two numbers macOS gives', () => {
    const source = `import { writeFileSync } from 'node:fs';
      const path = ${JSON.stringify(join(folder, 'image'))};
      writeFileSync(path, Buffer.alloc(65536, 1));
      const fd = sys.openFile(path, { writable: true });
      const hole = sys.punchHole(fd, 0, 32768);
      console.log(JSON.stringify([hole, sys.ERRNO.EOPNOTSUPP]));`;
    assert.deepEqual(answer('darwin', source), [0, 102]);
    assert.deepEqual(answer('darwin', source, { VHU_MODEL_NO_HOLES: '1' }), [-102, 102]);
  });

  it('space that is asked for has to be some: macOS would take none for a success', () => {
    const source = `import { openSync } from 'node:fs';
      const fd = openSync(${JSON.stringify(join(folder, 'space'))}, 'w+');
      console.log(JSON.stringify([sys.allocateFd(fd, 0, 0, 0), sys.allocateFd(fd, 0, 0, 4096)]));`;
    assert.deepEqual(answer('darwin', source), [-22, 0]);
  });

  it('launchd hands over its sockets, and says when it has none of that name', () => {
    const result = answer(
      'darwin',
      `const fds = sys.launchdFds('Listeners');
       let text;
       try { sys.launchdFds('Others'); } catch (error) { text = error.message; }
       console.log(JSON.stringify({ text, kinds: fds.map(sys.fdKind) }));`,
    ) as { text: string };
    const { text, ...rest } = result;
    assert.deepEqual(rest, { kinds: ['socket', 'socket'] });
    assert.match(text, /^launch_activate_socket\(Others\): ENOENT: was this process started by/);
  });
});
