/**
 * Asks a target's headers: a probe is compiled to an object file, which holds the answers as data,
 * and nothing is run.
 *
 * @module
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zigCache } from '../../peers/zig.ts';
import { run } from './run.ts';
import type { Printed } from './run.ts';
import type { Target } from './targets.ts';

/** Where the answers begin in an object file: 16 bytes with the NUL. */
const MAGIC = 'VHU-ABI-ANSWERS';
/** And those that were computed: 8 bytes. */
const MAGIC_COMPUTED = 'VHUCALCS';
const ROW_BYTES = 16;

/** One question. */
export interface Probe {
  readonly name: string;
  /** C++ of a whole number. */
  readonly expression: string;
  /** What the preprocessor asks first; an answer is there only if it is true. */
  readonly guard?: string;
  /** The expression calls inline functions, so that only the optimiser makes a number of it. */
  readonly computed?: boolean;
}

/** The answers by the names of their questions; undefined where the guard was false. */
export type Answers = ReadonlyMap<string, number | undefined>;

/** A compiler for foreign systems. */
export class Compiler {
  readonly #zig: string;

  /** @param zig the path of the program */
  constructor(zig: string) {
    this.#zig = zig;
  }

  /**
   * What a target says to each question. `head` is C++ that comes before: includes and helpers.
   * @throws Error with what the compiler said, when it does not compile
   */
  async ask(target: Target, head: string, probes: readonly Probe[]): Promise<Answers> {
    const plain = probes.filter(({ computed }) => computed !== true);
    const calculated = probes.filter(({ computed }) => computed === true);
    const source = [head, answersOf(plain), calculationsOf(calculated)].join('\n');
    // Optimised, so that what is computed by inline functions is data as well.
    const object = await this.#compile(target, source, ['-O2', '-c'], 'o');
    const rows = after(target, object, `${MAGIC}\0`);
    const numbers = after(target, object, MAGIC_COMPUTED);
    const answers = new Map<string, number | undefined>();
    plain.forEach(({ name }, i) => {
      const there = rows.readBigInt64LE(i * ROW_BYTES) !== 0n;
      const value = Number(rows.readBigInt64LE(i * ROW_BYTES + 8));
      answers.set(name, there ? value : undefined);
    });
    calculated.forEach(({ name }, i) => answers.set(name, Number(numbers.readBigInt64LE(i * 8))));
    return answers;
  }

  /** Which of these names the headers do not declare. */
  async undeclared(target: Target, head: string, names: readonly string[]): Promise<Set<string>> {
    const source = [head, ...names.map((name, i) => `auto *vhu_${i} = &::${name};`), ''].join('\n');
    const { code, stderr: output } = await this.#run(target, source, [
      '-fsyntax-only',
      '-ferror-limit=0',
    ]);
    const missing = [...output.matchAll(/error: no member named '(\w+)' in the global namespace/g)];
    const others = /error: (?!no member named)/.exec(output);
    const isWhole = code !== undefined && (code === 0) === (missing.length === 0);
    if (others !== null || !isWhole) throw new Error(`${target.name}: ${output}`);
    return new Set(missing.map(([, name]) => name ?? ''));
  }

  /** What the functions are called in object files, in the order of `names`. */
  async symbols(target: Target, head: string, names: readonly string[]): Promise<string[]> {
    const list = names.map((name) => `(void *)&::${name}`).join(', ');
    const source = `${head}\nextern "C" void *const vhu_symbols[] = { ${list} };\n`;
    const text = (await this.#compile(target, source, ['-O0', '-S'], 's')).toString('utf8');
    const [, table = ''] = text.split(/^_?vhu_symbols:.*$/m);
    const found = [...table.matchAll(/^\s+\.(?:quad|xword)\s+(\S+)/gm)].map(
      ([, name]) => name ?? '',
    );
    if (found.length < names.length) throw new Error(`${target.name}: no table of symbols`);
    // Mach-O puts an underscore before every name of C.
    return found.slice(0, names.length).map((n) => (target.os === 'darwin' ? n.slice(1) : n));
  }

  /** Which of these symbols the target's C library has not, by the linker. */
  async unlinkable(target: Target, symbols: readonly string[]): Promise<Set<string>> {
    const missing = new Set<string>();
    for (;;) {
      // The linker stops after twenty.
      const rest = symbols.filter((symbol) => !missing.has(symbol));
      const found = await this.#link(target, rest);
      if (found.length === 0) return missing;
      for (const name of found) missing.add(name);
    }
  }

  async #link(target: Target, symbols: readonly string[]): Promise<string[]> {
    const prefix = target.os === 'darwin' ? '_' : '';
    const lines = symbols.map((name, i) => `extern char vhu_${i}[] __asm__("${prefix}${name}");`);
    const list = symbols.map((_, i) => `vhu_${i}`).join(', ');
    const source = [...lines, `extern "C" char *const vhu_all[] = { ${list} };`, ''].join('\n');
    const flags = ['-shared', '-nostdlib', '-lc', '-Wl,-z,defs'];
    const { code, stderr: output } = await this.#run(target, source, flags);
    const missing = [...output.matchAll(/undefined symbol: (\S+)/g)];
    if (code !== 0 && missing.length === 0) throw new Error(`${target.name}: ${output}`);
    return missing.map(([, name = '']) => name.slice(prefix.length));
  }

  async #compile(
    target: Target,
    source: string,
    flags: readonly string[],
    ending: string,
  ): Promise<Buffer> {
    let bytes = Buffer.alloc(0);
    const { code, stderr } = await this.#run(
      target,
      source,
      flags,
      (folder) => {
        bytes = readFileSync(join(folder, `probe.${ending}`));
      },
      ending,
    );
    if (code !== 0) throw new Error(`${target.name}: ${stderr}`);
    return bytes;
  }

  async #run(
    target: Target,
    source: string,
    flags: readonly string[],
    take?: (folder: string) => void,
    ending = 'so',
  ): Promise<Printed> {
    const folder = mkdtempSync(join(tmpdir(), 'vhu-abi-'));
    try {
      writeFileSync(join(folder, 'probe.cc'), source);
      const language = ['-std=c++14', '-nostdinc++', '-fno-exceptions', '-g0', '-Wno-everything'];
      const terse = ['-fno-caret-diagnostics', '-fno-sanitize=all'];
      const files = ['-o', `probe.${ending}`, 'probe.cc'];
      const command = [
        this.#zig,
        'c++',
        '-target',
        target.triple,
        ...language,
        ...terse,
        ...flags,
        ...files,
      ];
      const env = { ZIG_GLOBAL_CACHE_DIR: zigCache(), ZIG_LOCAL_CACHE_DIR: zigCache() };
      const result = await run(command, folder, env);
      if (result.code === 0) take?.(folder);
      return result;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
}

/** What comes after a mark, which has to be in the object file once. */
function after(target: Target, object: Buffer, mark: string): Buffer {
  const at = object.indexOf(mark);
  if (at < 0 || object.includes(mark, at + 1)) {
    throw new Error(`${target.name}: the object file does not hold ${mark} once`);
  }
  return object.subarray(at + mark.length);
}

/** Stores that clang carries out itself: what is left of them is data. */
function calculationsOf(probes: readonly Probe[]): string {
  const mark = Buffer.from(MAGIC_COMPUTED).readBigInt64LE();
  const stores = probes.map(({ expression }, i) => `vhu_numbers[${i + 1}] = ${expression};`);
  return [
    `static __attribute__((used)) long long vhu_numbers[${probes.length + 1}] = { ${mark}ll };`,
    `static struct vhu_calculator { vhu_calculator() { ${stores.join('\n')} } } vhu_calculator;`,
    '',
  ].join('\n');
}

function answersOf(probes: readonly Probe[]): string {
  const rows = probes.map(({ expression, guard }) => {
    const row = `{ 1, (long long)(${expression}) },`;
    return guard === undefined ? row : `#if ${guard}\n${row}\n#else\n{ 0, 0 },\n#endif`;
  });
  return [
    'struct vhu_row { long long there, value; };',
    `struct vhu_answers { char magic[16]; vhu_row rows[${probes.length}]; };`,
    'extern "C" const vhu_answers vhu_all;',
    `extern "C" __attribute__((used)) const vhu_answers vhu_all = { "${MAGIC}", {`,
    ...rows,
    '} };',
    '',
  ].join('\n');
}
