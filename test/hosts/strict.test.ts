/**
 * Every device on a host that refuses system calls, one by one and all together: that each goes on
 * by what it has instead, and that it was so refused and did so.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { describe, it } from 'node:test';
import { Uring, isMemoryBacked } from '../../src/sys/index.ts';
import { tellProof } from '../support/proof.ts';
import { ENOSYS, STRICT_CALLS } from './strict/calls.ts';
import type { StrictCallName } from './strict/calls.ts';
import { strictRun } from './strict/rig.ts';
import type { StrictRun } from './strict/rig.ts';

/** What is expected of a host; what is not said is as on one that refuses nothing. */
interface Row {
  readonly refused: readonly StrictCallName[];
  /** `device: call: instead`; the main thread's has no device. */
  readonly backEnd?: readonly string[];
  /** `call: instead` */
  readonly frontEnd?: readonly string[];
  /** How the threads of disk, folder and sockets wait. */
  readonly io?: 'epoll' | 'poll';
  readonly notifier?: 'pipe';
  readonly memory?: 'shm_open';
  /** What the front-ends' tries end with, where that is not `ok`. */
  readonly results?: Readonly<Record<string, string>>;
  /** Only root's processes come to it. */
  readonly asRoot?: boolean;
}

const EVENTFD = 'eventfd2: a pipe';
const MEMFD = 'memfd_create: shm_open';
const CMSG = 'recvmsg(MSG_CMSG_CLOEXEC): recvmsg and fcntl';
const URING = 'io_uring_setup: a poller and preadv';
const THREADS = ['blk', 'fs', 'vsock'];
const inThreads = (text: string): string[] => THREADS.map((device) => `${device}: ${text}`);
const RENAME = 'fs: renameat2: the guest is told that there are plain renames only';
const FALLOCATE_FS = 'fs: fallocate: the guest is told that there is none';
const FALLOCATE_BLK = 'blk: fallocate: writing zeroes, or nothing for a discard';
const ALLOCATE = { 'fs allocate': 'EOPNOTSUPP' };

const ACCEPT = 'vsock: accept4: accept and fcntl';
const SOCKET = 'vsock: socket(SOCK_CLOEXEC | SOCK_NONBLOCK): socket and fcntl';
const STATX = 'fs: statx: fstatat and fstat';
const COPY = 'fs: copy_file_range: reading and writing';
const MODES = ['fs: unshare: a change of mode afterwards', 'fs: fchmodat2: fchmodat'];
const OWNER = 'fs: setfsuid: a change of owner afterwards';
const SYNC = 'fs: syncfs: what the guest has synchronized file by file';
const LOCK = 'fs: fcntl(F_OFD_SETLK): locks within the guest';
const NO_FLAGS = { 'fs rename, no replace': 'EINVAL' };
/** By ENOSYS a guest's kernel knows that there is none: it asks no more, and goes on without. */
const NO_SYNC = { 'fs sync all': 'ENOSYS' };
const NO_LOCK = { 'fs lock': 'ENOSYS' };

const inMemory = isMemoryBacked(tmpdir());
const isRoot = process.geteuid?.() === 0;

const ONE_BY_ONE: readonly Row[] = [
  { refused: [] },
  { refused: ['eventfd2'], notifier: 'pipe', backEnd: [`: ${EVENTFD}`], frontEnd: [EVENTFD] },
  { refused: ['memfd_create'], memory: 'shm_open', frontEnd: [MEMFD] },
  { refused: ['io_uring_setup'], io: 'epoll', backEnd: inThreads(URING) },
  {
    refused: ['io_uring_enter'],
    io: 'epoll',
    backEnd: inThreads('io_uring_enter: a poller and preadv'),
  },
  // Where there is io_uring nothing is waited for by epoll.
  ...([['epoll_create1'], ['epoll_ctl'], ['epoll_wait', 'epoll_pwait']] as StrictCallName[][]).map(
    (refused): Row => {
      const backEnd = [...inThreads(URING), ...inThreads('epoll: poll')];
      return { refused: ['io_uring_setup', ...refused], io: 'poll', backEnd };
    },
  ),
  { refused: ['accept4'], backEnd: [ACCEPT] },
  { refused: ['recvmsg(MSG_CMSG_CLOEXEC)'], backEnd: [`: ${CMSG}`], frontEnd: [CMSG] },
  {
    refused: ['socket(SOCK_CLOEXEC)'],
    backEnd: [SOCKET],
  },
  {
    refused: ['preadv2', 'pwritev2'],
    backEnd: ['blk', 'fs'].flatMap((device) => [
      `${device}: preadv2(RWF_NOWAIT): io_uring`,
      `${device}: pwritev2(RWF_NOWAIT): pwritev, or io_uring while that waits`,
    ]),
  },
  { refused: ['openat2', 'close_range'] }, // which nothing of ours calls
  { refused: ['statx'], backEnd: [STATX] },
  {
    refused: ['renameat2'],
    backEnd: [RENAME],
    results: NO_FLAGS,
  },
  { refused: ['copy_file_range'], backEnd: [COPY] },
  { refused: ['fallocate'], backEnd: [FALLOCATE_FS], results: ALLOCATE },
  {
    refused: ['fallocate', 'io_uring_setup'],
    io: 'epoll',
    backEnd: [FALLOCATE_FS, FALLOCATE_BLK, ...inThreads(URING)],
    results: ALLOCATE,
  },
  {
    refused: ['unshare', 'fchmodat2'],
    backEnd: MODES,
  },
  { refused: ['syncfs'], backEnd: [SYNC], results: NO_SYNC },
  { refused: ['fcntl(F_OFD_SETLK)'], backEnd: [LOCK], results: NO_LOCK },
  {
    refused: ['setfsuid', 'setfsgid', 'capset'],
    backEnd: [OWNER],
    asRoot: true,
  },
];

const ALL_RESULTS = { ...ALLOCATE, ...NO_FLAGS, ...NO_SYNC, ...NO_LOCK };

/** What of a row's calls is refused at all: to other users ours are no different without these. */
const ALL = Object.keys(STRICT_CALLS) as StrictCallName[];
const TOGETHER: Row = {
  refused: ALL,
  io: 'poll',
  notifier: 'pipe',
  memory: 'shm_open',
  backEnd: [
    ...[`: ${EVENTFD}`, `: ${CMSG}`, ACCEPT, SOCKET, STATX, RENAME, COPY, SYNC, LOCK, ...MODES],
    ...[FALLOCATE_FS, FALLOCATE_BLK, ...inThreads(URING), ...inThreads('epoll: poll')],
    ...(isRoot ? [OWNER] : []),
  ],
  frontEnd: [EVENTFD, MEMFD, CMSG],
  results: ALL_RESULTS,
};

/** The other mode does not even try them. */
const TOGETHER_POSIX: Row = {
  ...TOGETHER,
  backEnd: [`: ${CMSG}`, FALLOCATE_BLK],
  frontEnd: [CMSG],
};

function hasUring(): boolean {
  const ring = Uring.open(8);
  ring?.close();
  return ring !== null;
}

/** Why there can be no strict host here; false where there can. */
function skipReason(): string | false {
  if (process.platform !== 'linux') return 'seccomp is of Linux';
  if (process.env['VHOST_USER_HOST'] === 'posix') return 'the tests themselves choose the mode';
  return hasUring() ? false : 'the kernel of this host refuses io_uring by itself';
}

/** ext4 and others cannot say of a write whether it would wait: that is no refusal of ours. */
const OF_THE_FILE_SYSTEM = /p(?:read|write)v2\(RWF_NOWAIT\)/;

function expectRefused(run: StrictRun, refused: readonly StrictCallName[]): void {
  const { strict } = run.backEnd;
  // Main thread and three data planes; the supervisor's thread is not one of them.
  assert.equal(strict.size, 1 + THREADS.length, 'each thread has said what is refused to it');
  const threads = [...strict].filter(([thread]) => thread > 0);
  for (const name of refused) {
    const { errno = ENOSYS, scope } = STRICT_CALLS[name];
    for (const [, said] of threads) assert.equal(said[name], errno, `${name} in a data plane`);
    if (scope === 'data plane') continue;
    assert.equal(strict.get(0)?.[name], errno, `${name} in the main thread`);
    assert.equal(run.frontEndStrict[name], errno, `${name} in the front-end`);
  }
}

function expectFallbacks(found: readonly string[], row: readonly string[]): void {
  const expected = [...row].filter((each) => !inMemory || !OF_THE_FILE_SYSTEM.test(each)).sort();
  const left = found.filter((each) => expected.includes(each) || !OF_THE_FILE_SYSTEM.test(each));
  assert.deepEqual(left, expected);
}

function expectWays(run: StrictRun, io: string, notifier: string): void {
  const { ways } = run.backEnd;
  const files = io === 'io_uring' && !inMemory ? 'io_uring, page cache first' : 'preadv';
  const image = files === 'preadv' ? 'pread' : files;
  const threads = (how: string): string =>
    `the threads wait by ${how}, and are woken by ${notifier}`;
  assert.deepEqual(Object.fromEntries(ways), {
    'blk waits': threads(io),
    'fs waits': threads(io),
    'vsock waits': threads(io),
    'rng waits': threads('event loop'),
    'console waits': threads('event loop'),
    'blk files': `the image is read and written by ${image}`,
    'fs files': `files are read and written by ${files}`,
  });
}

function expectRun(run: StrictRun, row: Row): void {
  const { notifier = 'eventfd', memory = 'memfd', io = 'io_uring' } = row;
  const { frontEnd } = run;
  const results = Object.entries({ ...frontEnd.results, ...row.results });
  const wanted = results.map(([name]) => [name, row.results?.[name] ?? 'ok']);
  assert.deepEqual(frontEnd.results, Object.fromEntries(wanted));
  expectRefused(run, row.refused);
  assert.deepEqual([frontEnd.notifier, frontEnd.memory], [notifier, memory]);
  expectWays(run, io, notifier);
  expectFallbacks(run.backEnd.fallbacks, row.backEnd ?? []);
  const inFront = Object.entries(frontEnd.fallbacks).map(([call, how]) => `${call}: ${how}`);
  assert.deepEqual(inFront.sort(), [...(row.frontEnd ?? [])].sort());
  if (isRoot) assert.equal(run.owner, 1000, 'the file belongs to the guest that made it');
}

/** What has passed. */
const provenAlone = new Set<StrictCallName>();
let modesTogether = 0;

describe('all devices on a host that refuses', { skip: skipReason(), concurrency: 2 }, () => {
  for (const row of ONE_BY_ONE) {
    const skip = row.asRoot === true && !isRoot ? 'only root gives files away' : false;
    const name =
      row.refused.length === 0 ? 'nothing, and then by nothing else' : row.refused.join(', ');
    it(`${name}: they work`, { skip }, async () => {
      expectRun(await strictRun(row.refused), row);
      for (const each of row.refused) provenAlone.add(each);
    });
  }
  it(`all of the ${String(ALL.length)} together: they work`, async () => {
    expectRun(await strictRun(TOGETHER.refused), TOGETHER);
    modesTogether++;
  });
  it('all of them, in the mode that leaves them alone anyway: they work', async () => {
    const env = { VHOST_USER_HOST: 'posix' };
    expectRun(await strictRun(TOGETHER.refused, env), TOGETHER_POSIX);
    modesTogether++;
  });
});

it('no call that can be refused was left out', { skip: skipReason() }, (context) => {
  const asRoot = ONE_BY_ONE.filter(({ asRoot = false }) => asRoot && !isRoot);
  const leftOut = asRoot.flatMap(({ refused }) => refused);
  assert.deepEqual([...provenAlone, ...leftOut].sort(), [...ALL].sort());
  assert.equal(modesTogether, 2);
  const alone = String(provenAlone.size);
  const all = String(ALL.length);
  const what = `${alone} calls refused one by one, ${all} together in both modes, 5 devices work`;
  tellProof(context, `strict host: ${what}`);
});
