/**
 * Tests of a shared folder in a mount namespace: that it is served as without one, mounts and all;
 * what is shut off; and who has Landlock in its place.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { FsClient } from '../../src/frontend/index.ts';
import { PROGRAM_FILE, runProgram, withProgram } from '../support/program.ts';
import type { RunningProgram, StartOptions } from '../support/program.ts';
import { tellProof } from '../support/proof.ts';
import { Rooms } from '../support/sandbox-rooms.ts';

const NAMESPACE = /"msg":"sandbox: mount namespace, (Landlock \d+, )?seccomp"/;
const LANDLOCK = /"msg":"sandbox: Landlock \d+, seccomp(; no mount namespace: [^"]+)?"/;
const CAP_SYS_ADMIN = 1n << 21n;
const S_IFCHR = 0o020000;
/** `/dev/zero`, as FUSE has it: 1, 5. */
const ZERO = (1 << 8) | 5;

const rooms = new Rooms();
let folder = '';
let share = '';
let sockets = 0;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-namespace-'));
  chmodSync(folder, 0o755);
  share = join(folder, 'share');
  for (const name of ['share', 'share/sub', 'share/later', 'other', 'run']) {
    mkdirSync(join(folder, name));
    chmodSync(join(folder, name), 0o777);
  }
  writeFileSync(join(share, 'hello'), 'from the host\n');
});
after(() => {
  rooms.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Why there are no namespaces here. */
function noNamespace(): string | false {
  if (process.platform !== 'linux') return 'mount namespaces are of Linux';
  const mounts = process.geteuid?.() === 0 && spawnSync('unshare', ['-m', 'true']).status === 0;
  return mounts ? false : 'a mount namespace needs root';
}

function bashSkip(): string | false {
  const has = spawnSync('bash', ['-c', 'exec 200</']).status === 0;
  return has ? false : 'it takes a shell with high descriptors';
}

/** The words of a server, and its socket. */
function server(...more: readonly string[]): { path: string; args: string[] } {
  const path = join(folder, 'run', `${String(sockets++)}.sock`);
  return { path, args: ['fs', share, '--socket-path', path, '--log-format', 'json', ...more] };
}

/** Serves, and gives the body a guest. */
async function withGuest(
  more: readonly string[],
  body: (guest: FsClient, program: RunningProgram, path: string) => Promise<void>,
  options: StartOptions = {},
): Promise<void> {
  const { path, args } = server(...more);
  await withProgram(args, options, async (program) => {
    await program.says(/"event":"sandbox"/);
    await program.says(NAMESPACE);
    const guest = await FsClient.mount(path);
    try {
      await body(guest, program, path);
    } finally {
      await guest.unmount();
    }
    const { code, stderr } = await program.end();
    assert.equal(code, 0, stderr);
  });
}

/** A folder of memory on a place in this host's own view; a mount in it is passed on. */
function mountMemory(place: string): void {
  execFileSync('mount', ['-t', 'tmpfs', 'none', place]);
}

describe('a folder in a mount namespace', { skip: noNamespace() }, () => {
  it('has owners, modes, special files and attributes as without one', async () => {
    await withGuest(['--xattr'], async (guest) => {
      await guest.writeFile('/mine', 'x');
      await guest.chown('/mine', 1234, 1235);
      await guest.chmod('/mine', 0o640);
      await guest.setxattr('/mine', 'user.colour', 'red');
      await guest.mknod('/zero', S_IFCHR | 0o666, ZERO);
    });
    const mine = statSync(join(share, 'mine'));
    assert.deepEqual([mine.uid, mine.gid, mine.mode & 0o777], [1234, 1235, 0o640]);
    const zero = lstatSync(join(share, 'zero'));
    assert.ok(zero.isCharacterDevice());
    assert.equal(zero.rdev, statSync('/dev/zero').rdev);
  });

  it('lets the users of a guest in, whatever mask it was started with', async () => {
    const within = ['sh', '-c', 'umask 077; exec "$@"', 'sh'];
    await withGuest(
      [],
      async (guest, { child }) => {
        await guest.as({ uid: 4321, gid: 4322, pid: 1 }).writeFile('/theirs', 'x');
        assert.equal(statSync(join(share, 'theirs')).uid, 4321);
        const root = `/proc/${String(child.pid)}/root`;
        assert.equal(statSync(join(root, 'proc')).mode & 0o777, 0o755);
      },
      { within },
    );
  });

  it('shows what is mounted in it, before and later, and hides nothing else', async (context) => {
    // Only what is shared between namespaces is passed on, as the root of most hosts is.
    execFileSync('mount', ['--bind', share, share]);
    context.after(() => execFileSync('umount', ['-R', '-l', share]));
    execFileSync('mount', ['--make-shared', share]);
    mountMemory(join(share, 'sub'));
    writeFileSync(join(share, 'sub', 'below'), 'a mount');
    await withGuest([], async (guest) => {
      assert.equal(await guest.readFile('/sub/below', 'utf8'), 'a mount');
      mountMemory(join(share, 'later'));
      writeFileSync(join(share, 'later', 'new'), 'mounted later');
      assert.equal(await guest.readFile('/later/new', 'utf8'), 'mounted later');
    });
  });

  it('cannot be written to with --readonly, nor what is mounted in it', async (context) => {
    mountMemory(join(share, 'sub'));
    context.after(() => execFileSync('umount', [join(share, 'sub')]));
    await withGuest(['--readonly'], async (guest, { child }) => {
      assert.equal(await guest.readFile('/hello', 'utf8'), 'from the host\n');
      await assert.rejects(guest.writeFile('/hello', ''), { code: 'EROFS' });
      const mounts = readFileSync(`/proc/${String(child.pid)}/mountinfo`, 'utf8').split('\n');
      const ours = mounts.filter((line) => line.split(' ')[4]?.startsWith(share));
      assert.equal(ours.length, 2);
      for (const line of ours) assert.match(line.split(' ')[5] ?? '', /^ro,/);
    });
  });

  it('is all that can be written to, by a process that may mount nothing', async () => {
    await withGuest([], (_, { child }) => {
      const of = (name: string): string =>
        readFileSync(`/proc/${String(child.pid)}/${name}`, 'utf8');
      const writable = of('mountinfo')
        .split('\n')
        .filter((line) => line.split(' ')[5]?.startsWith('rw'))
        .map((line) => line.split(' ')[4]);
      assert.deepEqual(writable.sort(), ['/dev/null', share]);
      for (const set of ['CapPrm', 'CapEff', 'CapBnd', 'CapInh']) {
        const bits = new RegExp(`^${set}:\\s(\\w+)$`, 'm').exec(of('status'))?.[1] ?? '';
        assert.equal(BigInt(`0x${bits}`) & CAP_SYS_ADMIN, 0n, set);
      }
      return Promise.resolve();
    });
  });

  it('leaves its socket, which the next start replaces', async () => {
    const { path, args } = server();
    for (const start of ['first', 'second']) {
      await withProgram(args, {}, async (program) => {
        await program.says(NAMESPACE);
        const guest = await FsClient.mount(path);
        await guest.unmount();
        const { code, stderr } = await program.end();
        assert.equal(code, 0, `${start}: ${stderr}`);
      });
      assert.ok(lstatSync(path).isSocket());
    }
  });
});

describe('the program in a mount namespace', { skip: noNamespace() }, () => {
  it('finds relative paths, and itself by a link, from where it was started', async () => {
    const link = join(folder, 'program-by-a-link');
    symlinkSync(PROGRAM_FILE, link);
    symlinkSync('share', join(folder, 'share-by-a-link'));
    const args = ['fs', './share-by-a-link', '--socket-path', 'run/relative.sock'];
    await withProgram(
      [...args, '--log-format', 'json'],
      { cwd: folder, file: link },
      async (program) => {
        await program.says(NAMESPACE);
        const guest = await FsClient.mount(join(folder, 'run/relative.sock'));
        assert.equal(await guest.readFile('/hello', 'utf8'), 'from the host\n');
        await guest.unmount();
        assert.equal((await program.end()).code, 0);
      },
    );
  });

  it('inherits no folder of the old root', { skip: bashSkip() }, async () => {
    // Node closes low descriptors for what it executes, and none that stands alone so high.
    const within = ['bash', '-c', 'exec 200</; exec "$@"', 'bash'];
    await withProgram(server().args, { within }, async (program) => {
      await program.says(NAMESPACE);
      const fds = `/proc/${String(program.child.pid)}/fd`;
      const links = readdirSync(fds).map((fd) => readlinkSync(join(fds, fd)));
      // Its sockets' folders would be roots of their own, too.
      assert.ok(!links.includes('/'), links.join(' '));
      assert.ok(links.includes(share), 'it is the folder alone that is open');
      assert.equal((await program.end()).code, 0);
    });
  });

  it('has ways out of no device that has one', async (context) => {
    const { blk, rng, fs } = rooms.all();
    let shut = 0;
    for (const [name, room] of Object.entries({ blk, rng, fs })) {
      assert.ok(room !== undefined);
      const args = [...room.args, '--sandbox', 'namespace'];
      shut += await rooms.expectShut(`${name} in a namespace`, { ...room, args });
    }
    tellProof(context, `sandbox: mount namespaces of 3 devices, ${String(shut)} ways out shut`);
  });
});

describe('who may not mount, or has other needs', { skip: noNamespace() }, () => {
  const withoutAdmin = ['setpriv', '--bounding-set=-sys_admin', '--inh-caps=-sys_admin'];
  const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];

  /** What the log says of the sandbox. */
  async function logOf(args: readonly string[], within: readonly string[] = []): Promise<string> {
    let log = '';
    await withProgram(args, { within }, async (program) => {
      await program.says(/"event":"sandbox"/);
      log = (await program.end()).stderr;
    });
    return log;
  }

  it('has Landlock: root without CAP_SYS_ADMIN', async () => {
    assert.match(await logOf(server().args, withoutAdmin), LANDLOCK);
  });

  it('has Landlock: another user', async () => {
    assert.match(await logOf(server().args, nobody), LANDLOCK);
  });

  it('has Landlock: who asks for it, and its socket is removed', async () => {
    const { path, args } = server('--sandbox', 'landlock');
    assert.match(await logOf(args), LANDLOCK);
    assert.ok(!existsSync(path));
  });

  it('has Landlock: a device without a folder of this host', async () => {
    const path = join(folder, 'run', 'memory.sock');
    const args = ['fs', '--memory', '1M', '--tag', 'm', '--socket-path', path];
    assert.match(await logOf([...args, '--log-format', 'json']), LANDLOCK);
  });

  it('is told why there is no namespace, and what to do, when it is asked for', async () => {
    const cases: [string[], string[], RegExp][] = [
      [
        server('--sandbox', 'namespace').args,
        withoutAdmin,
        /it takes CAP_SYS_ADMIN, which this process does not have/,
      ],
      [['fs', '/', '--tag', 'root', '--sandbox', 'namespace'], [], /is the root itself/],
      [['console', '--pty', '--sandbox', 'namespace'], [], /files of its own, such as \/dev\/pts/],
    ];
    for (const [args, within, reason] of cases) {
      const { code, stderr } = await runProgram(args, { within });
      assert.equal(code, 1, stderr);
      assert.match(stderr, /--sandbox namespace cannot be had: .*--sandbox auto takes what/);
      assert.match(stderr, reason);
    }
  });
});
