/**
 * The house style as a test, so that a review can speak of the design: layers and doors, sizes,
 * documentation, dead files, and what no file may hold.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { homedir } from 'node:os';
import { dirname } from 'node:path';
import { test } from 'node:test';
import ts from 'typescript';
import { LAYERS, importFault, layerOf, resolveImport } from './support/layers.ts';
import { ROOT, filesIn, parse, readText, referencesOf } from './support/repository.ts';

const COLUMNS_MAX = 100;
const TEST_NAME_COLUMNS_MAX = 120;
const FUNCTION_LINES_MAX = 70;
const FILE_LINES_MAX = 500;

const FOLDERS = ['src', 'test', 'bench', 'scripts', 'examples'];
const TYPESCRIPT: string[] = FOLDERS.flatMap(filesIn).filter((file) => file.endsWith('.ts'));
const SOURCES: string[] = TYPESCRIPT.filter((file) => file.startsWith('src/'));
const PRODUCT: string[] = SOURCES.filter((file) => !/\.(test|fuzz|bench)\.ts$/.test(file));
const TESTS: string[] = TYPESCRIPT.filter((file) => file.endsWith('.test.ts'));
const PARSED: Map<string, ts.SourceFile> = new Map(TYPESCRIPT.map((file) => [file, parse(file)]));

function parsed(file: string): ts.SourceFile {
  const source = PARSED.get(file);
  assert.ok(source, file);
  return source;
}

function lineOf(node: ts.Node): number {
  const source = node.getSourceFile();
  return source.getLineAndCharacterOfPosition(node.getStart()).line + 1;
}

/** Calls a visitor with each node of a file. */
function walk(file: string, visitor: (node: ts.Node) => void): void {
  const visit = (node: ts.Node): void => {
    visitor(node);
    ts.forEachChild(node, visit);
  };
  visit(parsed(file));
}

/** The lines of a file that match, as `file:line: text`. */
function linesWith(files: readonly string[], pattern: RegExp): string[] {
  return files.flatMap((file) =>
    readText(file)
      .split('\n')
      .flatMap((text, i) => (pattern.test(text) ? [`${file}:${i + 1}: ${text.trim()}`] : [])),
  );
}

function expectNone(faults: readonly string[]): void {
  assert.equal(faults.length, 0, `${faults.length} faults:\n${faults.join('\n')}`);
}

test('imports point down, and a layer is entered by its door', () => {
  const faults: string[] = [];
  for (const file of SOURCES) {
    for (const { specifier, line } of referencesOf(parsed(file))) {
      if (!specifier.startsWith('.')) continue;
      const fault = importFault(file, resolveImport(file, specifier));
      if (fault !== undefined) faults.push(`${file}:${line}: ${specifier}: ${fault}`);
    }
  }
  expectNone(faults);
});

test('every folder of src/ is a layer, and every layer but the command line has a door', () => {
  const folders = new Set(SOURCES.filter((file) => file.split('/').length > 2).map(layerOf));
  for (const folder of folders) {
    assert.ok(LAYERS.includes(folder), `src/${folder} is not a layer that tidy.test.ts knows`);
    if (folder === 'cli' || folder === 'devices') continue;
    assert.ok(SOURCES.includes(`src/${folder}/index.ts`), `src/${folder} has no index.ts`);
  }
  const devices = SOURCES.filter((file) => layerOf(file) === 'devices');
  for (const folder of new Set(devices.map((file) => file.split('/').slice(0, 3).join('/')))) {
    assert.ok(SOURCES.includes(`${folder}/index.ts`), `${folder} has no index.ts`);
  }
});

test('only sys and abi know which operating system this is', () => {
  const elsewhere = PRODUCT.filter((file) => !['sys', 'abi'].includes(layerOf(file)));
  const faults: string[] = [];
  for (const file of elsewhere) {
    walk(file, (node) => {
      if (!ts.isPropertyAccessExpression(node)) return;
      if (/^(process\.(platform|arch)|os\.(platform|type|arch))$/.test(node.getText())) {
        faults.push(`${file}:${lineOf(node)}: ${node.getText()}`);
      }
    });
  }
  expectNone(faults);
});

test('only sys speaks to native code', () => {
  const faults = SOURCES.filter((file) => layerOf(file) !== 'sys').filter((file) =>
    referencesOf(parsed(file)).some(({ specifier }) => specifier === 'koffi'),
  );
  expectNone(faults);
});

test('the library is silent: only the command line prints', () => {
  const faults: string[] = [];
  for (const file of PRODUCT.filter((each) => layerOf(each) !== 'cli')) {
    walk(file, (node) => {
      if (!ts.isPropertyAccessExpression(node)) return;
      if (/^(console\.\w+|process\.(stdout|stderr))$/.test(node.getText())) {
        faults.push(`${file}:${lineOf(node)}: ${node.getText()}`);
      }
    });
  }
  expectNone(faults);
});

/** What a line may be long; the name of a test is a sentence, which is not broken. */
function columnsMax(text: string): number {
  return /^\s*(it|test|describe)\(/.test(text) ? TEST_NAME_COLUMNS_MAX : COLUMNS_MAX;
}

test('no line is longer than 100 columns', () => {
  const faults = TYPESCRIPT.flatMap((file) =>
    readText(file)
      .split('\n')
      .flatMap((text, i) => (text.length > columnsMax(text) ? [`${file}:${i + 1}`] : [])),
  );
  expectNone(faults);
});

/** Lines that hold code: not blank, and not comment only. */
function codeLines(text: string): number {
  let inComment = false;
  let count = 0;
  for (const line of text.split('\n').map((each) => each.trim())) {
    if (inComment || line.startsWith('/*')) inComment = !line.includes('*/');
    else if (line !== '' && !line.startsWith('//')) count++;
  }
  return count;
}

test('no file has more than 500 lines of code', () => {
  const faults = TYPESCRIPT.map((file) => [file, codeLines(readText(file))] as const)
    .filter(([, count]) => count > FILE_LINES_MAX)
    .map(([file, count]) => `${file}: ${count} lines`);
  expectNone(faults);
});

test('no function has more than 70 lines of code', () => {
  const faults: string[] = [];
  for (const file of TYPESCRIPT.filter((each) => !TESTS.includes(each))) {
    walk(file, (node) => {
      if (!ts.isFunctionLike(node) || !('body' in node) || node.body === undefined) return;
      const count = codeLines(node.getText());
      if (count > FUNCTION_LINES_MAX) faults.push(`${file}:${lineOf(node)}: ${count} lines`);
    });
  }
  expectNone(faults);
});

test('nothing is marked as to be done later', () => {
  // The words are put together here so that this file does not hold them.
  const words = ['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X', 'HA' + 'CK'].join('|');
  expectNone(linesWith(TYPESCRIPT, new RegExp(`\\b(${words})\\b`)));
});

test('no test is alone, and none is skipped without a reason in words', () => {
  expectNone(linesWith(TESTS, /\b(test|it|describe|suite)\.(only|todo)\(|\bskip: true\b/));
});

test('no file names a path of the machine that it was written on', () => {
  const text = ['src', 'test', 'bench', 'scripts', 'examples', 'docs', 'share', 'man', '.ci']
    .flatMap(filesIn)
    .concat('README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'package.json', 'package-lock.json')
    .filter((file) => !/\.(png|ico|woff2?)$/.test(file));
  const parent = dirname(ROOT);
  const places = [ROOT, homedir(), ...(parent === '/' ? [] : [`${parent}/`])];
  const words = places.filter((place) => !['/', '/root', '/home', '/home/'].includes(place));
  const escaped = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  // `/tmp/` is what everybody has; a clone may lie there.
  const meant = escaped.filter((word) => word !== '/tmp/');
  if (meant.length > 0) expectNone(linesWith(text, new RegExp(meant.join('|'))));
  expectNone(linesWith(text, /\/root\/|\/home\/(?!user\b|you\b|me\b)\w/));
});

/** What package.json and the lock file of npm say that the package needs. */
interface Needs {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}

test('the lock file is of the same dependencies as the package: npm ci refuses others', () => {
  const { dependencies, devDependencies } = JSON.parse(readText('package.json')) as Needs;
  const lock = JSON.parse(readText('package-lock.json')) as { packages: Record<string, Needs> };
  const root = lock.packages[''];
  assert.ok(root);
  assert.deepEqual(root.dependencies, dependencies);
  assert.deepEqual(root.devDependencies, devDependencies);
});

test('each dependency is imported by the product', () => {
  const { dependencies } = JSON.parse(readText('package.json')) as Needs;
  const text = PRODUCT.map(readText).join('\n');
  const unused = Object.keys(dependencies).filter((name) => !text.includes(`'${name}`));
  expectNone(unused.map((name) => `package.json: no source imports ${name}`));
});

test('there are no default exports', () => {
  const faults: string[] = [];
  for (const file of TYPESCRIPT) {
    walk(file, (node) => {
      if (ts.isExportAssignment(node)) faults.push(`${file}:${lineOf(node)}`);
      if (node.kind === ts.SyntaxKind.DefaultKeyword && ts.canHaveModifiers(node.parent)) {
        faults.push(`${file}:${lineOf(node)}`);
      }
    });
  }
  expectNone(faults);
});

test('every file opens with a comment that says what it is', () => {
  const faults = TYPESCRIPT.filter(
    (file) => !/^(#!.*\n)?\/\*\*[^]*?@module\s+\*\//.test(readText(file)),
  );
  expectNone(faults);
});

/** Whether a declaration has a documentation comment with words in it. */
function isDocumented(node: ts.Node): boolean {
  return ts.getJSDocCommentsAndTags(node).some((doc) => ts.isJSDoc(doc) && hasWords(doc));
}

function hasWords(doc: ts.JSDoc): boolean {
  return /\w/.test(doc.getText().replace(/@module/, ''));
}

function isExported(node: ts.Statement): boolean {
  if (!ts.canHaveModifiers(node)) return false;
  const modifiers = ts.getModifiers(node) ?? [];
  return modifiers.some((modifier) => modifier.kind === ts.SyntaxKind.ExportKeyword);
}

/** The methods and accessors of a class that others may call. */
function publicMembers(node: ts.ClassDeclaration): ts.ClassElement[] {
  return node.members.filter((member) => {
    // A setter is described by its getter.
    const isCallable = ts.isMethodDeclaration(member) || ts.isGetAccessorDeclaration(member);
    if (!isCallable || ts.isPrivateIdentifier(member.name)) return false;
    const modifiers = ts.getModifiers(member) ?? [];
    return !modifiers.some((modifier) => modifier.kind === ts.SyntaxKind.PrivateKeyword);
  });
}

/** Files whose exports document themselves, and why. */
const SELF_DOCUMENTING: ReadonlyMap<string, string> = new Map([
  ['src/sys/libc.ts', 'each export is a function of C under its own prototype'],
  ['src/sys/libc-files.ts', 'the same'],
]);

/** Whether a constant stands directly below one that has a comment for the whole group. */
function isInGroup(node: ts.Statement, before: ts.Statement | undefined): boolean {
  if (before === undefined || !ts.isVariableStatement(node)) return false;
  if (!ts.isVariableStatement(before) || !isExported(before)) return false;
  return !/\n\s*\n/.test(node.getFullText());
}

test('every export of a source file is documented, alone or as one of a group', () => {
  const faults: string[] = [];
  for (const file of PRODUCT.filter((each) => !SELF_DOCUMENTING.has(each))) {
    const documented = new Set<string>();
    const { statements } = parsed(file);
    for (const [i, node] of statements.entries()) {
      if (!isExported(node) || ts.isExportDeclaration(node)) continue;
      const name = ts.isFunctionDeclaration(node)
        ? (node.name?.text ?? '')
        : `line ${lineOf(node)}`;
      const before = statements[i - 1];
      const group = isInGroup(node, before) && documented.has(`line ${lineOf(before ?? node)}`);
      if (isDocumented(node) || group) documented.add(name);
      else if (!documented.has(name)) faults.push(`${file}:${lineOf(node)}`);
    }
  }
  expectNone(faults);
});

/** Names that say all there is to say. */
const SELF_EVIDENT = /^(\[Symbol\.(dispose|asyncDispose|iterator)\]|close|toString)$/;

test('every method of an exported class is documented, or implements what is', () => {
  const faults: string[] = [];
  for (const file of PRODUCT) {
    for (const node of parsed(file).statements) {
      if (!ts.isClassDeclaration(node) || !isExported(node)) continue;
      if (node.heritageClauses !== undefined) continue;
      const bare = publicMembers(node).filter(
        (member) => !isDocumented(member) && !SELF_EVIDENT.test(member.name?.getText() ?? ''),
      );
      for (const member of bare) {
        faults.push(`${file}:${lineOf(member)}: ${member.name?.getText() ?? ''}`);
      }
    }
  }
  expectNone(faults);
});

test('every source file is reached from an entry of package.json', () => {
  const manifest = JSON.parse(readText('package.json')) as {
    bin: Record<string, string>;
    exports: Record<string, string | { default: string }>;
  };
  const entries = [...Object.values(manifest.bin), ...Object.values(manifest.exports)]
    .map((entry) => (typeof entry === 'string' ? entry : entry.default))
    .filter((entry) => entry.endsWith('.js'))
    .map((entry) => entry.replace(/^(\.\/)?dist\/(program\/)?/, 'src/').replace(/\.js$/, '.ts'));
  const reached = new Set<string>();
  const waiting = [...entries];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (reached.has(file)) continue;
    assert.ok(PRODUCT.includes(file), `${file} is an entry or imported, and does not exist`);
    reached.add(file);
    for (const { specifier } of referencesOf(parsed(file))) {
      if (specifier.startsWith('.')) waiting.push(resolveImport(file, specifier));
    }
  }
  expectNone(PRODUCT.filter((file) => !reached.has(file)));
});

interface NamedTest {
  /** With the names of the suites around it in front. */
  readonly name: string;
  readonly line: number;
  /** Whether something is put into the name when it runs. */
  readonly isPattern: boolean;
}

const TEST_CALL = /^(test|it|t\.test|describe|suite)$/;

/** The text of a test's or suite's name, where it is written out. */
function nameOf(node: ts.CallExpression): string {
  const [name] = node.arguments;
  if (name === undefined) return '';
  if (ts.isStringLiteralLike(name)) return name.text;
  // What is put in stands for two words: it is a description, or it would need no name.
  const text = ts.isTemplateExpression(name) ? name.getText().slice(1, -1) : '';
  return text.replaceAll(/\$\{[^}]*\}/g, (each) => `${each} …`);
}

function namesAround(node: ts.Node): string[] {
  const names: string[] = [];
  for (let at = node.parent; !ts.isSourceFile(at); at = at.parent) {
    if (ts.isCallExpression(at) && TEST_CALL.test(at.expression.getText()))
      names.unshift(nameOf(at));
  }
  return names;
}

/** The names of a file's tests, where they are written out. */
function testNames(file: string): NamedTest[] {
  const tests: NamedTest[] = [];
  walk(file, (node) => {
    if (!ts.isCallExpression(node) || !TEST_CALL.test(node.expression.getText())) return;
    if (/^(describe|suite)$/.test(node.expression.getText())) return;
    const own = nameOf(node);
    if (own === '') return;
    const name = [...namesAround(node), own].join(' ');
    tests.push({ name, line: lineOf(node), isPattern: name.includes('${') });
  });
  return tests;
}

test('every name of a test is a sentence: three words at least, no full stop', () => {
  const faults = TESTS.flatMap((file) =>
    testNames(file)
      .filter(({ name }) => name.trim().split(/\s+/).length < 3 || name.endsWith('.'))
      .map(({ name, line }) => `${file}:${line}: ${name}`),
  );
  expectNone(faults);
});

test('no two tests of a file have one name', () => {
  const faults = TESTS.flatMap((file) => {
    const names = testNames(file).filter(({ isPattern }) => !isPattern);
    return names
      .filter(({ name }, i) => names.findIndex((other) => other.name === name) < i)
      .map(({ name, line }) => `${file}:${line}: ${name}`);
  });
  expectNone(faults);
});
