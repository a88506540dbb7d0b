/**
 * Models of the kernels of macOS, FreeBSD and OpenBSD: compiling them, and running programs of ours
 * on them. The models themselves are `kernel/*.c`.
 *
 * @module
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ROOT, filesIn } from '../support/repository.ts';
import type { PlayedHost } from './errno.ts';
import { modelHeader } from './header.ts';

export type { PlayedHost } from './errno.ts';

/** All that there are. */
export const PLAYED_HOSTS: readonly PlayedHost[] = ['darwin', 'freebsd', 'openbsd'];

const ENDING = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const POSE = new URL(`./pose.${ENDING}`, import.meta.url).href;
const SOURCES = 'test/hosts/kernel';
const TIME_LIMIT_MS = 120_000;

/** Why there can be no models on this machine; false where there can. */
export function whyNoModels(): string | false {
  if (process.platform !== 'linux') return 'the models of other kernels sit on Linux';
  if (spawnSync('cc', ['--version']).error !== undefined) return 'there is no C compiler (cc)';
  return false;
}

/** Compiles the model of a host; its path. */
export function compileModel(folder: string, os: PlayedHost): string {
  const own = join(folder, os);
  mkdirSync(own, { recursive: true });
  writeFileSync(join(own, 'host.h'), modelHeader(os));
  const library = join(own, 'model.so');
  const sources = filesIn(SOURCES)
    .filter((file) => file.endsWith('.c'))
    .map((file) => join(ROOT, file));
  const flags = ['-shared', '-fPIC', '-O1', '-std=gnu11', '-Wall', '-pthread', '-I', own];
  execFileSync('cc', [...flags, '-o', library, ...sources], { stdio: 'pipe' });
  return library;
}

/** How a program runs on a model. */
export interface ModelOptions {
  readonly os: PlayedHost;
  readonly library: string;
  /** Bytes of a page; default 4096. */
  readonly pageBytes?: number;
  /** The model stands in the way of Node's own calls, too: for sandboxes. */
  readonly preload?: boolean;
  /** Further variables of the environment. */
  readonly env?: Readonly<Record<string, string>>;
}

/** The environment of a program that runs on a model, and of all that it starts. */
export function modelEnvironment(options: ModelOptions): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import=${POSE}`.trim(),
    VHU_MODEL_OS: options.os,
    VHU_MODEL_LIBRARY: options.library,
    VHU_MODEL_PAGE: String(options.pageBytes ?? 4096),
    VHOST_USER_HOST: 'native',
    ...(options.preload === true ? { LD_PRELOAD: options.library } : {}),
    ...options.env,
  };
  delete env.NODE_TEST_CONTEXT; // else the child takes itself for a part of this run
  return env;
}

/** What came of the tests of some files. */
export interface TestRun {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** TAP, and what went to stderr. */
  readonly text: string;
}

/** Runs test files on a model, all in one go; only the tests of that name, if one is given. */
export function runTests(
  files: readonly string[],
  options: ModelOptions,
  only?: string,
): Promise<TestRun> {
  const args = ['--enable-source-maps', '--test', '--test-reporter=tap', '--test-concurrency=2'];
  if (only !== undefined) args.push(`--test-name-pattern=${only}`);
  args.push(...files);
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, {
      env: modelEnvironment(options),
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: TIME_LIMIT_MS,
    });
    const chunks: string[] = [];
    const keep = (chunk: Buffer): number => chunks.push(chunk.toString());
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.on('error', reject).on('close', () => {
      const text = chunks.join('');
      const count = (name: string): number =>
        Number(new RegExp(`^# ${name} (\\d+)`, 'm').exec(text)?.[1] ?? NaN);
      resolve({
        passed: count('pass'),
        failed: count('fail') + count('cancelled'),
        skipped: count('skipped'),
        text,
      });
    });
  });
}

/** A file of the built tests, by its path in the repository. */
export function builtFile(source: string): string {
  const url = new URL(`../../${source.replace(/\.ts$/, `.${ENDING}`)}`, import.meta.url);
  return fileURLToPath(url);
}
