/**
 * seccomp filters: a few instructions of classic BPF that refuse system calls, and their loading
 * into this thread (seccomp(2), uapi/linux/{seccomp,filter,audit}.h).
 *
 * @module
 */
import { readdirSync, readlinkSync } from 'node:fs';
import koffi from 'koffi';
import { ENOSYS, numberOf, STRICT_CALLS } from './calls.ts';
import type { StrictCall, StrictCallName } from './calls.ts';

const libc = koffi.load(null);
const syscall = libc.func(
  'long syscall(long number, long a, long b, long c, long d, long e, long f)',
) as (number: number, ...args: number[]) => number;
const malloc = libc.func('intptr_t malloc(size_t bytes)') as (bytes: number) => number;
const prctl = libc.func(
  'int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)',
) as (option: number, ...args: number[]) => number;

const SYS_SECCOMP = process.arch === 'arm64' ? 277 : 317;
const AUDIT_ARCH = process.arch === 'arm64' ? 0xc000_00b7 : 0xc000_003e;
const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_SET_MODE_FILTER = 1;
const SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3;
const SECCOMP_RET_ALLOW = 0x7fff_0000;
const SECCOMP_RET_ERRNO = 0x0005_0000;
const SECCOMP_RET_USER_NOTIF = 0x7fc0_0000;

/** `struct seccomp_data`: nr 4, arch 4, instruction_pointer 8, args 8 each. */
const DATA = { nr: 0, arch: 4, args: 16 } as const;
const LOAD_WORD = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_BITS = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN = 0x06; // BPF_RET | BPF_K

/** `struct sock_filter`: code 2, jt 1, jf 1, k 4. */
type Instruction = readonly [code: number, jt: number, jf: number, k: number];
const INSTRUCTION_BYTES = 8;
/** `struct sock_fprog`: len 2, filter 8 at 8. */
const PROGRAM_BYTES = 16;

const load = (offset: number): Instruction => [LOAD_WORD, 0, 0, offset];
const answer = (value: number): Instruction => [RETURN, 0, 0, value];

/** Refuses calls to this thread and to those that it starts. */
export function refuse(names: readonly StrictCallName[]): void {
  refuseCalls(names.map((name) => STRICT_CALLS[name]));
}

/** The same with calls that are none of the set. */
export function refuseCalls(calls: readonly StrictCall[]): void {
  const rules = calls.map((call) => ruleOf(call, SECCOMP_RET_ERRNO | (call.errno ?? ENOSYS)));
  install(rules.flat(), 0);
}

/**
 * Has a supervisor decide about a call of this thread and of those that it starts; the fd at which
 * it listens, and which it has to answer from now on.
 */
export function supervise(name: StrictCallName): number {
  return install(
    ruleOf(STRICT_CALLS[name], SECCOMP_RET_USER_NOTIF),
    SECCOMP_FILTER_FLAG_NEW_LISTENER,
  );
}

/** What a call says to its probe: the errno, or 0. */
export function probe(name: StrictCallName): number {
  const call = STRICT_CALLS[name];
  const number = numberOf(call);
  if (number === null) return call.errno ?? ENOSYS; // an architecture without it refuses by itself
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = call.probe;
  return syscall(number, a, b, c, d, e, f) < 0 ? koffi.errno() : 0;
}

/** Whether the accumulator, which has the call's number, is this call's, and what follows. */
function ruleOf(call: StrictCall, verdict: number): Instruction[] {
  const number = numberOf(call);
  if (number === null) return [];
  const body = conditionOf(call, verdict);
  return [[JUMP_EQUAL, 0, body.length, number], ...body];
}

function conditionOf(call: StrictCall, verdict: number): Instruction[] {
  const { when } = call;
  if (when === undefined) return [answer(verdict)];
  const allow = answer(SECCOMP_RET_ALLOW);
  if (when === 'on a set of ours') {
    const known = epollFds();
    const tests = known.map((fd, i): Instruction => [JUMP_EQUAL, known.length - i, 0, fd]);
    return [load(DATA.args), ...tests, answer(verdict), allow];
  }
  const argument = load(DATA.args + 8 * when.argument); // its low word
  if ('bits' in when) return [argument, [JUMP_BITS, 0, 1, when.bits], answer(verdict), allow];
  const { among } = when;
  const tests = among.map((each, i): Instruction => [JUMP_EQUAL, among.length - i, 0, each]);
  return [argument, ...tests, allow, answer(verdict)];
}

/** The sets that are there: libuv's. */
function epollFds(): number[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:[eventpoll]' ? [Number(fd)] : [];
    } catch {
      return []; // the one that listed them
    }
  });
}

function install(rules: readonly Instruction[], flags: number): number {
  const program: Instruction[] = [
    load(DATA.arch),
    [JUMP_EQUAL, 1, 0, AUDIT_ARCH],
    answer(SECCOMP_RET_ALLOW),
    load(DATA.nr),
    ...rules,
    answer(SECCOMP_RET_ALLOW),
  ];
  const bytes = PROGRAM_BYTES + program.length * INSTRUCTION_BYTES;
  const address = malloc(bytes); // small, and once a thread: it is left to the process's end
  // SAFETY: the block was just allocated with this size, and is not given back.
  const view = new DataView(koffi.view(BigInt(address), bytes));
  view.setUint16(0, program.length, true);
  view.setBigUint64(8, BigInt(address + PROGRAM_BYTES), true);
  program.forEach(([code, jt, jf, k], i) => {
    const at = PROGRAM_BYTES + i * INSTRUCTION_BYTES;
    view.setUint16(at, code, true);
    view.setUint8(at + 2, jt);
    view.setUint8(at + 3, jf);
    view.setUint32(at + 4, k, true);
  });
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) throw failure('prctl(PR_SET_NO_NEW_PRIVS)');
  const result = syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, flags, address, 0, 0, 0);
  if (result < 0) throw failure('seccomp(SECCOMP_SET_MODE_FILTER)');
  return result;
}

function failure(call: string): Error {
  return new Error(`${call}: errno ${String(koffi.errno())}`);
}
