/**
 * What the documentation says is so: its commands run, its programs compile, its links lead
 * somewhere, and its tables are those of the sources.
 *
 * Each block of shell commands has a remark above it, an HTML comment:
 * - `run`: it is run in an empty folder where the package is installed; `/tmp/` is that folder, so
 *   that two runs of this test do not meet.
 * - `run, ends by SIGTERM once it says WORDS`: the same for a server.
 * - `not run: REASON`: only the options of the `vhost-user` commands in it are checked.
 * A block of TypeScript is compiled; with `the file PATH` it is that file, without its first
 * comment.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { installedFolder } from './support/installed.ts';
import { anchors, codeBlocks, links } from './support/markdown.ts';
import type { CodeBlock } from './support/markdown.ts';
import { BUILD, ROOT, filesIn, readText } from './support/repository.ts';

const PAGES: readonly string[] = [
  'README.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  ...filesIn('docs').filter((file) => file.endsWith('.md')),
];
const RUN_LIMIT_MS = 60_000;
const REASON_WORDS_MIN = 3;

interface PlacedBlock extends CodeBlock {
  readonly page: string;
  readonly place: string;
}

const BLOCKS: readonly PlacedBlock[] = PAGES.flatMap((page) =>
  codeBlocks(readText(page)).map((block) => ({ ...block, page, place: `${page}:${block.line}` })),
);
const SHELL: readonly PlacedBlock[] = BLOCKS.filter(({ language }) => language === 'sh');
const TYPESCRIPT: readonly PlacedBlock[] = BLOCKS.filter(({ language }) => language === 'ts');

function environment(folder: string): NodeJS.ProcessEnv {
  const npm = { npm_config_cache: join(folder, '.npm'), npm_config_update_notifier: 'false' };
  return { ...process.env, ...npm, HOME: folder, NO_COLOR: '1', NODE_TEST_CONTEXT: undefined };
}

function inFolder(text: string, folder: string): string {
  return text.replaceAll('/tmp/', `${folder}/`);
}

/** Runs a block with bash, to its end. */
function run(block: PlacedBlock, folder: string): void {
  execFileSync('bash', ['-euo', 'pipefail', '-c', inFolder(block.text, folder)], {
    cwd: folder,
    env: environment(folder),
    timeout: RUN_LIMIT_MS,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** Runs a block that serves, ends it when it says `words`, and wants an orderly end. */
async function runServer(block: PlacedBlock, folder: string, words: string): Promise<void> {
  const child = spawn('bash', ['-euo', 'pipefail', '-c', inFolder(block.text, folder)], {
    cwd: folder,
    env: environment(folder),
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const wanted = inFolder(words, folder);
  let output = '';
  let asked = false;
  const endGroup = (signal: NodeJS.Signals): void => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, signal);
  };
  const hear = (chunk: string): void => {
    output += chunk;
    if (asked || !output.includes(wanted)) return;
    asked = true;
    endGroup('SIGTERM');
  };
  child.stdout.setEncoding('utf8').on('data', hear);
  child.stderr.setEncoding('utf8').on('data', hear);
  const timer = setTimeout(() => {
    endGroup('SIGKILL');
  }, RUN_LIMIT_MS);
  await new Promise((resolve) => child.once('close', resolve));
  clearTimeout(timer);
  assert.ok(asked, `it did not say "${wanted}":\n${output}`);
}

describe('shell commands of the documentation', () => {
  for (const block of SHELL) {
    test(`${block.place} is run, or says why not`, async () => {
      const reason = /^not run: (.+)$/.exec(block.remark)?.[1];
      if (reason !== undefined) {
        const count = reason.split(' ').length;
        assert.ok(count >= REASON_WORDS_MIN, `"${reason}" is no reason`);
        return;
      }
      const words = /^run, ends by SIGTERM once it says (.+)$/.exec(block.remark)?.[1];
      assert.ok(block.remark === 'run' || words !== undefined, `no such remark: "${block.remark}"`);
      const app = installedFolder();
      try {
        if (words === undefined) run(block, app.path);
        else await runServer(block, app.path, words);
      } finally {
        app.remove();
      }
    });
  }
});

/** The commands of `vhost-user` in a block, each as the words after that. */
function commandLines(text: string): string[][] {
  return text
    .replaceAll('\\\n', ' ')
    .split('\n')
    .flatMap((line) => {
      const command = /^(?:.*\bnpx )?vhost-user ([a-z][^|>#)]*)/.exec(line.trim())?.[1];
      // What comes after -- are the words of another program.
      const ours = command?.replace(/ --( .*)?$/, '').trim();
      return ours === undefined ? [] : [ours.split(/\s+/)];
    });
}

function optionsOf(help: string): string[] {
  return [...help.matchAll(/(?<![\w-])--?[a-z][a-z-]*/gi)].map(([option]) => option);
}

test('every option of vhost-user in the documentation exists', () => {
  const helps = new Map<string, string[]>();
  const faults: string[] = [];
  for (const { text, place } of SHELL) {
    for (const [command = '', ...words] of commandLines(text)) {
      let known = helps.get(command);
      if (known === undefined) {
        const main = join(BUILD, 'src/cli/main.js');
        const help = execFileSync(process.execPath, [main, command, '--help'], {
          encoding: 'utf8',
        });
        known = optionsOf(help);
        helps.set(command, known);
      }
      const given = words
        .filter((word) => /^--?[a-z]/.test(word))
        .map((word) => word.split('=')[0]);
      for (const option of given) {
        if (option !== undefined && !known.includes(option)) faults.push(`${place}: ${option}`);
      }
    }
  }
  assert.deepEqual(faults, []);
});

test('every program in TypeScript of the documentation compiles', () => {
  // Below the repository, so that types of Node are found as for every file here.
  const folder = join(BUILD, 'docs-programs');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  try {
    const names = TYPESCRIPT.map(({ page, line, text }) => {
      const name = `${page.replaceAll(/[/.]/g, '-')}-${line}.ts`;
      writeFileSync(join(folder, name), text);
      return name;
    });
    const options = {
      extends: join(ROOT, 'tsconfig.json'),
      compilerOptions: {
        ...{ noEmit: true, rootDir: ROOT, isolatedDeclarations: false, declaration: false },
        paths: {
          'vhost-user': [join(ROOT, 'src/index.ts')],
          'vhost-user/*': [join(ROOT, 'src/*/index.ts')],
        },
      },
      include: [],
      files: names,
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(options));
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
    execFileSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8', stdio: 'pipe' });
  } catch (error) {
    const output = error instanceof Error && 'stdout' in error ? String(error.stdout) : '';
    assert.fail(`${String(error)}\n${output}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a block that claims to be a file is that file', () => {
  const claims = BLOCKS.filter(({ remark }) => remark.startsWith('the file '));
  for (const { remark, text, place } of claims) {
    const file = remark.slice('the file '.length);
    const program = readText(file).replace(/^\/\*\*[^]*?\*\/\n/, '');
    assert.equal(text, program, `${place} is not ${file}`);
  }
});

test('every configuration file of the documentation is good', () => {
  const app = installedFolder();
  try {
    const texts = BLOCKS.filter(({ language }) => language === 'yaml');
    for (const [i, { text, place }] of texts.entries()) {
      const file = join(app.path, `config-${i}.yaml`);
      writeFileSync(file, text);
      const main = join(BUILD, 'src/cli/main.js');
      const command = [main, 'run', '--check', file];
      assert.doesNotThrow(() => execFileSync(process.execPath, command, { stdio: 'pipe' }), place);
    }
  } finally {
    app.remove();
  }
});

test('every link of the documentation leads to a file, and to a heading in it', () => {
  const faults: string[] = [];
  for (const page of PAGES) {
    for (const { target, line } of links(readText(page))) {
      if (/^(https:|mailto:)/.test(target)) continue;
      const [path = '', anchor] = target.split('#');
      const file = path === '' ? page : join(dirname(page), path);
      const place = `${page}:${line}: ${target}`;
      if (!existsSync(join(ROOT, file))) faults.push(`${place}: no such file`);
      else if (anchor !== undefined && statSync(join(ROOT, file)).isFile()) {
        if (!anchors(readText(file)).includes(anchor)) faults.push(`${place}: no such heading`);
      }
    }
  }
  assert.deepEqual(faults, []);
});

test('every page below docs/ is reached from README.md', () => {
  const reached = new Set<string>();
  const waiting = ['README.md'];
  for (let page = waiting.pop(); page !== undefined; page = waiting.pop()) {
    if (reached.has(page) || !PAGES.includes(page)) continue;
    reached.add(page);
    for (const { target } of links(readText(page))) {
      if (!/^https?:/.test(target)) waiting.push(join(dirname(page), target.split('#')[0] ?? ''));
    }
  }
  assert.deepEqual(
    PAGES.filter((page) => !reached.has(page)),
    [],
  );
});

test('the page of errors has every code of the sources, and no other', () => {
  const sources = filesIn('src').filter((file) => /(?<!\.(test|fuzz|bench))\.ts$/.test(file));
  const used = new Set(sources.flatMap((file) => readText(file).match(/'ERR_VHU_[A-Z_]+'/g) ?? []));
  const page = readText('docs/errors.md');
  const documented = new Set(page.match(/(?<=^\| )`ERR_VHU_[A-Z_]+`/gm) ?? []);
  const plain = (codes: Set<string>): string[] =>
    [...codes].map((code) => code.replaceAll(/['`]/g, '')).sort();
  const [wanted, found] = [plain(used), plain(documented)];
  const missing = wanted.filter((code) => !found.includes(code));
  const surplus = found.filter((code) => !wanted.includes(code));
  assert.deepEqual({ missing, surplus }, { missing: [], surplus: [] });
});
