/**
 * Tests of a shared folder in a mount namespace wherever the folder, its socket and the program's
 * own folder may be: as users have them, each served to a guest of ours.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { FsClient } from '../../src/frontend/index.ts';
import { runProgram, withProgram } from '../support/program.ts';
import type { StartOptions } from '../support/program.ts';
import { tellProof } from '../support/proof.ts';
import { ROOT, readText } from '../support/repository.ts';

const NAMESPACE = /"msg":"sandbox: mount namespace, (Landlock \d+, )?seccomp"/;
const SANDBOX = /"event":"sandbox","msg":"([^"]*)"/;
const HELLO = 'from the host\n';
const REFUSE = new URL('../support/refuse-sandbox.js', import.meta.url).href;
const PID = String(process.pid);
const S_IFIFO = 0o010000;

/** Where things are, and what is special about it. */
interface Place {
  /** Commands of a shell that the program is started by, in a mount namespace of the test's. */
  readonly mounts?: string;
  readonly share?: string;
  readonly socket?: string;
  readonly args?: readonly string[];
  readonly cwd?: string;
  /** Files that the guest has to find; `hello` without it. */
  readonly finds?: Readonly<Record<string, string>>;
  /** Why it is no mount namespace. */
  readonly because?: RegExp;
  /** It is tried by root of a user namespace, too, unless that cannot be one there. */
  readonly inUserNamespace?: false;
  /** What else is looked at; the guest may write. */
  readonly check?: (guest: FsClient) => Promise<void>;
}

let base = '';
let served = 0;
const tried = new Set<string>();
/** A folder of this host's `/run`, which is a mount point on most. */
let run = '';

before(() => {
  base = mkdtempSync(join(tmpdir(), 'vhu-places-'));
  chmodSync(base, 0o755);
  for (const name of ['share/sub', 'share/deep/er', 'run/mount', 'empty', 'upper', 'open']) {
    mkdirSync(join(base, name), { recursive: true });
  }
  chmodSync(join(base, 'run'), 0o777);
  chmodSync(join(base, 'open'), 0o777);
  writeFileSync(join(base, 'share/hello'), HELLO);
  symlinkSync('share', join(base, 'link'));
  symlinkSync(join(base, 'run'), join(base, 'link-to-run'));
  run = mkdtempSync('/run/vhu-places-');
});
after(() => {
  for (const each of [base, run]) rmSync(each, { recursive: true, force: true });
});

/** Why there are no namespaces here. */
function noNamespace(): string | false {
  if (process.platform !== 'linux') return 'mount namespaces are of Linux';
  const mounts = process.geteuid?.() === 0 && spawnSync('unshare', ['-m', 'true']).status === 0;
  return mounts ? false : 'a mount namespace needs root';
}

/** The same for a user namespace. */
function noUserNamespace(): string | false {
  const none = noNamespace();
  if (none !== false) return none;
  const made = spawnSync('unshare', ['-r', 'unshare', '-m', 'true']).status === 0;
  return made ? false : 'there are no user namespaces here';
}

function subidSkip(): string | false {
  const { status } = spawnSync('newuidmap', []);
  return status === null ? 'newuidmap is not installed' : false;
}

/** Serves there, as whom `within` makes, and has a guest look at it; the log. */
async function serve(
  name: string,
  place: Place,
  within: readonly string[],
  more: StartOptions = {},
): Promise<string> {
  const of = (path: string): string => path.replace('$B', base);
  const { share = '$B/share', socket = `$B/run/${String(served++)}.sock`, args = [] } = place;
  const cwd = of(place.cwd ?? '$B');
  const script = `set -e; B=${base}; ${place.mounts ?? ':'}; exec "$@"`;
  const shell = ['unshare', '-m', 'sh', '-c', script, 'sh'];
  const options: StartOptions = { ...more, within: [...shell, ...within], cwd };
  const words = [
    'fs',
    of(share),
    '--socket-path',
    of(socket),
    '--tag',
    't',
    '--log-format',
    'json',
  ];
  let log = '';
  await withProgram([...words, ...args], options, async (program) => {
    const [line, said = ''] = await program.says(SANDBOX);
    if (place.because === undefined) assert.match(line, NAMESPACE);
    else assert.match(said, place.because);
    const guest = await FsClient.mount(resolve(cwd, of(socket)));
    try {
      for (const [file, text] of Object.entries(place.finds ?? { hello: HELLO })) {
        assert.equal(await guest.readFile(`/${file}`, 'utf8'), text, file);
      }
      await place.check?.(guest);
    } finally {
      await guest.unmount();
    }
    const { code, stderr } = await program.end();
    assert.equal(code, 0, stderr);
    log = stderr;
    tried.add(name);
    rmSync(resolve(cwd, of(socket)), { force: true });
  });
  return log;
}

/** Commands that give the folder a mount with a file in it. */
const memory = (path: string, file: string): string =>
  `mount -t tmpfs none ${path}; echo mounted >${path}/${file}`;
const MOUNTED = 'mounted\n';

/** By what is special about each; commands run where `$B` is the folder of all. */
const PLACES: Readonly<Record<string, () => Place>> = {
  'with its socket in the folder that is shared': () => ({ socket: '$B/share/in.sock' }),
  'with its socket deep in the folder that is shared': () => ({
    socket: '$B/share/deep/er/in.sock',
  }),
  'with its socket in /run': () => ({ socket: join(run, 'a.sock') }),
  'with its socket right in /run': () => ({ socket: `${run}.sock` }),
  'with its socket in /var/run, a link': () => ({ socket: join('/var', run, 'b.sock') }),
  'with its socket in the root folder': () => ({ socket: `/vhu-places-${PID}.sock` }),
  'with its socket in a folder with mounts below it': () => ({
    mounts: memory('$B/run/mount', 'file'),
  }),
  'with its socket in a relative path': () => ({ socket: 'run/relative.sock' }),
  'with its socket by its name alone': () => ({ socket: 'bare.sock', cwd: '$B/run' }),
  'with its socket in the folder above': () => ({ socket: '../above.sock', cwd: '$B/run' }),
  'with its socket by a link to a folder': () => ({ socket: '$B/link-to-run/l.sock' }),
  'by a link': () => ({ share: '$B/link' }),
  'by a relative path with dots': () => ({ share: './run/../share/' }),
  'started in the folder that is shared': () => ({ share: '.', cwd: '$B/share' }),
  'started in a folder that is gone': () => ({
    mounts: 'mkdir $B/gone; cd $B/gone; rmdir $B/gone',
  }),
  'that is a mount point': () => ({
    mounts: memory('$B/empty', 'file'),
    share: '$B/empty',
    finds: { file: MOUNTED },
  }),
  'with a mount in it': () => ({
    mounts: memory('$B/share/sub', 'file'),
    finds: { 'sub/file': MOUNTED },
  }),
  'with a mount in it that the guest is told of': () => ({
    mounts: memory('$B/share/sub', 'file'),
    args: ['--announce-submounts'],
    finds: { 'sub/file': MOUNTED },
  }),
  'with mounts on mounts in it': () => ({
    mounts: `${memory('$B/share/sub', 'low')}; mkdir $B/share/sub/x;
      ${memory('$B/share/sub/x', 'hidden')}; ${memory('$B/share/sub/x', 'file')}`,
    finds: { 'sub/low': MOUNTED, 'sub/x/file': MOUNTED },
  }),
  'on a read-only root': () => ({ mounts: 'mount --bind $B $B; mount -o remount,bind,ro /' }),
  'that is read-only, beside a socket that is not': () => ({
    mounts:
      'mount --bind $B/run $B/run; mount --bind $B/share $B/share;' +
      'mount -o remount,bind,ro $B/share; mount -o remount,bind,ro / ',
    check: async (guest) => {
      await assert.rejects(guest.writeFile('/hello', ''), { code: 'EROFS' });
    },
  }),
  'on an overlay': () => ({
    mounts: `mount -t tmpfs none $B/upper; mkdir $B/upper/u $B/upper/w; mount -t overlay none \
      -o lowerdir=$B/share,upperdir=$B/upper/u,workdir=$B/upper/w $B/empty`,
    share: '$B/empty',
    check: async (guest) => {
      await guest.writeFile('/hello', 'changed');
      assert.equal(await guest.readFile('/hello', 'utf8'), 'changed');
      assert.equal(readFileSync(join(base, 'share/hello'), 'utf8'), HELLO);
    },
  }),
  'below a folder that nobody may pass': () => ({
    mounts: `mkdir -p $B/private/share; cp $B/share/hello $B/private/share
      chmod 600 $B/private`,
    share: '$B/private/share',
  }),
  'in memory that is below /dev': () => ({
    mounts: 'mount -t tmpfs none /dev/shm; cp $B/share/hello /dev/shm',
    share: '/dev/shm',
  }),
  'with a name of several lines and blanks': () => ({
    mounts: 'mkdir -p "$B/a b\n é"; cp $B/share/hello "$B/a b\n é"',
    share: '$B/a b\n é',
  }),
  'that has this program in it': () => ({
    share: ROOT,
    finds: { 'package.json': readText('package.json') },
  }),
  'that has Node and its libraries in it': () => ({
    share: '/usr',
    args: ['--readonly'],
    finds: {},
    check: async (guest) => {
      assert.ok((await guest.readdir('/')).length > 0);
    },
  }),
  'in a container, with parts of /proc hidden': () => ({
    mounts:
      'mount --bind /dev/null /proc/uptime; mount -t tmpfs -o ro none /proc/irq;' +
      'mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys',
  }),
  'without /proc': () => ({
    mounts: 'umount -l /proc',
    inUserNamespace: false,
    because: /^sandbox: seccomp; not Landlock: only \/proc .*; no mount namespace: only \/proc/,
  }),
  'that is the whole root': () => ({
    share: '/',
    finds: { [join(base.slice(1), 'share/hello')]: HELLO },
    because: /^sandbox: Landlock \d+, seccomp; no mount namespace: the folder .* root itself$/,
  }),
  'in a chroot that is no mount point': () => ({
    mounts: `mount -t tmpfs none $B/empty; mkdir $B/empty/root
      for each in /*; do if [ -d $each ] && [ ! -L $each ]
      then mkdir $B/empty/root$each; mount --rbind $each $B/empty/root$each
      elif [ -L $each ]; then cp -P $each $B/empty/root; fi; done
      set -- chroot $B/empty/root "$@"`,
    inUserNamespace: false,
    because: /^sandbox: Landlock \d+, seccomp; no mount namespace: mount\(\/\): EINVAL: .*chroot/,
  }),
};

describe('a folder is shared in a mount namespace', { skip: noNamespace() }, () => {
  for (const [name, place] of Object.entries(PLACES)) {
    it(name, async () => {
      await serve(name, place(), []);
    });
  }
});

describe('root of a user namespace shares a folder', { skip: noUserNamespace() }, () => {
  // What the namespace above has mounted is locked in there (mount_namespaces(7)).
  const within = ['unshare', '-r'];
  for (const [name, place] of Object.entries(PLACES)) {
    const { mounts, socket, inUserNamespace } = place();
    if (inUserNamespace === false || (mounts ?? socket) === undefined) continue;
    it(name, async () => {
      await serve(name, place(), within);
    });
  }

  it('of one user, and what others make is refused and not left behind', async () => {
    const place: Place = {
      check: async (guest) => {
        const user = guest.as({ uid: 1000, gid: 1000, pid: 1 });
        const sub = join('/', 'sub');
        await assert.rejects(user.writeFile(`${sub}/file`, '', { mode: 0o4755 }), {
          code: 'EINVAL',
        });
        await assert.rejects(user.mkdir(`${sub}/folder`), { code: 'EINVAL' });
        await assert.rejects(user.symlink('x', `${sub}/link`), { code: 'EINVAL' });
        await assert.rejects(user.mknod(`${sub}/fifo`, S_IFIFO | 0o644), { code: 'EINVAL' });
        assert.deepEqual(readdirSync(join(base, 'share/sub')), []);
        await guest.writeFile(`${sub}/roots`, 'x');
      },
    };
    const log = await serve('users', place, within);
    assert.match(log, /this user namespace has no user but root: .*--map-auto/);
  });

  it(
    'and its other users are subordinate ids, where unshare maps them',
    { skip: subidSkip() },
    async () => {
      const ids = join(base, 'subid');
      writeFileSync(ids, 'nobody:100000:65536\n');
      const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
      const place: Place = {
        mounts: 'mount --bind $B/subid /etc/subuid; mount --bind $B/subid /etc/subgid',
        share: '$B/open',
        finds: {},
        check: async (guest) => {
          await guest.writeFile('/mine', '');
          await guest.as({ uid: 1000, gid: 1001, pid: 1 }).writeFile('/theirs', '');
          const { uid, gid } = statSync(join(base, 'open/theirs'));
          assert.deepEqual(
            [statSync(join(base, 'open/mine')).uid, uid, gid],
            [65_534, 100_999, 101_000],
          );
        },
      };
      const log = await serve('subordinate', place, [...nobody, 'unshare', '-r', '--map-auto']);
      assert.doesNotMatch(log, /this user namespace has/);
    },
  );
});

describe('a filter of system calls', { skip: noNamespace() }, () => {
  const calls = [
    ...['unshare', 'mount', 'open_tree', 'mount_setattr', 'move_mount', 'pivot_root'],
    // These would be too late: they are called when the old root was left.
    ...['umount2', 'capset'],
  ];
  for (const call of calls) {
    it(`that refuses ${call} leaves Landlock, and the log says why`, async () => {
      const refused = { nodeArgs: ['--import', REFUSE], env: { VHU_REFUSED: call } };
      const because = new RegExp(
        `^sandbox: Landlock \\d+, seccomp; no mount namespace: ${call}\\(\\S*\\): EPERM$`,
      );
      await serve(`without ${call}`, { because }, [], refused);
      const words = [
        'fs',
        join(base, 'share'),
        '--sandbox',
        'namespace',
        '--socket-path',
        'x.sock',
      ];
      const { code, stderr } = await runProgram(words, { ...refused, cwd: base });
      assert.equal(code, 1, stderr);
      assert.match(
        stderr,
        new RegExp(`--sandbox namespace cannot be had: ${call}\\(\\S*\\): EPERM; `),
      );
    });
  }
});

describe('a mount namespace that cannot be completed', { skip: noNamespace() }, () => {
  const begin = (call: string, ...args: string[]): ReturnType<typeof runProgram> => {
    const refused = { nodeArgs: ['--import', REFUSE], env: { VHU_REFUSED: call } };
    const words = ['fs', join(base, 'share'), '--socket-path', join(base, 'half.sock'), ...args];
    return runProgram(words, { ...refused, cwd: base });
  };

  it('ends the program with the call and what to do, and serves nobody', async () => {
    for (const mode of ['auto', 'required', 'namespace']) {
      const { code, stderr } = await begin('landlock_restrict_self', '--sandbox', mode);
      assert.equal(code, 1, stderr);
      assert.match(
        stderr,
        /cannot be completed: landlock_restrict_self\(\): EPERM.*; it is refused/,
      );
      assert.match(
        stderr,
        /; --sandbox landlock takes no mount namespace, and --sandbox none takes/,
      );
      assert.doesNotMatch(stderr, /bug|serving|\n./);
    }
    assert.ok(!readdirSync(base).includes('half.sock'));
  });

  it('and one whose stage cannot be taken away is not served from either', async () => {
    // The probe of umount2 passes: only the call that matters is refused, by what is in its way.
    const { code, stderr } = await begin('pivot_root umount2-detach');
    assert.equal(code, 1, stderr);
    assert.match(stderr, /cannot be completed: umount2\(\/dev\): EPERM/);
    assert.ok(!readdirSync(base).includes('half.sock'));
  });
});

it('was all tried', { skip: noNamespace() }, (context) => {
  tellProof(context, `sandbox: shared folders in ${String(tried.size)} kinds of places`);
});
