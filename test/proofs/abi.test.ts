/**
 * The tables of all hosts, the numbers of `src/sys`, and the prototypes by which C is called,
 * against the headers of each system and architecture. Nothing of them is run: probes are compiled,
 * and the object files are read.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { describe, it } from 'node:test';
import ts from 'typescript';
import { LINUX_ERRNO, SUPPORTED_HOSTS } from '../../src/abi/index.ts';
import * as sys from '../../src/sys/index.ts';
import { ensureZig } from '../peers/zig.ts';
import { tellProof } from '../support/proof.ts';
import { DECLARERS, KOFFI_MODULES, bindingsIn, bindingsOf, koffiModules } from './abi/bindings.ts';
import { checkCalls, checkErrno, checkErrnoNames, checkNumbers, checkTable } from './abi/check.ts';
import { checkNumberFacts, checkSandbox, comparedCalls, emptyOutcome, learn } from './abi/check.ts';
import type { Known, Outcome } from './abi/check.ts';
import { Compiler } from './abi/compiler.ts';
import { callbackFact, isSource, numberFact, numbersWithFacts } from './abi/facts.ts';
import { sourcesOfFacts } from './abi/facts.ts';
import { parsePrototype, plainName, prototypeFaults } from './abi/prototypes.ts';
import type { Alternatives, Prototype } from './abi/prototypes.ts';
import { altered, rowsOf } from './abi/rows.ts';
import type { Value } from './abi/rows.ts';
import { sandboxFacts, sandboxNumbers } from './abi/sandbox-questions.ts';
import { sysNumbers } from './abi/sys-numbers.ts';
import { askedNumbers, whyOurOwn } from './abi/sys-questions.ts';
import { TARGETS, tableOf } from './abi/targets.ts';
import type { Target } from './abi/targets.ts';

const AT_A_TIME = 2;

const { zig, missing } = await ensureZig();
const skip = zig === undefined && (missing ?? 'there is no compiler');
const known = zig === undefined ? [] : await learnAll(new Compiler(zig));
const numbers = sysNumbers();
const runtime = new Set(Object.keys(constants.errno));

async function learnAll(compiler: Compiler): Promise<Known[]> {
  const found = new Map<Target, Known>();
  const waiting = [...TARGETS];
  const lane = async (): Promise<void> => {
    for (let target = waiting.shift(); target !== undefined; target = waiting.shift()) {
      found.set(target, await learn(compiler, target));
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, lane));
  return TARGETS.map((target) => found.get(target)).filter((each) => each !== undefined);
}

function expectNone({ faults }: Outcome): void {
  assert.equal(faults.length, 0, `${faults.length} differences:\n${faults.join('\n')}`);
}

/** All that is compared on one target. */
function compare(each: Known): Outcome[] {
  const outcomes = [
    checkTable(each, tableOf(each.target)),
    checkNumbers(each, numbers),
    checkCalls(each),
    checkErrnoNames(each, runtime),
  ];
  if (each.target.os === 'linux') {
    outcomes.push(checkErrno(each, LINUX_ERRNO));
    outcomes.push(checkSandbox(each, sandboxNumbers(each.target.arch)));
  }
  return outcomes;
}

/** The calls with one of them replaced. */
function withCall(each: Known, name: string, change: (p: Prototype) => Prototype): Alternatives[] {
  let changed = 0;
  const calls = each.calls.map((alternatives) =>
    alternatives.map((prototype) => {
      if (prototype.name !== name) return prototype;
      changed++;
      return change(prototype);
    }),
  );
  assert.ok(changed > 0, `${each.target.name}: ${name} is called`);
  return calls;
}

function expectCaught(each: Known, { faults }: Outcome, what: string): void {
  assert.ok(faults.length > 0, `${each.target.name}: ${what} is not noticed`);
}

/** The functions of C that the sources declare. */
function bindingNames(): Set<string> {
  const calls = bindingsIn().filter(({ callback }) => !callback);
  return new Set(calls.map(({ name }) => plainName(name)));
}

describe('every function of C that is called is compared', () => {
  it('with a header or a source on one target at least', { skip }, () => {
    const compared = new Set(known.flatMap(comparedCalls));
    const gaps = [...bindingNames()].filter((name) => !compared.has(name));
    assert.deepEqual(gaps, [], 'declared in src, and compared with nothing on any target');
    const asked = new Set(
      known.flatMap(({ calls }) => calls.flat().map(({ name }) => plainName(name))),
    );
    const unseen = [...asked].filter((name) => !bindingNames().has(name));
    assert.deepEqual(unseen, [], 'asked of koffi, and not found in the sources');
  });

  it('and so is every function of ours that C calls', () => {
    const callbacks = bindingsIn().filter(({ callback }) => callback);
    assert.ok(callbacks.length > 0);
    for (const { name, text, file } of callbacks) {
      const real = callbackFact(name);
      assert.ok(real !== undefined, `${file}: nothing is known of the callback ${name}`);
      assert.deepEqual(prototypeFaults(parsePrototype(text), real), [], file);
      assert.deepEqual(
        parsePrototype(text).args.map(({ bytes }) => bytes),
        real.args.map(({ bytes }) => bytes),
      );
    }
  });

  it('and one module alone has koffi, by which functions are declared', () => {
    assert.deepEqual(koffiModules(), KOFFI_MODULES);
    assert.deepEqual(
      DECLARERS.filter((name) => name in sys),
      [],
      'what declares functions leaves src/sys',
    );
  });

  it('a declaration is found wherever it stands', () => {
    const found = bindingsOf(
      'x.ts',
      ts.createSourceFile('x.ts', DECLARATIONS, ts.ScriptTarget.ES2023, true),
    );
    assert.deepEqual(
      found.map(({ name, callback }) => (callback ? `${name} (called)` : name)),
      ['one', 'two', 'three', 'four', 'five$X', 'five', 'six (called)'],
    );
  });
});

const DECLARATIONS = `
const one = find('int one(int a, uintptr_t b)');
export function later() { return need("const char *two(void)"); }
const three = find(\`\${long ? 'int64_t' : 'int'} \` + 'three(int fd, uintptr_t buf)');
const four = find(\`int four(int fd\${EXTRA})\`);
const five = firstOf(['five$X', 'five'], 'int', ['int']);
libc.register(() => undefined, 'void six(uintptr_t handle)');
say('a sentence (with brackets)', 'or call(it)', 'int');
`;

describe('every fact without a header', () => {
  it('names a public source with its revision', () => {
    const all = [...sourcesOfFacts(), ...sandboxFacts()];
    assert.ok(all.length > 40);
    assert.deepEqual(
      all.filter(({ source }) => !isSource(source)),
      [],
    );
  });

  it('or is not taken for one', () => {
    for (const text of [
      'open(2), O_NOFOLLOW',
      'torvalds/linux fs/namei.c: path_openat',
      'torvalds/linux master fs/namei.c: path_openat',
      'torvalds/linux v6.12 fs/namei.c',
    ])
      assert.equal(isSource(text), false, text);
  });

  it('and a number among them that is altered is noticed', () => {
    expectNone(checkNumberFacts(numbers));
    const facts = numbers.filter(({ name }) => numberFact(name) !== undefined);
    assert.equal(facts.length, numbersWithFacts().length);
    for (const { name, value } of facts) {
      assert.equal(checkNumberFacts([{ name, value: value + 1 }]).faults.length, 1, name);
    }
  });
});

describe('the tables and prototypes of all hosts', { skip }, () => {
  for (const each of known) {
    it(`agree with the headers of ${each.target.name}`, () => {
      for (const outcome of compare(each)) expectNone(outcome);
    });
  }

  it('are checked for every host that there is a table for', () => {
    const hosts = new Set(known.map(({ target }) => `${target.os}-${target.arch}`));
    assert.deepEqual([...hosts].sort(), SUPPORTED_HOSTS.map((h) => `${h.os}-${h.arch}`).sort());
  });

  it('know of every number of src/sys what it is', () => {
    const asked = askedNumbers();
    const unknown = numbers.filter(
      ({ name }) =>
        !asked.has(name) && numberFact(name) === undefined && whyOurOwn(name) === undefined,
    );
    assert.deepEqual(unknown, [], 'numbers with neither a probe nor a reason');
    const names = new Set(numbers.map(({ name }) => name));
    const gone = [...asked, ...numbersWithFacts()].filter((name) => !names.has(name));
    assert.deepEqual(gone, [], 'probes of numbers that are no more');
  });

  it('are counted', (context) => {
    const total = emptyOutcome();
    for (const outcome of [...known.flatMap(compare), checkNumberFacts(numbers)]) {
      expectNone(outcome);
      total.rows += outcome.rows;
      total.facts += outcome.facts;
    }
    assert.ok(total.rows > 400 * known.length, `${total.rows} rows`);
    const own = numbers.filter(({ name }) => whyOurOwn(name) !== undefined).length;
    tellProof(
      context,
      `ABI: ${total.rows} rows on ${known.length} targets against their headers, ` +
        `${total.facts} against public sources; ${bindingNames().size} functions of C, each ` +
        `compared; ${own} numbers of src/sys are our own`,
    );
  });
});

describe('a mistake in a table is noticed', { skip }, () => {
  for (const each of known) {
    const { target } = each;
    const table = tableOf(target);

    it(`${target.name}: any row that is altered`, () => {
      for (const { path, value } of rowsOf(table)) {
        if (value === undefined) continue;
        const wrong = altered(table, path, (before: Value) =>
          typeof before === 'number' ? before + 1 : typeof before === 'boolean' ? !before : 'wrong',
        );
        expectCaught(each, checkTable(each, wrong), path);
      }
    });

    it(`${target.name}: two fields that are swapped`, () => {
      for (const [structure, one, other] of [
        ['msghdr', 'iov', 'control'],
        ['files.stat', 'size', 'blocks'],
        ['files.flock', 'start', 'len'],
      ] as const) {
        const at = (field: string): string => `${structure}.${field}.offset`;
        const offsets = new Map(rowsOf(table).map(({ path, value }) => [path, value]));
        const half = altered(table, at(one), () => offsets.get(at(other)));
        const { faults } = checkTable(
          each,
          altered(half, at(other), () => offsets.get(at(one))),
        );
        assert.equal(faults.length, 2, `${target.name}: ${faults.join('; ')}`);
        assert.ok(faults[0]?.includes(structure) && faults[1]?.includes(structure));
      }
    });

    it(`${target.name}: a wrong number of src/sys, or of Linux's errors`, () => {
      for (const { name, value } of numbers.filter((number) => each.answers.has(number.name))) {
        expectCaught(each, checkNumbers(each, [{ name, value: value + 1 }]), name);
      }
      if (target.os !== 'linux') return;
      for (const [name, value] of Object.entries(LINUX_ERRNO)) {
        expectCaught(each, checkErrno(each, { [name]: value + 1 }), name);
      }
    });

    it(`${target.name}: a wrong number of a system call, of Landlock or of a filter`, () => {
      if (target.os !== 'linux') return;
      const all = sandboxNumbers(target.arch);
      assert.ok(all.length > 200, `${String(all.length)} numbers`);
      for (const { name, value } of all) {
        expectCaught(each, checkSandbox(each, [{ name, value: value + 1 }]), name);
      }
    });

    it(`${target.name}: a dropped "...", a wrong width, a wrong sign`, () => {
      for (const name of ['fcntl', 'ioctl', 'openat']) {
        const calls = withCall(each, name, (call) => ({ ...call, variadic: false }));
        expectCaught(each, checkCalls(each, calls), `${name} without ...`);
      }
      const wide = { bytes: 8, signed: true, pointer: false };
      const narrow = { bytes: 4, signed: false, pointer: false };
      const changes: readonly [string, (call: Prototype) => Prototype][] = [
        ['pread', (call) => ({ ...call, args: [...call.args.slice(0, 3), narrow] })],
        ['read', (call) => ({ ...call, result: narrow })],
        ['close', (call) => ({ ...call, result: wide })],
        ['close', (call) => ({ ...call, result: narrow })],
        ['bind', (call) => ({ ...call, args: [...call.args.slice(0, 2), wide] })],
        ['mmap', (call) => ({ ...call, args: call.args.slice(0, 5) })],
      ];
      for (const [name, change] of changes) {
        expectCaught(each, checkCalls(each, withCall(each, name, change)), name);
      }
    });
  }

  it('macOS: shm_open that is not variadic, and the functions of 32-bit inode numbers', () => {
    for (const each of known.filter(({ target }) => target.os === 'darwin')) {
      const fixed = withCall(each, 'shm_open', (call) => ({ ...call, variadic: false }));
      expectCaught(each, checkCalls(each, fixed), 'shm_open without ...');
      if (each.target.arch !== 'x64') continue;
      const old = each.calls.map((names) => names.filter(({ name }) => !name.includes('$')));
      const { faults } = checkCalls(each, old);
      assert.match(faults.join('\n'), /we call fstatat, the header means fstatat\$INODE64/);
    }
  });
});
