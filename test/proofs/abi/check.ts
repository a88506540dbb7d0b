/**
 * Compares tables, numbers and prototypes with what a target's headers say.
 *
 * @module
 */
import { LINUX_ERRNO } from '../../../src/abi/index.ts';
import type { DevicePiece } from '../../../src/abi/index.ts';
import type { Answers, Compiler, Probe } from './compiler.ts';
import { factOf, functionFact, numberFact, whyAccepted, whyLeftOut } from './facts.ts';
import {
  SIGNATURE_HEAD,
  declaredOn,
  plainName,
  prototypeFaults,
  realPrototype,
  signatureQuestions,
} from './prototypes.ts';
import type { Alternatives, Prototype } from './prototypes.ts';
import { headOf, questionOf } from './questions.ts';
import { rowsOf } from './rows.ts';
import type { Row, Value } from './rows.ts';
import type { SysNumber } from './sys-numbers.ts';
import { sandboxFact, sandboxQuestions } from './sandbox-questions.ts';
import { sysQuestions } from './sys-questions.ts';
import { tableOf } from './targets.ts';
import type { Target } from './targets.ts';

const DEV_BITS = 64;

/** Everything that was learnt of a target. */
export interface Known {
  readonly target: Target;
  readonly answers: Answers;
  /** What the product asks for there. */
  readonly calls: readonly Alternatives[];
  /** Functions that the headers declare, and their names in object files. */
  readonly declared: ReadonlyMap<string, string>;
  readonly unlinkable: ReadonlySet<string>;
}

/** What came out of a comparison. */
export interface Outcome {
  /** Each a sentence. */
  readonly faults: string[];
  /** Compared with headers. */
  rows: number;
  /** Compared with a fact that has a source. */
  facts: number;
}

/** An outcome of nothing yet. */
export function emptyOutcome(): Outcome {
  return { faults: [], rows: 0, facts: 0 };
}

const ERRNO_ROW = 'LINUX_ERRNO.';

/** Asks a target all that there is to ask. */
export async function learn(compiler: Compiler, target: Target): Promise<Known> {
  const head = headOf(target);
  const calls = await declaredOn(target);
  const all = calls.flat().map(({ name }) => name);
  const names = [...new Set(all.map(plainName))];
  const undeclared = await compiler.undeclared(target, head, names);
  const known = names.filter((name) => !undeclared.has(name));
  const rows = rowsOf(tableOf(target)).map((row) => questionOf(row, target));
  const probes = [
    ...rows.filter((probe): probe is Probe => probe !== undefined),
    ...deviceQuestions(target),
    ...sysQuestions(target),
    ...sandboxQuestions(target),
    ...signatureQuestions(known),
    ...errnoQuestions(),
  ].filter(({ name }) => factOf(target, name) === undefined);
  const answers = await compiler.ask(target, head + SIGNATURE_HEAD, probes);
  const symbols = await compiler.symbols(target, head, known);
  return {
    target,
    answers,
    calls,
    declared: new Map(known.map((name, i) => [name, symbols[i] ?? ''])),
    unlinkable: await compiler.unlinkable(target, [...new Set(all)]),
  };
}

function errnoQuestions(): Probe[] {
  return Object.keys(LINUX_ERRNO).map((name) => ({
    name: ERRNO_ROW + name,
    expression: name,
    guard: `defined(${name})`,
  }));
}

/** Each bit of a `dev_t` alone: which bits of the major and of the minor number it is. */
function deviceQuestions(target: Target): Probe[] {
  const prefix = target.libc === 'glibc' ? 'vhu_' : '';
  return Array.from({ length: DEV_BITS }, (_, bit) => bit).flatMap((bit) =>
    ['major', 'minor'].map((part) => ({
      name: `${part} ${bit}`,
      computed: true,
      expression: `(unsigned)${prefix}${part}((dev_t)(1ull << ${bit}))`,
    })),
  );
}

/** Compares a table, whichever, with what was learnt of a target. */
export function checkTable(known: Known, table: object): Outcome {
  const outcome = emptyOutcome();
  for (const row of rowsOf(table)) checkRow(known, table, row, outcome);
  return outcome;
}

function checkRow(known: Known, table: object, row: Row, outcome: Outcome): void {
  const { target, answers } = known;
  const { path, value } = row;
  const sourced = factOf(target, path);
  if (sourced !== undefined) {
    outcome.facts++;
    if (sourced.value !== value) {
      const said = `${String(sourced.value)} (${sourced.source})`;
      outcome.faults.push(`${target.name}: ${path} is ${String(value)}, and should be ${said}`);
    }
    return;
  }
  if (path.startsWith('symbols.')) {
    outcome.rows++;
    const symbol = known.declared.get(path.slice('symbols.'.length));
    if (symbol === value) return;
    const said = symbol ?? 'no such function';
    outcome.faults.push(`${target.name}: ${path} is ${String(value)}, the header means ${said}`);
    return;
  }
  if (path.startsWith('files.device.')) {
    outcome.rows++;
    const faults = deviceFaults(known, table);
    if (faults.length > 0) outcome.faults.push(`${target.name}: ${path}: ${faults.join(', ')}`);
    return;
  }
  if (!answers.has(path)) {
    outcome.faults.push(`${target.name}: ${path} has neither a probe nor a fact`);
    return;
  }
  outcome.rows++;
  const real = answers.get(path);
  if (agrees(path, value, real)) return;
  if (value === undefined && whyLeftOut(target, path) !== undefined) return;
  const said = real === undefined ? 'no such thing' : String(real);
  outcome.faults.push(`${target.name}: ${path} is ${String(value)}, the header says ${said}`);
}

function agrees(path: string, value: Value, real: number | undefined): boolean {
  if (value === null) return real === 0; // the guard said that the part is not there
  // A flag that is not there is 0 in the tables of open(2) and of attributes.
  if (value === 0 && real === undefined) return /^files\.(open|xattr)\./.test(path);
  return (typeof value === 'boolean' ? Number(value) : value) === real;
}

function deviceFaults({ answers }: Known, table: object): string[] {
  const { device } = (table as { files: { device: Record<string, readonly DevicePiece[]> } }).files;
  const faults: string[] = [];
  for (const part of ['major', 'minor']) {
    const pieces = Object.values(device[part] ?? []);
    if (pieces.some(({ from, bits }) => from + bits > DEV_BITS)) faults.push('beyond a dev_t');
    for (let bit = 0; bit < DEV_BITS; bit++) {
      let ours = 0;
      for (const { from, bits, to } of pieces) {
        if (bit >= from && bit < from + bits) ours += 2 ** (to + bit - from);
      }
      const real = answers.get(`${part} ${bit}`);
      if (ours !== real) faults.push(`bit ${bit} is ${ours} of the ${part}, not ${String(real)}`);
    }
  }
  return faults;
}

/** Compares Linux's numbers of errors, which guests are told everywhere, with its headers. */
export function checkErrno(known: Known, table: Readonly<Record<string, number>>): Outcome {
  const outcome = emptyOutcome();
  const { target, answers } = known;
  for (const [name, value] of Object.entries(table)) {
    const real = answers.get(ERRNO_ROW + name);
    const translation = TRANSLATED[name];
    const wanted = translation === undefined ? real : answers.get(ERRNO_ROW + translation);
    outcome.rows++;
    if (wanted === value) continue;
    outcome.faults.push(`${target.name}: ${name} is ${value}, the header says ${String(wanted)}`);
  }
  return outcome;
}

/**
 * Whether every error that a host names and that Linux has a number for comes to a guest as that
 * number: Node knows the host's number, or the table does.
 *
 * @param runtime the names that Node knows
 */
export function checkErrnoNames(known: Known, runtime: ReadonlySet<string>): Outcome {
  const outcome = emptyOutcome();
  const { target, answers } = known;
  const { extraErrno } = tableOf(target).files;
  for (const name of Object.keys(LINUX_ERRNO)) {
    const real = answers.get(ERRNO_ROW + name);
    if (real === undefined) continue;
    outcome.rows++;
    if (real >= HOST_ERRNO_MAX) outcome.faults.push(`${target.name}: ${name} is ${real}`);
    if (target.os === 'linux' || runtime.has(name) || name in extraErrno) continue;
    outcome.faults.push(`${target.name}: ${name} (${real}) comes to a guest as EIO`);
  }
  return outcome;
}

/** As src/sys/open-flags.ts has it. */
const HOST_ERRNO_MAX = 256;

/** Names of other hosts, and the one that Linux has in their place. */
const TRANSLATED: Readonly<Record<string, string>> = {
  ENOATTR: 'ENODATA',
  EFTYPE: 'EINVAL',
  EQFULL: 'ENOBUFS',
  ECAPMODE: 'EPERM',
  ENOTCAPABLE: 'EXDEV',
  EINTEGRITY: 'EUCLEAN',
};

/** Compares the numbers of `src/sys` with what was learnt of a target. */
export function checkNumbers(known: Known, numbers: readonly SysNumber[]): Outcome {
  const outcome = emptyOutcome();
  const { target, answers } = known;
  for (const { name, value } of numbers) {
    if (!answers.has(name)) continue; // of another host, or our own
    outcome.rows++;
    const real = answers.get(name);
    if (real === value) continue;
    outcome.faults.push(`${target.name}: ${name} is ${value}, the header says ${String(real)}`);
  }
  return outcome;
}

/**
 * Compares the numbers of Linux's sandbox with what was learnt of a target. -1 is a system call
 * that its processor has not, and that its headers have not either.
 */
export function checkSandbox(known: Known, numbers: readonly SysNumber[]): Outcome {
  const outcome = emptyOutcome();
  const { target, answers } = known;
  for (const { name, value } of numbers) {
    const sourced = sandboxFact(name);
    if (sourced !== undefined) outcome.facts++;
    else if (answers.has(name)) outcome.rows++;
    const real = sourced?.value ?? answers.get(name) ?? -1;
    if (real !== value) {
      outcome.faults.push(`${target.name}: ${name} is ${value}, and should be ${String(real)}`);
    }
  }
  return outcome;
}

/** Compares the numbers of `src/sys` that are facts; they are the same on every target. */
export function checkNumberFacts(numbers: readonly SysNumber[]): Outcome {
  const outcome = emptyOutcome();
  for (const { name, value } of numbers) {
    const sourced = numberFact(name);
    if (sourced === undefined) continue;
    outcome.facts++;
    if (sourced.value === value) continue;
    const said = `${String(sourced.value)} (${sourced.source})`;
    outcome.faults.push(`${name} is ${value}, and should be ${said}`);
  }
  return outcome;
}

/** What a function is compared with on a target. */
interface Basis {
  readonly by: 'header' | 'fact' | 'absence' | 'nothing';
  /** Of the names for one thing, the one that is used. */
  readonly ours: Prototype;
  /** What it should be, where that is known. */
  readonly real?: Prototype;
  /** The name that the header gives it in an object file. */
  readonly symbol?: string;
}

function basisOf({ target, declared, unlinkable, answers }: Known, names: Alternatives): Basis {
  const linked = names.find(({ name }) => !unlinkable.has(name));
  const ours = linked ?? names[0];
  if (ours === undefined) throw new Error('a function without a name');
  const name = plainName(ours.name);
  const symbol = linked === undefined ? undefined : declared.get(name);
  if (symbol !== undefined) {
    return { by: 'header', ours, real: realPrototype(name, answers), symbol };
  }
  const real = functionFact(target, ours.name);
  if (real !== undefined) return { by: 'fact', ours, real };
  // Of what is not there the linker knows it.
  return { by: linked === undefined ? 'absence' : 'nothing', ours };
}

/** The functions that are compared with something on this target. */
export function comparedCalls(known: Known): string[] {
  const bases = known.calls.map((names) => basisOf(known, names));
  return bases.filter(({ real }) => real !== undefined).map(({ ours }) => plainName(ours.name));
}

/** Compares how functions are called with what was learnt of a target. */
export function checkCalls(known: Known, calls: readonly Alternatives[] = known.calls): Outcome {
  const outcome = emptyOutcome();
  const { target } = known;
  for (const alternatives of calls) {
    const { by, ours, real, symbol } = basisOf(known, alternatives);
    if (by === 'fact') outcome.facts++;
    else outcome.rows++;
    const faults = real === undefined ? [] : prototypeFaults(ours, real);
    const name = plainName(ours.name);
    if (by === 'nothing') faults.push(`${name}: no header declares it, and no fact`);
    if (symbol !== undefined && symbol !== ours.name) {
      faults.push(`${name}: we call ${ours.name}, the header means ${symbol}`);
    }
    for (const fault of faults) {
      if (whyAccepted(target, fault) === undefined) outcome.faults.push(`${target.name}: ${fault}`);
    }
  }
  return outcome;
}
