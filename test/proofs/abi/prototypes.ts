/**
 * The C functions that `src/sys` calls, with the types that it calls them by, and what a target's
 * headers say of the same functions.
 *
 * @module
 */
import { join } from 'node:path';
import { SUPPORTED_HOSTS, abiOf } from '../../../src/abi/index.ts';
import { BUILD, ROOT } from '../../support/repository.ts';
import { bindingModules } from './bindings.ts';
import type { Answers, Probe } from './compiler.ts';
import { run } from './run.ts';
import type { Target } from './targets.ts';

const ARGUMENTS_MAX = 8;

/** Symbols that are not their functions' own names, with those names. */
const NAMES = new Map(
  SUPPORTED_HOSTS.flatMap(({ os, arch }) => {
    const { symbols = {}, kqueue } = abiOf(os, arch) ?? {};
    const older = kqueue?.older === undefined ? [] : [[kqueue.older.symbol, 'kevent'] as const];
    return [...Object.entries(symbols).map(([name, symbol]) => [symbol, name] as const), ...older];
  }),
);

/** A function's name in C, out of that of its version in a library. */
export function plainName(symbol: string): string {
  return NAMES.get(symbol) ?? symbol.replace(/\$.*/, '');
}

/** A type as a calling convention sees it. */
export interface CType {
  /** Bytes; 0 is void. */
  readonly bytes: number;
  readonly signed: boolean;
  readonly pointer: boolean;
}

/** A function. */
export interface Prototype {
  readonly name: string;
  readonly result: CType;
  readonly args: readonly CType[];
  /** Whether further arguments follow: `...`. */
  readonly variadic: boolean;
}

const type = (bytes: number, signed: boolean, pointer = false): CType => ({
  bytes,
  signed,
  pointer,
});

/** The names of types that we declare functions by. */
const TYPES: ReadonlyMap<string, CType> = new Map([
  ['void', type(0, false)],
  ['int', type(4, true)],
  ['unsigned int', type(4, false)],
  ['uint16_t', type(2, false)],
  ['uint32_t', type(4, false)],
  ['int64_t', type(8, true)],
  ['uint64_t', type(8, false)],
  ['long', type(8, true)],
  ['unsigned long', type(8, false)],
  ['size_t', type(8, false)],
  ['intptr_t', type(8, true)],
  ['uintptr_t', type(8, false)],
  ['char *', type(8, false, true)],
]);

function typeOf(text: string): CType {
  const words = text
    .replace(/\bconst\b/g, '')
    .trim()
    .replaceAll(/\s+/g, ' ');
  const found = TYPES.get(words) ?? TYPES.get(words.replace(/ ?\w+$/, '').trim());
  if (found === undefined) throw new Error(`the type of "${text}" is not known`);
  return found;
}

/** Reads `int fcntl(int fd, int cmd, ...)`. */
export function parsePrototype(text: string): Prototype {
  const [, result = '', name = '', list = ''] = /^(.*?)(\w+)\((.*)\)$/.exec(text) ?? [];
  const pieces = list.split(',').map((piece) => piece.trim());
  const args = pieces.filter((piece) => !['', 'void', '...'].includes(piece)).map(typeOf);
  return { name, result: typeOf(result), args, variadic: pieces.includes('...') };
}

interface Asked {
  readonly name: string;
  readonly result?: string;
  readonly args?: readonly string[];
}

/** Ways to call one thing: the later ones are for hosts that lack the names before them. */
export type Alternatives = readonly Prototype[];

/** Every function that the product asks for on a target's host, in the order in which it does. */
export async function declaredOn(target: Target): Promise<Alternatives[]> {
  const [first = [], second = []] = await Promise.all(
    ['first', 'second'].map((which) => askedOn(target, which)),
  );
  // A function may be declared in several ways: with another result, with and without `...`.
  const key = ({ name, args, variadic, result }: Prototype): string =>
    `${name} ${args.length} ${variadic} ${result.bytes}`;
  const keys = [first, second].map((list) => new Set(list.map(key)));
  const fallbacks = second.filter((each) => keys[0]?.has(key(each)) === false);
  const preferred = first.filter((each) => keys[1]?.has(key(each)) === false);
  if (fallbacks.length !== preferred.length) throw new Error('names and their second ones differ');
  const all = new Map(first.map((each) => [key(each), [each]]));
  preferred.forEach((each, i) => {
    const fallback = fallbacks[i];
    if (fallback !== undefined) all.get(key(each))?.push(fallback);
  });
  return [...all.values()];
}

async function askedOn(target: Target, which: string): Promise<Prototype[]> {
  const program = join(BUILD, 'test/proofs/abi/record-calls.js');
  const modules = bindingModules().map((file) => join(BUILD, file.replace(/ts$/, 'js')));
  const command = [process.execPath, program, target.os, target.arch, which, ...modules];
  const env = { VHOST_USER_HOST: '', NODE_TEST_CONTEXT: '' };
  const { code, stdout, stderr } = await run(command, ROOT, env);
  if (code !== 0) throw new Error(`${target.name}: ${stderr}`);
  return (JSON.parse(stdout) as Asked[]).map(({ name, result, args = [] }) =>
    result === undefined
      ? parsePrototype(name)
      : { name, result: typeOf(result), args: args.map(typeOf), variadic: false },
  );
}

/** C++ that takes the type of a function apart. */
export const SIGNATURE_HEAD = `
template <class T> struct vhu_type {
  static const long long code = sizeof(T) * 4 + (T(-1) < T(0) ? 2 : 0);
};
template <class T> struct vhu_type<T *> { static const long long code = sizeof(T *) * 4 + 1; };
template <> struct vhu_type<void> { static const long long code = 0; };
template <unsigned I, class... A> struct vhu_at { static const long long code = -1; };
template <class F, class... A> struct vhu_at<0, F, A...> {
  static const long long code = vhu_type<F>::code;
};
template <unsigned I, class F, class... A> struct vhu_at<I, F, A...> {
  static const long long code = vhu_at<I - 1, A...>::code;
};
template <class F> struct vhu_function;
template <class R, class... A> struct vhu_function<R(A...)> {
  static const long long variadic = 0, count = sizeof...(A), result = vhu_type<R>::code;
  template <unsigned I> struct arg { static const long long code = vhu_at<I, A...>::code; };
};
template <class R, class... A> struct vhu_function<R(A..., ...)> {
  static const long long variadic = 1, count = sizeof...(A), result = vhu_type<R>::code;
  template <unsigned I> struct arg { static const long long code = vhu_at<I, A...>::code; };
};
`;

/** What the headers are asked of functions that they declare. */
export function signatureQuestions(names: readonly string[]): Probe[] {
  return names.flatMap((name) => {
    const f = `vhu_function<decltype(::${name})>`;
    const args = Array.from({ length: ARGUMENTS_MAX }, (_, i) => ({
      name: `${name} ${i}`,
      expression: `${f}::arg<${i}>::code`,
    }));
    const parts = ['variadic', 'count', 'result'].map((part) => ({
      name: `${name} ${part}`,
      expression: `${f}::${part}`,
    }));
    return [...parts, ...args];
  });
}

/** A function as the headers have it. */
export function realPrototype(name: string, answers: Answers): Prototype {
  const of = (part: string | number): number => answers.get(`${name} ${part}`) ?? -1;
  const decode = (code: number): CType => type(code >> 2, (code & 2) !== 0, (code & 1) !== 0);
  const args = Array.from({ length: of('count') }, (_, i) => decode(of(i)));
  return { name, result: decode(of('result')), args, variadic: of('variadic') === 1 };
}

/** What is wrong with how we call a function, each as a phrase; empty when nothing is. */
export function prototypeFaults(ours: Prototype, real: Prototype): string[] {
  const faults: string[] = [];
  const { name } = real;
  if (ours.variadic !== real.variadic) {
    faults.push(`${name}: variadic is ${ours.variadic}, the header says ${real.variadic}`);
  }
  if (ours.args.length !== real.args.length) {
    faults.push(`${name}: ${ours.args.length} arguments, the header says ${real.args.length}`);
  }
  ours.args.slice(0, real.args.length).forEach((our, i) => {
    const { bytes } = real.args[i] as CType;
    // An int or less is passed in 32 bits of a register, whichever sign it has.
    const fits = our.bytes === bytes || (our.bytes <= 4 && bytes < our.bytes);
    if (!fits)
      faults.push(`${name}: argument ${i} has ${our.bytes} bytes, the header says ${bytes}`);
  });
  const { result } = real;
  if (ours.result.bytes === 0) return faults; // it is not looked at
  if (ours.result.bytes !== result.bytes) {
    faults.push(
      `${name}: the result has ${ours.result.bytes} bytes, the header says ${result.bytes}`,
    );
  } else if (ours.result.signed !== result.signed && !result.pointer) {
    faults.push(`${name}: the result is signed: ${ours.result.signed}, it is ${result.signed}`);
  }
  return faults;
}
