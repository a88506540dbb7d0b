/**
 * Tests of the ways in which a program in a mount namespace is started and told things: sockets
 * that it inherits, archives, configurations of several devices, logs in files, signals.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { FsClient } from '../../src/frontend/index.ts';
import { closeFd, listenUnix, socketPair } from '../../src/sys/index.ts';
import { PROGRAM_FILE, withProgram } from '../support/program.ts';
import type { StartOptions } from '../support/program.ts';
import { tellProof } from '../support/proof.ts';

const NAMESPACE = /"msg":"sandbox: mount namespace, (Landlock \d+, )?seccomp"/;
const JSON_LOG = ['--log-format', 'json'];
const LIMIT_MS = 20_000;

let folder = '';
let share = '';
let sockets = 0;
let tried = 0;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-starts-'));
  share = join(folder, 'share');
  for (const name of ['share', 'second']) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, 'hello'), `of ${name}`);
  }
  execFileSync('tar', ['-C', share, '-czf', join(folder, 'a.tar.gz'), 'hello']);
  execFileSync('tar', ['-C', share, '-cf', join(folder, 'a.tar'), 'hello']);
});
after(() => rmSync(folder, { recursive: true, force: true }));

function noNamespace(): string | false {
  if (process.platform !== 'linux') return 'mount namespaces are of Linux';
  const mounts = process.geteuid?.() === 0 && spawnSync('unshare', ['-m', 'true']).status === 0;
  return mounts ? false : 'a mount namespace needs root';
}

function socketPath(): string {
  return join(folder, `${String(sockets++)}.sock`);
}

async function expectHello(guest: FsClient, text: string): Promise<void> {
  assert.equal(await guest.readFile('/hello', 'utf8'), text);
  await guest.unmount();
}

/** Starts it, and has the body look once it is in a mount namespace. */
async function inNamespace(
  args: readonly string[],
  options: StartOptions,
  body: () => Promise<void>,
): Promise<void> {
  await withProgram([...args, ...JSON_LOG], options, async (program) => {
    const [line] = await program.says(/"msg":"sandbox: [^"]*"/);
    assert.match(line, NAMESPACE);
    await body();
    program.child.kill('SIGTERM');
    assert.equal((await program.ended).code, 0, program.stderr);
  });
}

describe('in a mount namespace there is', { skip: noNamespace() }, () => {
  afterEach(() => {
    tried++;
  });

  it('a socket that was inherited, and listens', async () => {
    const path = socketPath();
    const listener = listenUnix(path);
    try {
      await inNamespace(['fs', share, '--fd', '3'], { extraFds: [listener] }, async () => {
        for (let guest = 0; guest < 2; guest++) {
          await expectHello(await FsClient.mount(path), 'of share');
        }
      });
    } finally {
      closeFd(listener);
    }
  });

  it('a socket that was inherited, and is connected', async () => {
    const [ours, theirs] = socketPair();
    await withProgram(
      ['fs', share, '--fd', '3', ...JSON_LOG],
      { extraFds: [theirs] },
      async (p) => {
        closeFd(theirs);
        await p.says(NAMESPACE);
        await expectHello(await FsClient.fromFd(ours), 'of share');
        assert.equal((await p.ended).code, 0, p.stderr); // its front-end is gone
      },
    );
  });

  it('an archive, compressed or not', async () => {
    for (const name of ['a.tar', 'a.tar.gz']) {
      const path = socketPath();
      const args = ['fs', '--archive', join(folder, name), '--socket-path', path];
      await inNamespace([...args, '--sandbox', 'namespace'], {}, async () => {
        await expectHello(await FsClient.mount(path), 'of share');
      });
    }
  });

  it('what several devices of one configuration need', async () => {
    const image = join(folder, 'disk.img');
    writeFileSync(image, Buffer.alloc(1 << 20));
    const [one, two, disk] = [socketPath(), socketPath(), socketPath()];
    const devices = [
      { type: 'fs', name: 'one', 'shared-dir': share, 'socket-path': one },
      { type: 'fs', name: 'two', 'shared-dir': join(folder, 'second'), 'socket-path': two },
      { type: 'blk', name: 'disk', image, 'socket-path': disk },
    ];
    const file = join(folder, 'run.yaml');
    writeFileSync(file, JSON.stringify({ devices }));
    await inNamespace(['run', file], {}, async () => {
      await expectHello(await FsClient.mount(one), 'of share');
      await expectHello(await FsClient.mount(two), 'of second');
    });
  });

  it('none, and a reason, where a device needs names of its own beside a folder', async () => {
    const devices = [
      { type: 'fs', name: 'one', 'shared-dir': share, 'socket-path': socketPath() },
      { type: 'console', name: 'con', log: join(folder, 'c.log'), 'socket-path': socketPath() },
    ];
    const file = join(folder, 'console.yaml');
    writeFileSync(file, JSON.stringify({ devices }));
    await withProgram(['run', file, ...JSON_LOG], {}, async (program) => {
      const [, why = ''] = await program.says(/"msg":"sandbox: Landlock \d+, seccomp; ([^"]*)"/);
      assert.match(why, /^no mount namespace: a device with files of its own, such as \S+c\.log, /);
      assert.equal((await program.end()).code, 0);
    });
  });

  it('the log that it was started with, wherever that is moved, and SIGHUP ends nothing', async () => {
    const [path, log] = [socketPath(), join(share, 'fs.log')];
    const fd = openSync(log, 'a');
    const words = [PROGRAM_FILE, 'fs', share, '--socket-path', path, ...JSON_LOG];
    const child = spawn(process.execPath, words, { stdio: ['ignore', 'ignore', fd] });
    closeSync(fd);
    try {
      await expectSaid(log, NAMESPACE);
      const before = join(folder, 'fs.log.1');
      renameSync(log, before);
      child.kill('SIGHUP');
      await expectHello(await FsClient.mount(path), 'of share');
      await expectSaid(before, /"event":"disconnected"/);
      // As a rotation that copies and cuts it off does (logrotate(8), copytruncate).
      writeFileSync(before, '');
      await expectHello(await FsClient.mount(path), 'of share');
      await expectSaid(before, /^\{.*"event":"disconnected"/m);
    } finally {
      child.kill('SIGTERM');
    }
    const code = await new Promise((resolve) => child.once('exit', resolve));
    assert.equal(code, 0);
  });
});

it('was tried in all ways', { skip: noNamespace() }, (context) => {
  assert.equal(tried, 6);
  tellProof(context, `sandbox: a mount namespace in ${String(tried)} ways to start`);
});

async function expectSaid(file: string, pattern: RegExp): Promise<void> {
  const until = Date.now() + LIMIT_MS;
  while (!pattern.test(readFileSync(file, 'utf8'))) {
    assert.ok(Date.now() < until, `${file}: ${readFileSync(file, 'utf8')}`);
    await wait(50);
  }
}
