/**
 * What Linux's headers are asked about the numbers of its sandbox: of system calls, on both
 * processors, and of what Landlock and filters are made of.
 *
 * @module
 */
import {
  BPF,
  LANDLOCK,
  LANDLOCK_NET_PORT_ATTR,
  LANDLOCK_PATH_BENEATH_ATTR,
  LANDLOCK_RULESET_ATTR,
  SANDBOX_ARGS,
  SECCOMP,
  SECCOMP_DATA,
  SOCK_FILTER,
  SOCK_FPROG,
  SYSCALL_NAMES,
  linuxSyscalls,
} from '../../../src/abi/index.ts';
import type { Probe } from './compiler.ts';
import type { Fact } from './facts.ts';
import type { SysNumber } from './sys-numbers.ts';
import type { Target } from './targets.ts';

type Table = Readonly<Record<string, number>>;

/** By what the rows are called: the table, and what the header calls a name in it. */
const TABLES: Readonly<Record<string, readonly [table: Table, header: (name: string) => string]>> =
  {
    LANDLOCK: [LANDLOCK, (name) => `LANDLOCK_${name}`],
    LANDLOCK_RULESET_ATTR: [
      LANDLOCK_RULESET_ATTR,
      fields('landlock_ruleset_attr', {
        handledAccessFs: 'handled_access_fs',
        handledAccessNet: 'handled_access_net',
        // Later versions have more, and take a shorter one.
        SIZE: 'offsetof(struct landlock_ruleset_attr, scoped) + sizeof(__u64)',
      }),
    ],
    LANDLOCK_PATH_BENEATH_ATTR: [
      LANDLOCK_PATH_BENEATH_ATTR,
      fields('landlock_path_beneath_attr', {
        allowedAccess: 'allowed_access',
        parentFd: 'parent_fd',
      }),
    ],
    LANDLOCK_NET_PORT_ATTR: [
      LANDLOCK_NET_PORT_ATTR,
      fields('landlock_net_port_attr', { allowedAccess: 'allowed_access' }),
    ],
    SECCOMP: [
      SECCOMP,
      (name) => (name.startsWith('AUDIT_') ? name : SECCOMP_NAMES[name]) ?? `SECCOMP_${name}`,
    ],
    SECCOMP_DATA: [
      SECCOMP_DATA,
      fields('seccomp_data', { argBytes: 'sizeof(((struct seccomp_data *)0)->args[0])' }),
    ],
    BPF: [BPF, (name) => INSTRUCTIONS[name] ?? `BPF_${name}`],
    SOCK_FILTER: [SOCK_FILTER, fields('sock_filter', {})],
    SOCK_FPROG: [SOCK_FPROG, fields('sock_fprog', {})],
    SANDBOX_ARGS: [SANDBOX_ARGS, (name) => ARGUMENTS[name] ?? name],
  };

const SECCOMP_NAMES: Readonly<Record<string, string>> = { X32_SYSCALL_BIT: '__X32_SYSCALL_BIT' };

const INSTRUCTIONS: Readonly<Record<string, string>> = {
  LD_W_ABS: 'BPF_LD | BPF_W | BPF_ABS',
  JMP_JA: 'BPF_JMP | BPF_JA',
  JMP_JEQ_K: 'BPF_JMP | BPF_JEQ | BPF_K',
  JMP_JGT_K: 'BPF_JMP | BPF_JGT | BPF_K',
  JMP_JGE_K: 'BPF_JMP | BPF_JGE | BPF_K',
  ALU_AND_K: 'BPF_ALU | BPF_AND | BPF_K',
  RET_K: 'BPF_RET | BPF_K',
};

const ARGUMENTS: Readonly<Record<string, string>> = {
  CLONE_NEW_ALL:
    'CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | ' +
    'CLONE_NEWPID | CLONE_NEWNET',
};

/** Offsets of a structure, and its size. */
function fields(
  structure: string,
  names: Readonly<Record<string, string>>,
): (name: string) => string {
  return (name: string): string => {
    const of = names[name] ?? name;
    if (of === 'SIZE') return `sizeof(struct ${structure})`;
    return of.includes('(') ? of : `offsetof(struct ${structure}, ${of})`;
  };
}

/** What no header has, or not the ones of this compiler. */
const FACTS: Readonly<Record<string, Fact>> = {
  'SANDBOX_ARGS.PERSONALITY_QUERY': {
    value: 0xffff_ffff,
    source: 'torvalds/linux 026477c1141b kernel/exec_domain.c: sys_personality(',
  },
  'SANDBOX_ARGS.SOCK_TYPE_MASK': {
    value: 0xf,
    source: 'torvalds/linux 018a31660d1e include/linux/net.h: #define SOCK_TYPE_MASK',
  },
};

/** Of one processor only, whose header alone has it. */
const OF_X64: readonly string[] = ['SECCOMP.X32_SYSCALL_BIT'];

/** The number as it is known without a header; undefined when there is one. */
export function sandboxFact(name: string): Fact | undefined {
  return FACTS[name];
}

/** All of these. */
export function sandboxFacts(): readonly Fact[] {
  return Object.values(FACTS);
}

/** All numbers of the tables on a processor, those of system calls by their names. */
export function sandboxNumbers(arch: 'x64' | 'arm64'): SysNumber[] {
  const calls = Object.entries(linuxSyscalls(arch));
  const found = calls.map(([name, value]) => ({ name: `syscall ${name}`, value }));
  for (const [title, [table]] of Object.entries(TABLES)) {
    for (const [name, value] of Object.entries(table)) {
      const row = `${title}.${name}`;
      if (arch === 'x64' || !OF_X64.includes(row)) found.push({ name: row, value });
    }
  }
  return found;
}

/** The questions about all of them; none on another system. */
export function sandboxQuestions(target: Target): Probe[] {
  if (target.os !== 'linux') return [];
  const probes: Probe[] = SYSCALL_NAMES.map((name) => ({
    name: `syscall ${name}`,
    expression: `__NR_${name}`,
    guard: `defined(__NR_${name})`,
  }));
  for (const { name } of sandboxNumbers(target.arch)) {
    const [title = '', field = ''] = name.split('.');
    const header = TABLES[title]?.[1];
    if (header === undefined || sandboxFact(name) !== undefined) continue;
    probes.push({ name, expression: `(unsigned)(${header(field)})` });
  }
  return probes;
}
