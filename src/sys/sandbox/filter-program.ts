/**
 * Rules about system calls as a program of classic BPF, which the kernel runs for each call.
 *
 * A binary search by the call's number leads to the rule, so that no call pays for the number of
 * rules. For a call without a rule, or with one that looks at no argument, the kernel finds out
 * once that the answer is always the same (since Linux 5.11) and never runs the program again:
 * reading, writing, waiting and io_uring cost nothing.
 *
 * @module
 */
import { BPF, SECCOMP, SECCOMP_DATA, linuxSyscalls } from '../../abi/index.ts';
import type { SyscallName } from '../../abi/index.ts';
import { assert } from '../../util/index.ts';

/** An instruction: `struct sock_filter`. */
export interface Instruction {
  readonly code: number;
  /** How many instructions a conditional jump skips when its test is true, and when not. */
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

/** A test of the low 32 bits of an argument: all that the kernel itself looks at of these. */
export interface Condition {
  readonly arg: number;
  /** The bits that count; all when it is left out. */
  readonly mask?: number;
  readonly isOneOf?: readonly number[];
  readonly isNoneOf?: readonly number[];
}

/** What becomes of a system call. */
export interface SyscallRule {
  readonly call: SyscallName;
  /**
   * `refuse`: never; `absent`: as a kernel that does not have it; conditions: refused unless all of
   * them hold.
   */
  readonly verdict: 'refuse' | 'absent' | readonly Condition[];
}

/** What a filter answers with. */
export interface Answers {
  /** For what is refused: a `SECCOMP.RET_…`, with the errno in its low half. */
  readonly refuse: number;
  /** For `absent`. */
  readonly absent: number;
}

/** Architectures that there are filters for. */
export type FilterArch = 'x64' | 'arm64';

/** A jump to a label that is not placed yet; JA reaches it at any distance. */
interface Jump {
  readonly to: string;
}

/** Calls in a row with the same answer. */
interface Range {
  readonly first: number;
  readonly last: number;
  readonly label: string;
}

const ALLOW = 'allow';
const REFUSE = 'refuse';
const ABSENT = 'absent';
const KILL = 'kill';

/** Makes the program. A call that another architecture's numbers are meant for ends the process. */
export function filterProgram(
  rules: readonly SyscallRule[],
  arch: FilterArch,
  answers: Answers,
): Instruction[] {
  const numbers = linuxSyscalls(arch);
  const present = rules.filter(({ call }) => numbers[call] >= 0);
  const assembler = new Assembler();
  const audit = arch === 'x64' ? SECCOMP.AUDIT_ARCH_X86_64 : SECCOMP.AUDIT_ARCH_AARCH64;
  assembler.load(SECCOMP_DATA.arch);
  assembler.unless(BPF.JMP_JEQ_K, audit, KILL);
  assembler.load(SECCOMP_DATA.nr);
  if (arch === 'x64') assembler.when(BPF.JMP_JGE_K, SECCOMP.X32_SYSCALL_BIT, KILL);
  const blocks = new Map<string, readonly Condition[]>();
  const single = present.map(({ call, verdict }): Range => {
    const number = numbers[call];
    if (typeof verdict === 'string') return { first: number, last: number, label: verdict };
    const label = `${call}()`;
    blocks.set(label, verdict);
    return { first: number, last: number, label };
  });
  emitSearch(assembler, joined(single));
  for (const [label, conditions] of blocks) emitConditions(assembler, label, conditions);
  assembler.place(ALLOW);
  assembler.emit(BPF.RET_K, SECCOMP.RET_ALLOW);
  assembler.place(REFUSE);
  assembler.emit(BPF.RET_K, answers.refuse);
  assembler.place(ABSENT);
  assembler.emit(BPF.RET_K, answers.absent);
  assembler.place(KILL);
  assembler.emit(BPF.RET_K, SECCOMP.RET_KILL_PROCESS);
  return assembler.finish();
}

/** Neighbours with the same label as one range, sorted. */
function joined(single: readonly Range[]): Range[] {
  const ranges: Range[] = [];
  for (const each of [...single].sort((a, b) => a.first - b.first)) {
    const last = ranges.at(-1);
    assert(last === undefined || last.last < each.first, 'a system call has one rule');
    if (last?.label === each.label && last.last + 1 === each.first) {
      ranges[ranges.length - 1] = { ...last, last: each.last };
    } else {
      ranges.push(each);
    }
  }
  return ranges;
}

/** Leads the number that is loaded to its range's label, or to ALLOW. */
function emitSearch(assembler: Assembler, ranges: readonly Range[]): void {
  const [only] = ranges;
  if (only === undefined) {
    assembler.jump(ALLOW);
  } else if (ranges.length === 1) {
    if (only.first === only.last) {
      assembler.when(BPF.JMP_JEQ_K, only.first, only.label);
    } else {
      assembler.unless(BPF.JMP_JGE_K, only.first, ALLOW);
      assembler.unless(BPF.JMP_JGT_K, only.last, only.label);
    }
    assembler.jump(ALLOW);
  } else {
    const middle = ranges.length >> 1;
    const right = assembler.newLabel();
    assembler.when(BPF.JMP_JGE_K, ranges[middle]?.first ?? 0, right);
    emitSearch(assembler, ranges.slice(0, middle));
    assembler.place(right);
    emitSearch(assembler, ranges.slice(middle));
  }
}

function emitConditions(
  assembler: Assembler,
  label: string,
  conditions: readonly Condition[],
): void {
  assembler.place(label);
  for (const { arg, mask, isOneOf, isNoneOf = [] } of conditions) {
    assembler.load(SECCOMP_DATA.args + arg * SECCOMP_DATA.argBytes); // little-endian: the low half
    if (mask !== undefined) assembler.emit(BPF.ALU_AND_K, mask);
    for (const value of isNoneOf) assembler.when(BPF.JMP_JEQ_K, value, REFUSE);
    if (isOneOf === undefined) continue;
    const next = assembler.newLabel();
    for (const value of isOneOf) assembler.when(BPF.JMP_JEQ_K, value, next);
    assembler.jump(REFUSE);
    assembler.place(next);
  }
  assembler.jump(ALLOW);
}

/** Instructions one after the other, with labels further down. */
class Assembler {
  readonly #code: (Instruction | Jump)[] = [];
  readonly #labels = new Map<string, number>();
  #labelCount = 0;

  newLabel(): string {
    return `.${String(this.#labelCount++)}`;
  }

  place(label: string): void {
    assert(!this.#labels.has(label), 'a label is placed once');
    this.#labels.set(label, this.#code.length);
  }

  emit(code: number, k: number, jt = 0, jf = 0): void {
    this.#code.push({ code, jt, jf, k: k >>> 0 });
  }

  load(offset: number): void {
    this.emit(BPF.LD_W_ABS, offset);
  }

  jump(to: string): void {
    this.#code.push({ to });
  }

  /** Goes to the label when the test of what is loaded holds. */
  when(test: number, value: number, to: string): void {
    this.emit(test, value, 0, 1);
    this.jump(to);
  }

  /** Goes to the label when it does not. */
  unless(test: number, value: number, to: string): void {
    this.emit(test, value, 1, 0);
    this.jump(to);
  }

  finish(): Instruction[] {
    assert(this.#code.length <= BPF.MAXINSNS, 'a filter is no longer than the kernel takes');
    return this.#code.map((each, at) => {
      if (!('to' in each)) return each;
      const target = this.#labels.get(each.to) ?? -1;
      assert(target > at, 'jumps lead forwards');
      return { code: BPF.JMP_JA, jt: 0, jf: 0, k: target - at - 1 };
    });
  }
}
