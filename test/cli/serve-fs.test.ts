/**
 * Tests of `vhost-user fs` while it serves: a folder that both sides write to, command lines of
 * libvirt, other file systems, signals, and the log.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { FsClient } from '../../src/frontend/index.ts';
import { closeFd, listenUnix } from '../../src/sys/index.ts';
import { linesOf, withProgram } from '../support/program.ts';

/** How long an end may take on a machine that is busy with other tests. */
const SLOW_MS = 5000;
const LISTENING = /"event":"listening"/;

let folder = '';
let share = '';
let sockets = 0;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-serve-fs-'));
  share = join(folder, 'share');
  mkdirSync(share);
  writeFileSync(join(share, 'hello'), 'from the host\n');
});
after(() => rmSync(folder, { recursive: true, force: true }));

function newSocketPath(): string {
  sockets++;
  return join(folder, `${sockets}.sock`);
}

async function withClient(path: string, body: (client: FsClient) => Promise<void>): Promise<void> {
  const client = await FsClient.mount(path);
  try {
    await body(client);
  } finally {
    await client.unmount();
  }
}

test('a folder is served: each side reads what the other wrote, and a signal ends it fast', async () => {
  const path = newSocketPath();
  await withProgram(
    ['fs', share, '--owner', 'host', '--socket-path', path],
    {},
    async (program) => {
      await program.says(LISTENING);
      await withClient(path, async (client) => {
        assert.equal(client.tag, null, 'QEMU has it on its own command line');
        assert.equal(String(await client.readFile('/hello')), 'from the host\n');
        await client.writeFile('/answer', 'from the guest\n');
        assert.equal(readFileSync(join(share, 'answer'), 'utf8'), 'from the guest\n');
      });
      await program.says(/"event":"disconnected"/);
      const { code, ms, stderr, stdout } = await program.end();
      assert.equal(code, 0);
      assert.equal(stdout, '');
      assert.ok(ms < SLOW_MS, `${ms} ms`);
      // In a namespace its folder is out of reach: the next start replaces it.
      const stays = stderr.includes('sandbox: mount namespace');
      assert.equal(existsSync(path), stays, 'the socket is removed');
      const lines = linesOf(stderr);
      const events = lines.map(({ event }) => event);
      assert.deepEqual(events, ['listening', 'sandbox', 'connected', 'disconnected', 'ending']);
      assert.equal(
        lines[0]?.msg,
        `listening on ${path}: ${share}, read-write, cache auto, tag share, 1 request queue`,
      );
    },
  );
});

test('one guest after the other is served', async () => {
  const path = newSocketPath();
  await withProgram(
    ['fs', share, '--owner', 'host', '--socket-path', path],
    {},
    async (program) => {
      await program.says(LISTENING);
      for (let guest = 0; guest < 3; guest++) {
        await withClient(path, async (client) => {
          assert.equal(String(await client.readFile('/hello')), 'from the host\n');
        });
      }
      assert.equal((await program.end()).code, 0);
    },
  );
});

test("libvirt's command line of old, with a socket that it left open", async () => {
  const path = newSocketPath();
  const listener = listenUnix(path);
  const list = `source=${share},cache=none,sandbox=chroot,xattr,posix_lock,no_flock`;
  const args = ['fs', '--fd=3', '-o', list, '--thread-pool-size=2', '--syslog'];
  try {
    await withProgram(args, { extraFds: [listener] }, async (program) => {
      await program.says(/listening on fd 3: \S+, read-write, cache never/);
      await withClient(path, async (client) => {
        assert.equal(String(await client.readFile('/hello')), 'from the host\n');
      });
      const { code, stderr } = await program.end();
      assert.equal(code, 0);
      const isRemark = ({ event, msg }: Record<string, unknown>): boolean =>
        event === 'remark' && String(msg).startsWith('--'); // one on owners is for who is not root
      const remarks = linesOf(stderr).filter(isRemark);
      assert.deepEqual(
        remarks.map(({ level, msg }) => [level, String(msg).split(/[ :]/)[0]]),
        [
          ['info', '--thread-pool-size'],
          ['info', '--sandbox'],
          ['warn', '--syslog'],
        ],
      );
    });
  } finally {
    closeFd(listener);
  }
});

test('all options of a folder are accepted together', async () => {
  const path = newSocketPath();
  const args = [
    ...['fs', '--shared-dir', share, '--tag', 'a b', '--socket-path', path, '--socket-mode', '600'],
    ...[
      '--cache',
      'always',
      '--writeback',
      '--allow-mmap',
      '--allow-direct-io',
      '--no-readdirplus',
    ],
    ...['--preserve-noatime', '--announce-submounts', '--owner', 'host', '--translate-uid'],
    ...['map:0:0:1', '--translate-gid', 'map:0:0:1', '--no-killpriv-v2', '--xattr'],
    ...['--xattrmap', ':map::user.virtiofs.:', '--num-request-queues', '2', '--queue-size', '128'],
    ...['--poll-us', '0', '--rlimit-nofile', '200', '--inode-file-handles=prefer'],
    ...['--sandbox=none', '--seccomp=none', '--thread-pool-size=0', '--log-format', 'text'],
    ...['--log-level', 'debug'],
  ];
  await withProgram(args, {}, async (program) => {
    await program.says(/share, read-write, cache always, tag a b, 2 request queues\n/);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    await withClient(path, async (client) => {
      assert.equal(client.tag, 'a b');
      assert.equal(String(await client.readFile('/hello')), 'from the host\n');
    });
    const { code, stderr } = await program.end();
    assert.equal(code, 0);
    assert.doesNotMatch(stderr, / warn /);
  });
});

test('a limit of files that cannot be had is told, with what there is and what to do', async () => {
  const path = newSocketPath();
  const args = ['fs', share, '--socket-path', path, '--log-format', 'text'];
  const cases: readonly [asked: string, told: RegExp | null][] = [
    ['5000', / warn .* rlimit-nofile 5000: .* no more than 300 files, its hard limit.*'ulimit -n'/],
    ['95', / warn .* rlimit-nofile 95: 96 files are opened if need be/],
    ['300', null],
    ['96', null],
    ['0', null],
  ];
  for (const [asked, told] of cases) {
    const options = { fdLimit: 300 };
    await withProgram([...args, '--rlimit-nofile', asked], options, async (program) => {
      await program.says(/listening on/);
      const { code, stderr } = await program.end();
      assert.equal(code, 0);
      if (told === null) assert.doesNotMatch(stderr, /rlimit-nofile/);
      else assert.match(stderr, told);
    });
  }
});

test('a folder that is read-only can be read', async () => {
  const path = newSocketPath();
  await withProgram(['fs', share, '--readonly', '--socket-path', path], {}, async (program) => {
    await program.says(/, read-only, /);
    await withClient(path, async (client) => {
      assert.equal(String(await client.readFile('/hello')), 'from the host\n');
      await assert.rejects(client.writeFile('/hello', 'x'), { code: 'EROFS' });
      await assert.rejects(client.unlink('/hello'), { code: 'EROFS' });
    });
    await program.end();
  });
  assert.equal(readFileSync(join(share, 'hello'), 'utf8'), 'from the host\n');
});

test('an archive is served without unpacking it', async () => {
  const path = newSocketPath();
  const archive = join(folder, 'share.tar.gz');
  execFileSync('tar', ['-C', share, '-czf', archive, 'hello']);
  await withProgram(['fs', '--archive', archive, '--socket-path', path], {}, async (program) => {
    await program.says(/share\.tar\.gz, read-only, tag share, /);
    await withClient(path, async (client) => {
      assert.equal(String(await client.readFile('/hello')), 'from the host\n');
      await assert.rejects(client.writeFile('/new', 'x'), { code: 'EROFS' });
    });
    assert.equal((await program.end()).code, 0);
  });
});

test('a file system in memory keeps what was written for the next guest, within its size', async () => {
  const path = newSocketPath();
  const content = ['--memory', '1M', '--preload', share];
  const args = ['fs', ...content, '--tag', 'scratch', '--socket-path', path];
  await withProgram(args, {}, async (program) => {
    await program.says(/memory, 1\.0 MiB, read-write, tag scratch, /);
    await withClient(path, async (client) => {
      assert.equal(String(await client.readFile('/hello')), 'from the host\n');
      await client.writeFile('/a', 'kept');
      await assert.rejects(client.writeFile('/b', Buffer.alloc(2 ** 21)), { code: 'ENOSPC' });
    });
    await withClient(path, async (client) => {
      assert.equal(String(await client.readFile('/a')), 'kept');
    });
    assert.equal((await program.end()).code, 0);
  });
});

test('a socket gets its group, which may use it', async (t) => {
  if (process.getuid?.() !== 0) {
    t.skip('only root can give a file to any group');
    return;
  }
  const path = newSocketPath();
  const args = ['fs', share, '--socket-path', path, '--socket-group', '4321'];
  await withProgram(args, {}, async (program) => {
    await program.says(LISTENING);
    const { gid, mode } = statSync(path);
    assert.deepEqual({ gid, mode: mode & 0o777 }, { gid: 4321, mode: 0o660 });
    await program.end();
  });
});

test('folders and disks of one configuration are served in one process', async () => {
  writeFileSync(join(folder, 'disk.img'), Buffer.alloc(2 ** 20));
  const config = join(folder, 'vm.yaml');
  writeFileSync(
    config,
    `log-format: text
devices:
  - {type: blk, image: disk.img, socket-path: a.sock}
  - {type: fs, name: home, shared-dir: share, cache: never, socket-path: b.sock}
  - {type: fs, memory: true, socket-path: c.sock}
`,
  );
  await withProgram(['run', config], {}, async (program) => {
    await program.says(/home: listening on \S+b\.sock: \S+share, [^]*fs2: listening on \S+c\.sock/);
    await withClient(join(folder, 'b.sock'), async (client) => {
      assert.equal(String(await client.readFile('/hello')), 'from the host\n');
    });
    assert.equal((await program.end()).code, 0);
  });
});
