/**
 * What the headers are asked about each number that `src/sys` defines for itself, and which of
 * those numbers are our own.
 *
 * @module
 */
import type { Probe } from './compiler.ts';
import type { Target } from './targets.ts';

type Where = 'all' | Target['os'];

/** Of the header: `[where, prefix, names]`. */
const GROUPS: readonly (readonly [Where, string, Readonly<Record<string, string>>])[] = [
  [
    'linux',
    'self-test.ts ',
    {
      KVM_GET_API_VERSION: 'KVM_GET_API_VERSION',
      KVM_CREATE_VM: 'KVM_CREATE_VM',
      KVM_API_VERSION: 'KVM_API_VERSION',
      SYS_landlock_create_ruleset: 'SYS_landlock_create_ruleset',
      LANDLOCK_CREATE_RULESET_VERSION: 'LANDLOCK_CREATE_RULESET_VERSION',
      URING_PARAMS_BYTES: 'sizeof(struct io_uring_params)',
    },
  ],
  [
    'linux',
    'brisk-write.ts ',
    {
      RUSAGE_THREAD: 'RUSAGE_THREAD',
      'RUSAGE.nvcsw': 'offsetof(struct rusage, ru_nvcsw)',
    },
  ],
  // Room that has to be enough: the number itself when it is.
  ['linux', 'brisk-write.ts ', { 'RUSAGE.SIZE': 'sizeof(struct rusage) <= 272 ? 272 : 0' }],
  [
    'all',
    'dir.ts DT.',
    Object.fromEntries(
      ['UNKNOWN', 'FIFO', 'CHR', 'DIR', 'BLK', 'REG', 'LNK', 'SOCK'].map((n) => [n, `DT_${n}`]),
    ),
  ],
  ['linux', 'dir.ts DT.', { WHT: 'DT_WHT' }],
  ['netbsd', 'dir-counted.ts ', { DT_WHT: 'DT_WHT' }],
  [
    'linux',
    'extent.ts FALLOC.',
    Object.fromEntries(
      [
        'KEEP_SIZE',
        'PUNCH_HOLE',
        'COLLAPSE_RANGE',
        'ZERO_RANGE',
        'INSERT_RANGE',
        'UNSHARE_RANGE',
      ].map((n) => [n, `FALLOC_FL_${n}`]),
    ),
  ],
  ['darwin', 'extent.ts ', { F_ALLOCATEALL: 'F_ALLOCATEALL', F_PEOFPOSMODE: 'F_PEOFPOSMODE' }],
  ['darwin', 'identity.ts ', { DARWIN_OPEN_MAX: 'OPEN_MAX' }],
  [
    'linux',
    'identity.ts ',
    {
      CLONE_FS: 'CLONE_FS',
      CAPABILITY_VERSION_3: '_LINUX_CAPABILITY_VERSION_3',
      CAP_DAC_OVERRIDE: '1 << CAP_DAC_OVERRIDE',
      'CAPS.data': 'sizeof(struct __user_cap_header_struct)',
      'CAPS.permitted': 'offsetof(struct __user_cap_data_struct, permitted)',
      'CAPS.SIZE':
        'sizeof(struct __user_cap_header_struct) + 2 * sizeof(struct __user_cap_data_struct)',
    },
  ],
  ['linux', 'lock.ts LOCK_TYPE.', { READ: 'F_RDLCK', WRITE: 'F_WRLCK', NONE: 'F_UNLCK' }],
  [
    'all',
    'lock.ts LOCK_OP.',
    { SHARED: 'LOCK_SH', EXCLUSIVE: 'LOCK_EX', NO_WAIT: 'LOCK_NB', UNLOCK: 'LOCK_UN' },
  ],
  [
    'linux',
    'sandbox/landlock.ts ',
    { EBADFD: 'EBADFD', FS_RIGHTS_1: '(LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1' },
  ],
  ...namespaceGroups(),
  [
    'linux',
    'notifier.ts ',
    { VALUE_BYTES: 'sizeof(eventfd_t)', 'SIGNAL.bytes': 'sizeof(eventfd_t)' },
  ],
  ['linux', 'self-test.ts ', { EFD_SEMAPHORE: 'EFD_SEMAPHORE' }],
  ['freebsd', 'self-test.ts ', { EFD_SEMAPHORE: 'EFD_SEMAPHORE' }],
  ['linux', 'poller-epoll.ts ', { READ_WRITE: 'EPOLLIN | EPOLLOUT' }],
  ['all', 'poller-kqueue.ts ', { READABLE: 'POLLIN', WRITABLE: 'POLLOUT' }],
  ['all', 'poller-kqueue.ts ', { TIMESPEC_BYTES: 'sizeof(struct timespec)' }],
  ['all', 'poller-poll.ts ', { POLLFD_BYTES: 'sizeof(struct pollfd)' }],
  ['all', 'poller-poll.ts ', { POLLIN_POLLOUT: 'POLLIN | POLLOUT' }],
  ['all', 'poller.ts ', { READABLE: 'POLLIN', WRITABLE: 'POLLOUT' }],
  ['all', 'watch-uv.ts ', { READABLE: 'POLLIN', WRITABLE: 'POLLOUT' }],
  ['all', 'shm.ts ', { OWNER_ONLY: 'S_IRUSR | S_IWUSR' }],
  ['all', 'file.ts ', { IOVEC_BYTES: 'sizeof(struct iovec)' }],
  ['all', 'socket-io.ts ', { IOVEC_BYTES: 'sizeof(struct iovec)', IOVECS_MAX: 'IOV_MAX' }],
  ['all', 'fd-passing.ts ', { FD_BYTES: 'sizeof(int)' }],
  ['all', 'identity.ts ', { NO_ID: '(uid_t)-1' }],
  ['all', 'stat.ts ', { MODE_MASK: 'S_IFMT | 07777' }],
  ['all', 'tree.ts ', { S_IFMT: 'S_IFMT', S_IFREG: 'S_IFREG', S_IFIFO: 'S_IFIFO' }],
  [
    'all',
    'terminal.ts WINSIZE.',
    {
      rows: 'offsetof(struct winsize, ws_row)',
      columns: 'offsetof(struct winsize, ws_col)',
      SIZE: 'sizeof(struct winsize)',
    },
  ],
  // Room that has to be enough: the number itself when it is.
  ['all', 'terminal.ts ', { TERMIOS_BYTES: 'sizeof(struct termios) <= 256 ? 256 : 0' }],
  ['all', 'stream-socket.ts ', { ADDRESS_BYTES: 'sizeof(struct sockaddr_in6) <= 128 ? 128 : 0' }],
  ['all', 'dir-counted.ts ', { SEEK_SET: 'SEEK_SET', SEEK_CUR: 'SEEK_CUR' }],
  ['all', 'dir.ts ', { SEEK_SET: 'SEEK_SET' }],
  ['all', 'lock.ts ', { SEEK_SET: 'SEEK_SET' }],
  [
    'linux',
    'tree.ts RENAME.',
    { NOREPLACE: 'RENAME_NOREPLACE', EXCHANGE: 'RENAME_EXCHANGE', WHITEOUT: 'RENAME_WHITEOUT' },
  ],
  ['linux', 'xattr.ts XATTR.', { CREATE: 'XATTR_CREATE', REPLACE: 'XATTR_REPLACE' }],
  ['linux', 'xattr-freebsd.ts ', { CREATE: 'XATTR_CREATE', REPLACE: 'XATTR_REPLACE' }],
  ['freebsd', 'xattr-freebsd.ts ', { EXTATTR_NAMESPACE_USER: 'EXTATTR_NAMESPACE_USER' }],
  ...uringGroups(),
  ...capsicumGroups(),
];

function namespaceGroups(): (readonly [Where, string, Readonly<Record<string, string>>])[] {
  const named = (prefix: string, names: readonly string[], ours = ''): Record<string, string> =>
    Object.fromEntries(names.map((name) => [`${ours}${name}`, `${prefix}${name}`]));
  const caps = ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'SETGID', 'SETUID', 'IPC_LOCK'];
  const head = 'sizeof(struct __user_cap_header_struct)';
  const half = 'sizeof(struct __user_cap_data_struct)';
  return [
    [
      'linux',
      'sandbox/namespace.ts MOUNT.',
      {
        ...named('MS_', ['NOSUID', 'NODEV', 'NOEXEC', 'REC', 'PRIVATE', 'SLAVE'], 'MS_'),
        ...named('MOUNT_ATTR_', ['RDONLY', 'NOSUID', 'NODEV', 'NOEXEC'], 'ATTR_'),
        ...named('', ['CLONE_NEWNS', 'OPEN_TREE_CLONE', 'OPEN_TREE_CLOEXEC', 'AT_FDCWD']),
        ...named('', ['AT_EMPTY_PATH', 'AT_RECURSIVE', 'TMPFS_MAGIC']),
        F_EMPTY_PATH: 'MOVE_MOUNT_F_EMPTY_PATH',
      },
    ],
    [
      'linux',
      'sandbox/namespace.ts MOUNT_ATTR.',
      {
        attrSet: 'offsetof(struct mount_attr, attr_set)',
        propagation: 'offsetof(struct mount_attr, propagation)',
        SIZE: 'sizeof(struct mount_attr)',
      },
    ],
    [
      'linux',
      'sandbox/capabilities.ts CAP.',
      named('CAP_', [...caps, 'SYS_ADMIN', 'MKNOD', 'SETFCAP']),
    ],
    [
      'linux',
      'sandbox/capabilities.ts ',
      {
        CAPABILITY_VERSION_3: '_LINUX_CAPABILITY_VERSION_3',
        PR_CAPBSET_DROP: 'PR_CAPBSET_DROP',
        'CAPS.data': head,
        'CAPS.permitted': 'offsetof(struct __user_cap_data_struct, permitted)',
        'CAPS.inheritable': 'offsetof(struct __user_cap_data_struct, inheritable)',
        'CAPS.halfBytes': half,
        'CAPS.SIZE': `${head} + 2 * ${half}`,
      },
    ],
  ];
}

/** Without the bits that number a word of `cap_rights_t`, and without LOOKUP of what has it. */
function capsicumGroups(): (readonly [Where, string, Readonly<Record<string, string>>])[] {
  const bits = (names: readonly string[], without = ''): Record<string, string> =>
    Object.fromEntries(names.map((name) => [name, `CAP_${name} & ((1ULL << 57) - 1)${without}`]));
  const below = ['LINKAT_TARGET', 'LINKAT_SOURCE', 'RENAMEAT_TARGET', 'RENAMEAT_SOURCE'];
  const made = ['MKDIRAT', 'MKFIFOAT', 'MKNODAT', 'SYMLINKAT', 'UNLINKAT'];
  const files = ['READ', 'WRITE', 'SEEK', 'MMAP', 'CREATE', 'FSYNC', 'FTRUNCATE', 'LOOKUP'];
  const kept = ['FCHMOD', 'FCHOWN', 'FCNTL', 'FLOCK', 'FPATHCONF', 'FSTAT', 'FSTATFS', 'FUTIMES'];
  const sockets = ['ACCEPT', 'GETPEERNAME', 'GETSOCKNAME', 'GETSOCKOPT', 'SETSOCKOPT', 'SHUTDOWN'];
  const second = ['EVENT', 'IOCTL', 'EXTATTR_DELETE', 'EXTATTR_GET', 'EXTATTR_LIST', 'EXTATTR_SET'];
  const file = 'sandbox/freebsd.ts ';
  return [
    ['freebsd', `${file}CAP.`, bits([...files, ...kept, ...sockets])],
    ['freebsd', `${file}CAP.`, bits([...below, ...made], ' & ~CAP_LOOKUP')],
    ['freebsd', `${file}CAP1.`, bits(second)],
    ['freebsd', file, { RIGHTS_BYTES: 'sizeof(cap_rights_t)' }],
    ['freebsd', file, { WORD_BIT: '__builtin_ctzll(CAPRIGHT(0, 0))' }],
  ];
}

function uringGroups(): (readonly [Where, string, Readonly<Record<string, string>>])[] {
  const same = (...names: string[]): Record<string, string> =>
    Object.fromEntries(names.map((name) => [name, name]));
  const fields = (tag: string, names: Readonly<Record<string, string>>): Record<string, string> =>
    Object.fromEntries(
      Object.entries(names).map(([ours, theirs]) => [ours, `offsetof(struct ${tag}, ${theirs})`]),
    );
  const ring = { head: 'head', tail: 'tail', ringMask: 'ring_mask', ringEntries: 'ring_entries' };
  const params = { sqEntries: 'sq_entries', cqEntries: 'cq_entries', flags: 'flags' };
  const ops = ['NOP', 'READV', 'WRITEV', 'FSYNC', 'POLL_ADD', 'ASYNC_CANCEL', 'FALLOCATE'];
  const setup = ['CQSIZE', 'COOP_TASKRUN', 'TASKRUN_FLAG', 'SINGLE_ISSUER', 'DEFER_TASKRUN'];
  return [
    [
      'linux',
      'uring.ts PARAMS.',
      {
        ...fields('io_uring_params', {
          ...params,
          features: 'features',
          sq: 'sq_off',
          cq: 'cq_off',
        }),
        SIZE: 'sizeof(struct io_uring_params)',
      },
    ],
    [
      'linux',
      'uring.ts SQ_OFF.',
      fields('io_sqring_offsets', { ...ring, flags: 'flags', array: 'array' }),
    ],
    ['linux', 'uring.ts CQ_OFF.', fields('io_cqring_offsets', { ...ring, cqes: 'cqes' })],
    [
      'linux',
      'uring.ts ARG.',
      {
        ...fields('io_uring_getevents_arg', { sigmask: 'sigmask', ts: 'ts' }),
        SIZE: 'sizeof(struct io_uring_getevents_arg)',
        timespec: 'sizeof(struct io_uring_getevents_arg)',
        END: 'sizeof(struct io_uring_getevents_arg) + sizeof(struct __kernel_timespec)',
      },
    ],
    [
      'linux',
      'uring.ts OP.',
      Object.fromEntries([...ops, 'READ', 'WRITE'].map((op) => [op, `IORING_OP_${op}`])),
    ],
    [
      'linux',
      'uring.ts ',
      {
        SQE_WORDS: 'sizeof(struct io_uring_sqe) / 4',
        CQE_WORDS: 'sizeof(struct io_uring_cqe) / 4',
        ...same(...setup.map((name) => `IORING_SETUP_${name}`)),
        ...same('IORING_FEAT_SINGLE_MMAP', 'IORING_FEAT_EXT_ARG', 'IORING_OFF_SQ_RING'),
        ...same('IORING_OFF_SQES', 'IORING_ENTER_GETEVENTS', 'IORING_ENTER_EXT_ARG'),
        ...same('IORING_FSYNC_DATASYNC', 'MAP_POPULATE', 'IORING_FEAT_RSRC_TAGS'),
        ...same('IORING_POLL_ADD_MULTI', 'IORING_CQE_F_MORE'),
        ...same('IORING_SETUP_R_DISABLED', 'IORING_REGISTER_RESTRICTIONS'),
        ...same('IORING_REGISTER_ENABLE_RINGS', 'IORING_FEAT_CQE_SKIP'),
        ...same('IOSQE_CQE_SKIP_SUCCESS', 'IORING_RESTRICTION_SQE_FLAGS_ALLOWED'),
        IORING_RESTRICTION_SQE_OP: 'IORING_RESTRICTION_SQE_OP',
        'RESTRICTION.opcode': 'offsetof(struct io_uring_restriction, opcode)',
        'RESTRICTION.sqeOp': 'offsetof(struct io_uring_restriction, sqe_op)',
        'RESTRICTION.SIZE': 'sizeof(struct io_uring_restriction)',
        IORING_SQ_CQ_OVERFLOW: 'IORING_SQ_CQ_OVERFLOW',
        IORING_SQ_TASKRUN: 'IORING_SQ_TASKRUN',
      },
    ],
  ];
}

/** Numbers that are our own, each with its reason; those of others are in `facts.ts`. */
const OUR_OWN: Readonly<Record<string, string>> = {
  'brisk-write.ts LONG_US': 'a limit of our own',
  'brisk-write.ts WATCH_US': 'a time of our own',
  'brisk-write.ts REFUSE_FACTOR': 'a proportion of our own',
  'brisk-write.ts REFUSE_US_MIN': 'a time of our own',
  'brisk-write.ts REFUSE_US_MAX': 'a time of our own',
  'dir-counted.ts FORWARD_BYTES': 'a block of our own',
  'dir-counted.ts RECORD_ALIGN': 'as DirCursor takes records',
  'dir-counted.ts WITH_POSITION.ino.offset': 'an entry of our own making',
  'dir-counted.ts WITH_POSITION.ino.bytes': 'an entry of our own making',
  'dir-counted.ts WITH_POSITION.off.offset': 'an entry of our own making',
  'dir-counted.ts WITH_POSITION.off.bytes': 'an entry of our own making',
  'dir-counted.ts WITH_POSITION.reclen.offset': 'an entry of our own making',
  'dir-counted.ts WITH_POSITION.reclen.bytes': 'an entry of our own making',
  'dir-counted.ts WITH_POSITION.type.offset': 'an entry of our own making',
  'dir-counted.ts WITH_POSITION.type.bytes': 'an entry of our own making',
  'dir-counted.ts WITH_POSITION.namlen.offset': 'an entry of our own making',
  'dir-counted.ts WITH_POSITION.namlen.bytes': 'an entry of our own making',
  'dir-counted.ts WITH_POSITION.nameOffset': 'an entry of our own making',
  'dir.ts TWO32': 'arithmetic',
  'dir.ts HIGH_MAX': 'arithmetic',
  'fd-passing.ts FDS_PER_MESSAGE_MAX': 'fewer than any host takes: see the rule cluster-of-fds',
  'fd-passing.ts CHUNK_BYTES': 'a block of our own',
  'fd-passing.ts FDS_RECEIVED_MAX': 'room of our own',
  'sandbox/execute-again.ts ADDRESS_BYTES': 'of a pointer on 64-bit hosts',
  'sandbox/execute-again.ts ADDRESS_HIGH': 'arithmetic',
  'sandbox/namespace.ts UNKNOWN_FLAGS': 'all flags, so that one of them is known to no kernel',
  'sandbox/execute-again.ts LISTEN_FDS_MAX': 'a bound of our own',
  'sandbox/capabilities.ts CAPABILITIES_MAX': 'a bound of our own',
  'sandbox/root-plan.ts LINKS_MAX': 'a bound of our own',
  'sandbox/freebsd.ts HIGH': 'arithmetic',
  'sandbox/freebsd.ts FDS_LOOKED_AT': 'a bound of our own',
  'sandbox/seccomp.ts ADDRESS_HIGH': 'arithmetic',
  'self-test.ts NOP_LIMIT_US': 'a limit of our own',
  'fd-path.ts DIGITS_MAX': 'arithmetic',
  'fd.ts PROBED_FDS': 'how many we look at',
  'file.ts SECTOR_BYTES': 'what virtio calls a sector',
  'mmap.ts PAGE_BYTES_MAX': 'a multiple of the pages of every host',
  'notifier.ts DRAIN_BYTES': 'a block of our own',
  'notifier.ts DRAIN_READS_MAX': 'a bound of our own',
  'open-flags.ts HOST_ERRNO_MAX': 'above the numbers of every host: checked with the errno tables',
  'poller-epoll.ts READY_MAX': 'a bound of our own',
  'poller-kqueue.ts READY_MAX': 'a bound of our own',
  'poller-poll.ts FDS_AT_FIRST': 'a block of our own',
  'poller.ts FOREVER': 'between our own functions',
  'shm.ts NAME_ATTEMPTS_MAX': 'a bound of our own',
  'stat.ts TWO32': 'arithmetic',
  'stat.ts HIGH_MAX': 'arithmetic',
  'stat.ts NAMELEN_DEFAULT': 'told to guests where the host does not say',
  'stat.ts NONE.offset': 'stands for a structure that is never read',
  'stat.ts NONE.bytes': 'stands for a structure that is never read',
  'stat.ts NO_STATX.STATX_BASIC_STATS': 'stands for a structure that is never read',
  'stat.ts NO_STATX.STATX_MNT_ID': 'stands for a structure that is never read',
  'stat.ts NO_STATX.STATX_BTIME': 'stands for a structure that is never read',
  'uring.ts SETUP_FLAGS[0]': 'a sum of the ones above',
  'uring.ts SETUP_FLAGS[1]': 'a sum of the ones above',
  'uring.ts SETUP_FLAGS[2]': 'a sum of the ones above',
  'uring.ts FEATURES_NEEDED': 'a sum of the ones above',
  'uring.ts WORD': 'arithmetic',
  'uring.ts ENTER_ATTEMPTS_MAX': 'a bound of our own',
  'watch-thread.ts STOP.key': 'between our own threads',
  'watch-thread.ts STOP.fd': 'between our own threads',
  'watch-thread.ts STOP.events': 'between our own threads',
  'watch.worker.ts WAKE_KEY': 'between our own threads',
  'xattr-freebsd.ts LIST_BYTES_MAX': 'a block of our own',
};

/** The questions about the numbers of `src/sys` on a target, by the names of the numbers. */
export function sysQuestions(target: Target): Probe[] {
  return GROUPS.filter(([where]) => where === 'all' || where === target.os).flatMap(
    ([, prefix, names]) =>
      Object.entries(names).map(([name, expression]) => ({ name: prefix + name, expression })),
  );
}

/** Every number that some target is asked about. */
export function askedNumbers(): Set<string> {
  return new Set(
    GROUPS.flatMap(([, prefix, names]) => Object.keys(names).map((name) => prefix + name)),
  );
}

/** Why a number needs no header; undefined when nothing is known of it. */
export function whyOurOwn(name: string): string | undefined {
  return OUR_OWN[name];
}
