/**
 * What only a process of its own can show: socket activation, limits on open files, the end of a
 * process, and another user.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { activatedFds, closeFd, launchdFds, listenUnix, setNonBlocking } from './index.ts';
import { abi } from './host.ts';
import * as libc from './libc.ts';

const ENDING = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const DOOR = new URL(`./index.${ENDING}`, import.meta.url).href;
const THREAD = new URL(`./watch-thread.${ENDING}`, import.meta.url).href;
const TIME_LIMIT_MS = 60_000;

const folder = mkdtempSync(join(tmpdir(), 'vhu-process-'));
after(() => {
  rmSync(folder, { recursive: true });
});

let children = 0;

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
}

interface ChildOptions {
  /** Shell commands before the program: limits, variables. */
  readonly shell?: string;
  /** Fds for the child, from 3 on. */
  readonly fds?: readonly number[];
  readonly uid?: number;
}

/** Runs `source` as a module that has this layer as `sys`; whatever it prints as JSON is `out`. */
function run(source: string, options: ChildOptions = {}): Promise<Ended> {
  const program = `import * as sys from ${JSON.stringify(DOOR)};\n${source}`;
  const file = join(folder, `child-${String(++children)}.mjs`);
  writeFileSync(file, program);
  const shell = `${options.shell ?? ''} exec "$0" "$1"`;
  const child = spawn('/bin/sh', ['-c', shell, process.execPath, file], {
    stdio: ['ignore', 'pipe', 'pipe', ...(options.fds ?? [])],
    timeout: TIME_LIMIT_MS,
    killSignal: 'SIGKILL',
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
  });
  const chunks: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => chunks.push(chunk.toString()));
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      resolve({ code, signal, out: chunks.join('').trim() });
    });
  });
}

/** What a child printed, which must have ended well. */
async function answer(source: string, options: ChildOptions = {}): Promise<unknown> {
  const { code, signal, out } = await run(source, options);
  assert.deepEqual([code, signal], [0, null], out);
  return JSON.parse(out);
}

describe('activated sockets', () => {
  const path = join(folder, 'activated');

  it('of systemd are taken with their names, kept from children, and taken once', async () => {
    const listener = listenUnix(path);
    setNonBlocking(listener, false);
    const result = await answer(
      `const fds = sys.activatedFds(process.env);
       for (const { fd } of fds) sys.adoptSocket(fd);
       console.log(JSON.stringify({
         fds, listening: fds.map(({ fd }) => sys.isListening(fd)),
         left: Object.keys(process.env).filter((name) => name.startsWith('LISTEN_')),
         again: sys.activatedFds(process.env),
         child: (await import('node:child_process'))
           .execFileSync('/bin/sh', ['-c', 'test -S /dev/fd/3 && echo open || echo closed'])
           .toString().trim(),
       }));`,
      {
        shell:
          'LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=disk:; ' +
          'export LISTEN_PID LISTEN_FDS LISTEN_FDNAMES;',
        fds: [listener, listener],
      },
    );
    closeFd(listener);
    assert.deepEqual(result, {
      fds: [
        { fd: 3, name: 'disk' },
        { fd: 4, name: '' },
      ],
      listening: [true, true],
      left: [],
      again: [],
      child: 'closed',
    });
  });

  it('of systemd without names have empty ones', async () => {
    const listener = listenUnix(path);
    const result = await answer('console.log(JSON.stringify(sys.activatedFds(process.env)));', {
      shell: 'LISTEN_PID=$$ LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS;',
      fds: [listener],
    });
    closeFd(listener);
    assert.deepEqual(result, [{ fd: 3, name: '' }]);
  });

  it('are none when they are for another process, or the variables make no sense', () => {
    const pid = String(process.pid);
    for (const env of [
      {},
      { LISTEN_FDS: '1' },
      { LISTEN_FDS: '1', LISTEN_PID: String(process.pid + 1) },
      { LISTEN_FDS: '1', LISTEN_PID: '' },
      { LISTEN_FDS: '', LISTEN_PID: pid },
      { LISTEN_FDS: '0', LISTEN_PID: pid },
      { LISTEN_FDS: '-3', LISTEN_PID: pid },
      { LISTEN_FDS: 'three', LISTEN_PID: pid },
    ]) {
      const before = { ...env };
      assert.deepEqual(activatedFds(env), []);
      assert.deepEqual(env, before, 'what is not ours is left alone');
    }
  });

  it('that were promised but are not open are an error', () => {
    const env = { LISTEN_FDS: '4000', LISTEN_PID: String(process.pid) };
    assert.throws(() => {
      activatedFdsBeyond(env);
    }, /fcntl\(fd \d+, F_SETFD, FD_CLOEXEC\): EBADF/);
  });

  const mac = process.platform === 'darwin' ? 'macOS has launchd' : false;
  it('of launchd are of macOS, and the error says so', { skip: mac }, () => {
    assert.throws(() => launchdFds('Listeners'), /launch_activate_socket\(\): ENOSYS: only macOS/);
  });
});

/**
 * activatedFds marks the fds of this very process as close-on-exec: as Node has opened them anyway.
 */
function activatedFdsBeyond(env: NodeJS.ProcessEnv): void {
  const { F_GETFD } = abi.constants;
  const flags = Array.from({ length: 64 }, (_, fd) => libc.fcntl('int', fd, F_GETFD, 0));
  try {
    activatedFds(env);
  } finally {
    flags.forEach((flag, fd) => {
      if (flag >= 0) libc.fcntl('int', fd, abi.constants.F_SETFD, flag);
    });
  }
}

describe('a process that may open few files', () => {
  it('is told that fds were lost in a message, gets those that fit, and leaks none', async () => {
    const result = (await answer(
      `const [a, b] = sys.socketPair();
       const memory = sys.createSharedMemory(4096, 'many');
       const before = sys.openFdCount();
       const received = { fds: [], truncated: false };
       const into = new Uint8Array(10);
       const sent = sys.sendWithFds(a, Uint8Array.of(1, 2), new Array(100).fill(memory));
       const got = sys.receiveWithFds(b, into, received);
       const { truncated } = received;
       const count = received.fds.length;
       sys.closeFds(received.fds);
       const after = sys.openFdCount();
       sys.sendWithFds(a, Uint8Array.of(3), [memory]);
       const next = sys.receiveWithFds(b, into, received);
       console.log(JSON.stringify({ sent, got, truncated, count, leaked: after - before, next,
         fds: received.fds.length, again: received.truncated }));`,
      { shell: 'ulimit -n 64;' },
    )) as { count: number };
    const { count, ...rest } = result;
    // Linux gives as many as there is room for, the others none of them.
    const some = process.platform === 'linux' ? count > 0 && count < 64 : count === 0;
    assert.ok(some, `${String(count)} fds`);
    const expected = { sent: 2, got: 2, truncated: true, leaked: 0, next: 1, fds: 1, again: false };
    assert.deepEqual(rest, expected);
  });

  it('fails by names: accept, socketpair, pipes, shared memory', async () => {
    const path = join(folder, 'full');
    const result = (await answer(
      `const listener = sys.listenUnix(${JSON.stringify(path)});
       const client = sys.connectUnix(${JSON.stringify(path)});
       const poller = sys.createPoller();
       const fds = [];
       const tell = (attempt) => { try { attempt(); return 'no error'; }
         catch (error) { return error.message; } };
       for (;;) { try { fds.push(sys.dupFd(client)); } catch { break; } }
       const full = fds.length;
       const texts = [() => sys.acceptUnix(listener), () => sys.socketPair(), () => sys.dupFd(0),
         () => sys.createNotifier(), () => sys.createSharedMemory(4096, 'x'),
         () => sys.connectUnix('/x')].map(tell);
       const kind = [sys.Uring.open(8) === null, sys.createPoller().constructor.name];
       sys.closeFd(fds.pop());
       const one = tell(() => sys.createNotifier());
       const before = fds.length;
       for (let i = 0; i < 50; i++) tell(() => sys.createNotifier());
       let room = 0;
       for (;;) { try { fds.push(sys.dupFd(client)); room++; } catch { break; } }
       fds.forEach(sys.closeFd);
       console.log(JSON.stringify({ texts, kind, one, room }));`,
      { shell: 'ulimit -n 64;' },
    )) as { texts: string[]; kind: unknown[]; one: string; room: number };
    const [accept, pair, dup, notifier, shm, connect] = result.texts;
    assert.match(accept ?? '', /^accept\(fd \d+\): EMFILE: no more fds\? see ulimit -n$/);
    assert.match(pair ?? '', /^socketpair\(AF_UNIX\): EMFILE/);
    assert.match(dup ?? '', /^dup\(fd 0\): EMFILE/);
    assert.match(notifier ?? '', /^pipe\(\): EMFILE/);
    assert.match(shm ?? '', /EMFILE/);
    assert.match(connect ?? '', /^socket\(AF_UNIX\): EMFILE/);
    assert.deepEqual(result.kind, [true, 'PollPoller'], 'poll needs no fd of its own');
    assert.match(result.one, /EMFILE/, 'a notifier needs two');
    assert.equal(result.room, 1, 'failing leaves nothing open');
  });
});

describe('the end of a process', () => {
  const rig = `const { ThreadWatcher } = await import(${JSON.stringify(THREAD)});
    const watcher = new ThreadWatcher();
    const { notifier, consumer } = sys.createNotifier();`;
  const uv = rig.replace(/new ThreadWatcher\(\)/, '{ watch: sys.watchFd }');

  for (const [name, start] of [
    ['libuv', uv],
    ['a thread', rig],
  ] as const) {
    it(`comes by itself once nothing is watched any more, by ${name}`, async () => {
      const { code, out } = await run(
        `${start}
         const watch = watcher.watch(consumer.fd, 1, () => { consumer.drain(); watch.close(); });
         setTimeout(() => notifier.signal(), 100);
         process.on('exit', () => console.log('ended'));`,
      );
      assert.deepEqual([code, out], [0, 'ended']);
    });

    it(`does not wait for a watch that is not to keep it alive, by ${name}`, async () => {
      const { code } = await run(
        `${start}
         const watch = watcher.watch(consumer.fd, 1, () => undefined);
         watch.unref(); watch.ref(); watch.unref(); watch.unref();`,
      );
      assert.equal(code, 0);
    });

    it(`comes at process.exit() while fds are being watched, by ${name}`, async () => {
      const { code, signal } = await run(
        `${start}
         watcher.watch(consumer.fd, 1, () => undefined);
         setTimeout(() => process.exit(3), 150);`,
      );
      assert.deepEqual([code, signal], [3, null]);
    });

    it(`is kept off by a watch, by ${name}`, async () => {
      const { code, out } = await run(
        `${start}
         const watch = watcher.watch(consumer.fd, 1, () => {
           console.log('fired');
           watch.close();
         });
         setTimeout(() => undefined, 1);
         const { spawn } = await import('node:child_process');
         spawn('/bin/sh', ['-c', 'sleep 0.3; printf AAAAAAAA >&3'],
           { stdio: ['ignore', 'ignore', 'ignore', notifier.fd] }).unref();`,
      );
      assert.deepEqual([code, /^fired/.test(out) || out], [0, true]);
    });
  }
});

const root = process.getuid?.() === 0 ? false : 'another user needs root';
describe('another user', { skip: root }, () => {
  it('is told that a socket is there that he may not connect to', async (t) => {
    const NOBODY = 65534;
    const path = join(folder, 'private');
    chmodSync(folder, 0o755);
    const listener = listenUnix(path, { mode: 0o600 });
    const { code, out } = await run(
      `try { sys.listenUnix(${JSON.stringify(path)}); }
       catch (error) { console.log(error.message); }`,
      { uid: NOBODY },
    );
    closeFd(listener);
    if (code !== 0) t.skip(`this build cannot be read by other users: ${out.split('\n')[0] ?? ''}`);
    else assert.match(out, /a socket is there that this user may not connect to/);
  });
});
