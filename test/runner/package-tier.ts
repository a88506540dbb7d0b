/**
 * The package as its users get it: packed, installed in an empty folder without install scripts,
 * run as a command, imported by name, and type-checked as a dependency.
 *
 * @module
 */
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT, readText } from '../support/repository.ts';
import { checkCommand, runCommand } from './command.ts';
import type { CommandResult } from './command.ts';
import type { Check } from './outcome.ts';
import { checkProgram } from './package-program.ts';

const LIMIT_MS = 240_000;

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly exports: Readonly<Record<string, unknown>>;
}

/** Checks the package; `report` gets each step as it is done. */
export async function checkPackage(report: (check: Check) => void): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'vhu-package-'));
  try {
    const manifest = JSON.parse(readText('package.json')) as Manifest;
    const tarball = await pack(folder, report);
    if (tarball === undefined) return;
    await Promise.all([
      checkTarball(tarball, report),
      checkInstalled(join(folder, 'app'), tarball, manifest, report),
    ]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What tools for packages say of it. */
async function checkTarball(tarball: string, report: (check: Check) => void): Promise<void> {
  report(await checkCommand('publint', ['npx', 'publint', '--strict', tarball], limit(ROOT)));
  const attw = ['npx', 'attw', '--profile', 'esm-only', tarball];
  const entries = ['--exclude-entrypoints', './package.json'];
  report(await checkCommand('attw', [...attw, ...entries], limit(ROOT)));
}

/** What a user can do with it, in a folder of the user's own. */
async function checkInstalled(
  app: string,
  tarball: string,
  manifest: Manifest,
  report: (check: Check) => void,
): Promise<void> {
  if (!(await install(app, tarball, report))) return;
  report(await checkVersion(app, manifest));
  report(await checkCapabilities(app));
  for (const name of entriesOf(manifest)) report(await checkImport(app, name));
  report(await checkRequire(app, manifest.name));
  report(await checkTypes(app, entriesOf(manifest)));
  report(await checkService(app));
  await checkProgram(app, mkdtempSync(join(app, 's')), report);
}

function limit(cwd: string): { cwd: string; limitMs: number; env: Record<string, string> } {
  return { cwd, limitMs: LIMIT_MS, env: { npm_config_loglevel: 'error' } };
}

/** What users import: `vhost-user`, `vhost-user/testing` and so on. */
function entriesOf(manifest: Manifest): string[] {
  return Object.keys(manifest.exports)
    .filter((path) => path !== './package.json')
    .map((path) => manifest.name + path.slice(1));
}

async function pack(folder: string, report: (check: Check) => void): Promise<string | undefined> {
  const name = 'npm pack';
  const command = ['npm', 'pack', '--silent', '--pack-destination', folder];
  const result = await runCommand(command, limit(ROOT));
  const tarball = readdirSync(folder).find((file) => file.endsWith('.tgz'));
  if (result.code !== 0 || tarball === undefined) {
    report(failed(name, result));
    return undefined;
  }
  report({ name, status: 'passed' });
  report(await checkContents(join(folder, tarball)));
  return join(folder, tarball);
}

/** What is in the package is what users need, and nothing of the tests. */
async function checkContents(tarball: string): Promise<Check> {
  const name = 'what is in the package';
  const listing = await runCommand(['tar', '-tzf', tarball], limit(ROOT));
  const files = listing.output.trim().split('\n');
  const foreign = files.filter((file) =>
    /\.(test|fuzz|bench)\.|^package\/(src|test|dist\/cli)\//.test(file),
  );
  const wanted = ['package/dist/program/cli/main.js', 'package/README.md', 'package/LICENSE'];
  const missing = wanted.filter((file) => !files.includes(file));
  if (foreign.length + missing.length === 0) return { name, status: 'passed' };
  const lines = [...foreign.map((file) => `not wanted: ${file}`), ...missing.map((f) => `no ${f}`)];
  return { name, status: 'failed', detail: lines.join('\n') };
}

function failed(name: string, result: CommandResult): Check {
  return { name, status: 'failed', detail: `${result.end}\n${result.output}` };
}

async function install(
  app: string,
  tarball: string,
  report: (check: Check) => void,
): Promise<boolean> {
  mkdirSync(app);
  const text = { name: 'app', version: '1.0.0', private: true, type: 'module' };
  writeFileSync(join(app, 'package.json'), JSON.stringify(text));
  const flags = ['--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'];
  const command = ['npm', 'install', ...flags, tarball];
  const check = await checkCommand('npm install in an empty folder', command, limit(app));
  report(check);
  return check.status === 'passed';
}

async function checkVersion(app: string, manifest: Manifest): Promise<Check> {
  const name = 'npx vhost-user --version';
  const command = ['npx', '--no-install', 'vhost-user', '--version'];
  const result = await runCommand(command, limit(app));
  if (result.code === 0 && result.output.trim() === `vhost-user ${manifest.version}`) {
    return { name, status: 'passed' };
  }
  return failed(name, result);
}

/** The name by which management software starts a disk, which has no room for the word `blk`. */
async function checkCapabilities(app: string): Promise<Check> {
  const name = 'vhost-user-blk --print-capabilities';
  const command = ['npx', '--no-install', 'vhost-user-blk', '--print-capabilities'];
  const result = await runCommand(command, limit(app));
  const isBlock = result.code === 0 && /"type":\s*"block"/.test(result.output);
  return isBlock ? { name, status: 'passed' } : failed(name, result);
}

/** An import by name must give something, and must not keep the process alive. */
async function checkImport(app: string, entry: string): Promise<Check> {
  const isEmpty = 'Object.keys(all).length === 0';
  const text = `import * as all from '${entry}'; if (${isEmpty}) process.exit(3);`;
  const command = [process.execPath, '--input-type=module', '--eval', text];
  return checkCommand(`import '${entry}'`, command, limit(app));
}

/** A program in CommonJS can use it: no module of the library awaits anything when it is loaded. */
async function checkRequire(app: string, name: string): Promise<Check> {
  const text = `if (typeof require('${name}').openBlk !== 'function') process.exit(3);`;
  const command = [process.execPath, '--input-type=commonjs', '--eval', text];
  return checkCommand(`require('${name}')`, command, limit(app));
}

/**
 * A program in TypeScript that uses the package compiles, with the declarations checked as well.
 */
async function checkTypes(app: string, entries: readonly string[]): Promise<Check> {
  const lines = entries.map((entry, i) => `export * as entry${i} from '${entry}';`);
  writeFileSync(join(app, 'use.ts'), lines.join('\n'));
  const options = {
    compilerOptions: {
      ...{ target: 'es2023', module: 'nodenext', strict: true, noEmit: true, skipLibCheck: false },
      ...{ types: ['node'], typeRoots: [join(ROOT, 'node_modules/@types')] },
    },
    files: ['use.ts'],
  };
  writeFileSync(join(app, 'tsconfig.json'), JSON.stringify(options));
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  return checkCommand('types of the package', [process.execPath, tsc, '-p', app], limit(app));
}

/** A program on the installed package: a disk is served, written, read and closed. */
const SERVICE = `
import { randomBytes } from 'node:crypto';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { openBlk, startBackend } from 'vhost-user';
import { BlkClient } from 'vhost-user/frontend';
writeFileSync('disk.img', '');
truncateSync('disk.img', 1 << 20);
const address = { kind: 'listen', path: process.argv[2] };
const backend = await startBackend(openBlk({ image: 'disk.img' }), address);
const disk = await BlkClient.connect(address.path);
const bytes = randomBytes(4096);
await disk.write(8192, bytes);
await disk.flush();
const back = new Uint8Array(4096);
await disk.read(8192, back);
await disk.close();
await backend.close();
const same = Buffer.compare(bytes, back) === 0;
const onDisk = Buffer.compare(bytes, readFileSync('disk.img').subarray(8192, 12288)) === 0;
if (!same || !onDisk) throw new Error('the bytes are not the same: ' + same + ' ' + onDisk);
`;

async function checkService(app: string): Promise<Check> {
  writeFileSync(join(app, 'service.js'), SERVICE);
  const command = [process.execPath, 'service.js', join(app, 's')];
  const check = await checkCommand('a disk served by the installed package', command, limit(app));
  // The folder of the dependencies is what a user would look at first.
  if (check.status === 'passed') return check;
  const lock = readFileSync(join(app, 'package-lock.json'), 'utf8').length;
  return { ...check, detail: `${check.detail ?? ''}\n(lock file of ${lock} bytes)` };
}
