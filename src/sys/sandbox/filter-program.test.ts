/**
 * Tests of the filters: each is run by an interpreter of BPF, for every system call of both
 * architectures, and compared with what its rules say.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BPF,
  SANDBOX_ARGS,
  SECCOMP,
  SECCOMP_DATA,
  SYSCALL_NAMES,
  linuxSyscalls,
} from '../../abi/index.ts';
import type { SyscallName } from '../../abi/index.ts';
import { filterProgram } from './filter-program.ts';
import type { FilterArch, Instruction, SyscallRule } from './filter-program.ts';
import { lastingRules, sealingRules } from './filter-rules.ts';
import { answersOf } from './seccomp.ts';
import { NO_NEEDS, mergeNeeds } from './types.ts';
import type { SandboxNeeds } from './types.ts';

const ARCHES: readonly FilterArch[] = ['x64', 'arm64'];
const AUDIT = { x64: SECCOMP.AUDIT_ARCH_X86_64, arm64: SECCOMP.AUDIT_ARCH_AARCH64 };
const PID = 4321;
const EPERM = 1;
const ENOSYS = 38;
const REFUSED = SECCOMP.RET_ERRNO | EPERM;
const ABSENT = SECCOMP.RET_ERRNO | ENOSYS;
const ALLOWED = SECCOMP.RET_ALLOW;
const KILLED = SECCOMP.RET_KILL_PROCESS;
const NUMBERS_MAX = 600;

/** A system call as a filter sees it. */
interface Call {
  readonly nr: number;
  readonly arch?: number;
  readonly args?: readonly number[];
}

/** Runs a program as the kernel does; the answer, and how many instructions it took. */
function run(program: readonly Instruction[], call: Call, arch: FilterArch): [number, number] {
  const data = new DataView(new ArrayBuffer(SECCOMP_DATA.SIZE));
  data.setUint32(SECCOMP_DATA.nr, call.nr, true);
  data.setUint32(SECCOMP_DATA.arch, call.arch ?? AUDIT[arch], true);
  (call.args ?? []).forEach((arg, i) => {
    data.setUint32(SECCOMP_DATA.args + i * SECCOMP_DATA.argBytes, arg, true);
  });
  let accumulator = 0;
  let steps = 0;
  for (let at = 0; at < program.length; at++) {
    const { code, jt, jf, k } = program[at] as Instruction;
    steps++;
    const branch = (holds: boolean): void => void (at += holds ? jt : jf);
    if (code === BPF.LD_W_ABS) accumulator = data.getUint32(k, true);
    else if (code === BPF.ALU_AND_K) accumulator = (accumulator & k) >>> 0;
    else if (code === BPF.JMP_JEQ_K) branch(accumulator === k);
    else if (code === BPF.JMP_JGT_K) branch(accumulator > k);
    else if (code === BPF.JMP_JGE_K) branch(accumulator >= k);
    else if (code === BPF.JMP_JA) at += k;
    else if (code === BPF.RET_K) return [k, steps];
    else assert.fail(`the kernel knows no instruction 0x${code.toString(16)} in a filter`);
  }
  assert.fail('a filter ends with an answer');
}

function compile(rules: readonly SyscallRule[], arch: FilterArch): Instruction[] {
  return filterProgram(rules, arch, answersOf('error'));
}

/** What one argument may be, by trying it. */
function answerTo(
  needs: SandboxNeeds,
  arch: FilterArch,
  name: SyscallName,
  args: number[],
): number {
  const nr = linuxSyscalls(arch)[name];
  return run(compile(lastingRules(needs, PID), arch), { nr, args }, arch)[0];
}

const EVERYTHING: SandboxNeeds = {
  ...NO_NEEDS,
  connectsUnix: true,
  connectsTcp: null,
  looksUpNames: true,
  usesVsock: true,
  ownsFiles: true,
};

for (const arch of ARCHES) {
  test(`each of 600 system calls of ${arch} has the answer of its rule, or is allowed`, () => {
    const numbers = linuxSyscalls(arch);
    for (const needs of [NO_NEEDS, EVERYTHING, { ...NO_NEEDS, connectsTcp: [80] }]) {
      for (const rules of [lastingRules(needs, PID), sealingRules(needs)]) {
        const program = compile(rules, arch);
        const byNumber = new Map(rules.map((rule) => [numbers[rule.call], rule]));
        let seen = 0;
        for (let nr = 0; nr < NUMBERS_MAX; nr++) {
          const verdict = byNumber.get(nr)?.verdict;
          if (verdict !== undefined) seen++;
          // Arguments that no condition takes.
          const args = [0xdead, 0xdeaf, 0xdead, 0xdead, 0xdead, 0xdead];
          const [answer] = run(program, { nr, args }, arch);
          if (verdict === undefined) assert.equal(answer, ALLOWED, `number ${String(nr)}`);
          else if (verdict === 'absent') assert.equal(answer, ABSENT, `number ${String(nr)}`);
          else if (verdict === 'refuse') assert.equal(answer, REFUSED, `number ${String(nr)}`);
        }
        const missing = rules.filter(({ call }) => numbers[call] < 0).length;
        assert.equal(seen, rules.length - missing);
      }
    }
  });

  test(`a call of another architecture ends the process on ${arch}`, () => {
    const program = compile(lastingRules(EVERYTHING, PID), arch);
    const other = AUDIT[arch === 'x64' ? 'arm64' : 'x64'];
    const i386 = 0x4000_0003;
    for (const wrong of [other, i386, 0]) {
      assert.equal(run(program, { nr: 1, arch: wrong }, arch)[0], KILLED);
    }
    const x32 = run(program, { nr: SECCOMP.X32_SYSCALL_BIT + 1 }, arch)[0];
    assert.equal(x32, arch === 'x64' ? KILLED : ALLOWED);
  });

  test(`signals and limits are for this process alone on ${arch}`, () => {
    for (const name of ['kill', 'tgkill', 'tkill', 'rt_sigqueueinfo'] as const) {
      assert.equal(answerTo(EVERYTHING, arch, name, [PID, 15]), ALLOWED, name);
      // All processes, a group, this group, and another one.
      for (const pid of [-1, -PID, 0, 1]) {
        assert.equal(answerTo(EVERYTHING, arch, name, [pid, 15]), REFUSED, name);
      }
    }
    assert.equal(answerTo(NO_NEEDS, arch, 'prlimit64', [0]), ALLOWED);
    assert.equal(answerTo(NO_NEEDS, arch, 'prlimit64', [1]), REFUSED);
  });

  test(`threads can be started and nothing else on ${arch}`, () => {
    const { CLONE_THREAD, CLONE_NEWTIME } = SANDBOX_ARGS;
    const pthreadFlags = 0x3d_0f00; // VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, two TIDs
    assert.equal(answerTo(NO_NEEDS, arch, 'clone', [pthreadFlags]), ALLOWED);
    assert.equal(answerTo(NO_NEEDS, arch, 'clone', [17]), REFUSED, 'fork');
    const namespaces = [0x2_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000];
    namespaces.push(0x1000_0000, 0x2000_0000, 0x4000_0000);
    for (const flag of namespaces) {
      assert.equal(answerTo(EVERYTHING, arch, 'clone', [CLONE_THREAD | flag]), REFUSED);
      assert.equal(answerTo(EVERYTHING, arch, 'unshare', [flag]), REFUSED);
    }
    assert.equal(answerTo(EVERYTHING, arch, 'unshare', [CLONE_NEWTIME]), REFUSED);
    assert.equal(answerTo(NO_NEEDS, arch, 'unshare', [0x200]), ALLOWED, 'CLONE_FS');
    assert.equal(answerTo(EVERYTHING, arch, 'clone3', [0]), ABSENT);
  });

  test(`sockets are of the families that a device needs on ${arch}`, () => {
    const [stream, datagram, raw, seqpacket] = [1, 2, 3, 5];
    const flags = 0o2004000; // SOCK_CLOEXEC, SOCK_NONBLOCK
    const [unix, inet, inet6, netlink, packet, vsock] = [1, 2, 10, 16, 17, 40];
    const may = (needs: SandboxNeeds, family = 0, type = 0): boolean =>
      answerTo(needs, arch, 'socket', [family, type | flags]) === ALLOWED;
    for (const family of [unix, inet, inet6, netlink, packet, vsock]) {
      assert.equal(may(NO_NEEDS, family, stream), family === unix);
      assert.equal(may(EVERYTHING, family, raw), false);
    }
    const tcp = { ...NO_NEEDS, connectsTcp: [80] };
    assert.deepEqual([may(tcp, inet, stream), may(tcp, inet6, stream)], [true, true]);
    assert.deepEqual([may(tcp, inet, datagram), may(tcp, vsock, stream)], [false, false]);
    const names = { ...NO_NEEDS, looksUpNames: true };
    assert.deepEqual([may(names, inet, datagram), may(names, netlink, raw)], [true, false]);
    assert.equal(may({ ...NO_NEEDS, usesVsock: true }, vsock, seqpacket), true);
    const pair = (type = 0): number => answerTo(EVERYTHING, arch, 'socketpair', [1, type | flags]);
    assert.deepEqual([pair(stream), pair(seqpacket)], [ALLOWED, ALLOWED]);
    assert.equal(pair(datagram), REFUSED);
    assert.equal(answerTo(EVERYTHING, arch, 'socketpair', [inet, 1]), REFUSED);
  });

  test(`nobody types into a terminal in the place of its user on ${arch}`, () => {
    const { TIOCSTI, TIOCLINUX } = SANDBOX_ARGS;
    assert.equal(answerTo(EVERYTHING, arch, 'ioctl', [0, TIOCSTI]), REFUSED);
    assert.equal(answerTo(EVERYTHING, arch, 'ioctl', [0, TIOCLINUX]), REFUSED);
    assert.equal(answerTo(NO_NEEDS, arch, 'ioctl', [0, 0x5413]), ALLOWED, 'TIOCGWINSZ');
    assert.equal(answerTo(NO_NEEDS, arch, 'personality', [0xffff_ffff]), ALLOWED);
    assert.equal(answerTo(NO_NEEDS, arch, 'personality', [0]), REFUSED);
  });

  test(`a call without a rule costs a few steps of the search on ${arch}`, () => {
    const program = compile(lastingRules(NO_NEEDS, PID), arch);
    const steps = Array.from({ length: NUMBERS_MAX }, (_, nr) => run(program, { nr }, arch)[1]);
    assert.ok(Math.max(...steps) < 40, `${String(Math.max(...steps))} steps`);
    assert.ok(program.every(({ jt, jf }) => jt < 256 && jf < 256));
  });
}

test('when all is set up, what a disk needed for that is shut, and a shared folder keeps its own', () => {
  const names = (needs: SandboxNeeds): SyscallName[] => sealingRules(needs).map(({ call }) => call);
  const disk = names(NO_NEEDS);
  for (const call of ['io_uring_setup', 'socket', 'connect', 'bind', 'listen', 'chmod'] as const) {
    assert.ok(disk.includes(call), call);
  }
  const folder = names({ ...NO_NEEDS, ownsFiles: true });
  assert.deepEqual([folder.includes('chmod'), folder.includes('connect')], [false, true]);
  const calls = names({ ...NO_NEEDS, connectsUnix: true });
  assert.deepEqual([calls.includes('connect'), calls.includes('bind')], [false, true]);
  assert.equal(names({ ...NO_NEEDS, looksUpNames: true }).includes('bind'), false);
});

test('each name of the table is used, and no two of an architecture have one number', () => {
  for (const arch of ARCHES) {
    const numbers = Object.values(linuxSyscalls(arch)).filter((number) => number >= 0);
    assert.equal(new Set(numbers).size, numbers.length);
  }
  const rules = [...lastingRules(NO_NEEDS, PID), ...sealingRules(NO_NEEDS)];
  const used = new Set<string>(rules.map(({ call }) => call));
  const made = SYSCALL_NAMES.filter((name) => !used.has(name));
  assert.deepEqual(made, [
    ...['capget', 'landlock_add_rule', 'landlock_create_ruleset', 'landlock_restrict_self'],
    ...['prctl', 'seccomp'],
  ]);
});

test('devices that share a process need what each of them needs', () => {
  const tcp = { ...NO_NEEDS, connectsTcp: [80] };
  const any = { ...NO_NEEDS, connectsTcp: null, ownsFiles: true };
  assert.deepEqual(mergeNeeds([NO_NEEDS, tcp]), tcp);
  assert.deepEqual(mergeNeeds([tcp, any]).connectsTcp, null);
  assert.equal(mergeNeeds([any, NO_NEEDS]).ownsFiles, true);
});
