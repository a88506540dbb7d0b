/**
 * Which system calls are refused, and why it is these.
 *
 * It is a list of what is shut, and not of what is open: V8, libuv and two C libraries make calls
 * that change with their releases, and a filter that ends a guest's disk because of a new one of
 * them would be switched off. What a program that was taken over could do harm with is a short
 * list, and files are Landlock's part.
 *
 * There are two filters, since a kernel keeps all that were installed: one for the whole life of
 * the program, from before the first device is opened; and one more, when all is set up, for what
 * was needed until then.
 *
 * @module
 */
import { SANDBOX_ARGS } from '../../abi/index.ts';
import type { SyscallName } from '../../abi/index.ts';
import type { Condition, SyscallRule } from './filter-program.ts';
import type { SandboxNeeds } from './types.ts';

/** What no device needs, ever. */
const NEVER: readonly (readonly [why: string, calls: readonly SyscallName[]])[] = [
  ['other programs', ['execve', 'execveat', 'fork', 'vfork', 'uselib']],
  ['memory of other processes', ['ptrace', 'process_vm_readv', 'process_vm_writev']],
  ['other processes', ['pidfd_open', 'pidfd_getfd', 'pidfd_send_signal', 'process_madvise']],
  ['other processes', ['process_mrelease', 'migrate_pages', 'move_pages']],
  ['mounts', ['mount', 'umount2', 'open_tree', 'open_tree_attr', 'move_mount', 'fsopen']],
  ['mounts', ['fsconfig', 'fsmount', 'fspick', 'mount_setattr', 'pivot_root', 'chroot']],
  ['files past their names', ['open_by_handle_at', 'fanotify_init', 'fanotify_mark']],
  ['the kernel', ['kexec_load', 'kexec_file_load', 'init_module', 'finit_module']],
  ['the kernel', ['delete_module', 'create_module', 'get_kernel_syms', 'query_module']],
  ['wide attack surfaces', ['bpf', 'perf_event_open', 'userfaultfd', 'lookup_dcookie']],
  ['wide attack surfaces', ['modify_ldt', 'nfsservctl', '_sysctl', 'memfd_secret']],
  ['keys of the user', ['keyctl', 'add_key', 'request_key']],
  ['the machine', ['reboot', 'swapon', 'swapoff', 'quotactl', 'quotactl_fd', 'acct', 'vhangup']],
  ['the machine', ['sethostname', 'setdomainname', 'syslog', 'iopl', 'ioperm']],
  ['the clock', ['settimeofday', 'clock_settime', 'clock_adjtime', 'adjtimex']],
  ['other users', ['setuid', 'setgid', 'setreuid', 'setregid', 'setresuid', 'setresgid']],
  ['other users', ['setgroups']],
  ['namespaces', ['setns']],
  ['System V IPC', ['shmget', 'shmat', 'shmctl', 'semget', 'semop', 'semctl', 'semtimedop']],
  ['System V and POSIX queues', ['msgget', 'msgsnd', 'msgrcv', 'msgctl', 'mq_open']],
];

/** Attributes of files, which Landlock does not guard. */
const ATTRIBUTES: readonly SyscallName[] = [
  ...(['chmod', 'fchmod', 'fchmodat', 'fchmodat2', 'chown', 'lchown', 'fchown'] as const),
  ...(['fchownat', 'setxattr', 'lsetxattr', 'fsetxattr', 'setxattrat', 'removexattr'] as const),
  ...(['lremovexattr', 'fremovexattr', 'removexattrat', 'utime', 'utimes', 'futimesat'] as const),
  ...(['utimensat', 'file_setattr'] as const),
];

const IDENTITY: readonly SyscallName[] = ['setfsuid', 'setfsgid', 'capset'];
const SPECIAL_FILES: readonly SyscallName[] = ['mknod', 'mknodat'];

const A = SANDBOX_ARGS;

/** The rules for the whole life of the program. */
export function lastingRules(needs: SandboxNeeds, pid: number): SyscallRule[] {
  const ownProcess: Condition[] = [{ arg: 0, isOneOf: [pid] }];
  const never = NEVER.flatMap(([, calls]) => calls);
  const refused = needs.ownsFiles ? never : [...never, ...IDENTITY, ...SPECIAL_FILES];
  return [
    ...refused.map((call): SyscallRule => ({ call, verdict: 'refuse' })),
    // Threads only, and in the namespaces that there are. clone3 hides its flags from a filter:
    // without it, C libraries take clone.
    { call: 'clone3', verdict: 'absent' },
    {
      call: 'clone',
      verdict: [
        { arg: 0, mask: A.CLONE_THREAD, isOneOf: [A.CLONE_THREAD] },
        { arg: 0, mask: A.CLONE_NEW_ALL, isOneOf: [0] },
      ],
    },
    // A thread may have a umask of its own, which a shared folder needs.
    {
      call: 'unshare',
      verdict: [{ arg: 0, mask: A.CLONE_NEW_ALL | A.CLONE_NEWTIME, isOneOf: [0] }],
    },
    // Signals to this process: its own end, and the C library's abort().
    { call: 'kill', verdict: ownProcess },
    { call: 'tgkill', verdict: ownProcess },
    { call: 'tkill', verdict: ownProcess }, // musl's raise() in the main thread
    { call: 'rt_sigqueueinfo', verdict: ownProcess },
    { call: 'rt_tgsigqueueinfo', verdict: ownProcess },
    { call: 'prlimit64', verdict: [{ arg: 0, isOneOf: [0, pid] }] },
    { call: 'personality', verdict: [{ arg: 0, isOneOf: [A.PERSONALITY_QUERY] }] },
    { call: 'ioctl', verdict: [{ arg: 1, isNoneOf: [A.TIOCSTI, A.TIOCLINUX] }] },
    { call: 'socket', verdict: socketConditions(needs) },
    {
      call: 'socketpair', // a datagram socket reaches any address without connect()
      verdict: [
        { arg: 0, isOneOf: [A.AF_UNIX] },
        { arg: 1, mask: A.SOCK_TYPE_MASK, isOneOf: [A.SOCK_STREAM, A.SOCK_SEQPACKET] },
      ],
    },
  ];
}

/** Neither raw sockets nor netlink; UDP for those who look up names. */
function socketConditions(needs: SandboxNeeds): Condition[] {
  const usesTcp = usesInternet(needs);
  const families: number[] = [A.AF_UNIX];
  if (usesTcp) families.push(A.AF_INET, A.AF_INET6);
  if (needs.usesVsock) families.push(A.AF_VSOCK);
  const types: number[] = [A.SOCK_STREAM, A.SOCK_SEQPACKET];
  if (needs.looksUpNames) types.push(A.SOCK_DGRAM);
  return [
    { arg: 0, isOneOf: families },
    { arg: 1, mask: A.SOCK_TYPE_MASK, isOneOf: types },
  ];
}

/** Whether sockets of the internet are used. */
export function usesInternet(needs: SandboxNeeds): boolean {
  const { connectsTcp, listensTcp, looksUpNames } = needs;
  return connectsTcp === null || connectsTcp.length + listensTcp.length > 0 || looksUpNames;
}

/** The rules from when everything is set up. */
export function sealingRules(needs: SandboxNeeds): SyscallRule[] {
  // Rings are restricted to the requests that we make; another one would not be.
  const refused: SyscallName[] = ['io_uring_setup'];
  const connects = needs.connectsUnix || needs.usesVsock || needs.connectsTcp?.length !== 0;
  if (!needs.ownsFiles) refused.push(...ATTRIBUTES);
  refused.push('listen');
  if (!needs.looksUpNames) {
    refused.push('bind'); // musl binds the socket that it asks a name server with
    if (!connects) refused.push('connect', 'socket');
  }
  return refused.map((call) => ({ call, verdict: 'refuse' }));
}
