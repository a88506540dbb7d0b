/**
 * One run on a strict host: a program with all five devices, our front-ends as another process, and
 * what both have said.
 *
 * @module
 */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildProgram } from '../../../src/cli/program.ts';
import { linesOf, runProgram, withProgram } from '../../support/program.ts';
import type { StartOptions } from '../../support/program.ts';
import type { StrictCallName } from './calls.ts';
import type { FrontEndReport } from './front-end.ts';
import type { StrictReport } from './preload.ts';

const PRELOAD = new URL('./preload.js', import.meta.url).href;
const FRONT_END = fileURLToPath(new URL('./front-end.js', import.meta.url));
const IMAGE_BYTES = 4 * 1024 * 1024;
const LISTENING = /"device":"console","event":"listening"/;
const DEVICES = 5;
/**
 * No sandbox, where the program has one: it may execute the program anew, which ends the thread
 * that answers for a filter, and the filter stays.
 */
const OPEN = (buildProgram().commands.find((each) => each.name() === 'run')?.options ?? []).some(
  ({ long }) => long === '--sandbox',
)
  ? ['--sandbox', 'none']
  : [];

/** What the program has said. */
export interface BackEndReport {
  /** `device: call: what instead`, sorted; the device is empty for the main thread. */
  readonly fallbacks: readonly string[];
  /** The lines of the log that say how threads wait, and how files are read and written. */
  readonly ways: ReadonlyMap<string, string>;
  /** By thread; 0 is the main thread. */
  readonly strict: ReadonlyMap<number, StrictReport['refused']>;
}

/** What came of a run. */
export interface StrictRun {
  readonly backEnd: BackEndReport;
  readonly frontEnd: FrontEndReport;
  /** What the front-end's own thread was refused. */
  readonly frontEndStrict: StrictReport['refused'];
  /** Who owns the file that another user of the guest has made. */
  readonly owner: number;
}

/** How a process is made strict; the program's own environment is kept. */
export function strictOptions(
  refused: readonly StrictCallName[],
  env: NodeJS.ProcessEnv = {},
): StartOptions {
  return { nodeArgs: ['--import', PRELOAD], env: { ...env, STRICT_CALLS: refused.join(' ') } };
}

/** Runs `body` with a folder that has what the devices serve, and their configuration. */
export async function withDevices<T>(
  body: (folder: string, config: string) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'vhu-strict-'));
  try {
    mkdirSync(join(folder, 'share'), { mode: 0o777 });
    writeFileSync(join(folder, 'disk.img'), Buffer.alloc(IMAGE_BYTES, 7));
    const config = join(folder, 'devices.yaml');
    writeFileSync(config, JSON.stringify({ devices: devices() }));
    return await body(folder, config);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The devices; the console is the last to listen. */
function devices(): Record<string, unknown>[] {
  const socket = (type: string): Record<string, unknown> => ({
    type,
    name: type,
    'socket-path': `${type}.sock`,
  });
  return [
    { ...socket('blk'), image: 'disk.img' },
    { ...socket('fs'), 'shared-dir': 'share', 'shared-locks': true },
    { ...socket('vsock'), 'uds-path': 'host.vsock' },
    socket('rng'),
    { ...socket('console'), unix: 'console.end' },
  ];
}

/** Runs the program and the front-ends, both on a host that refuses these calls. */
export function strictRun(
  refused: readonly StrictCallName[],
  env: NodeJS.ProcessEnv = {},
): Promise<StrictRun> {
  return run(strictOptions(refused, env), strictOptions(refused, env));
}

/** Runs the program and the front-ends, each in the way that is said. */
export async function run(how: StartOptions, frontEndHow: StartOptions): Promise<StrictRun> {
  return await withDevices(async (folder, config) => {
    // Node's own server takes connections by accept4 alone: so the host's programs are in here.
    const host = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
    host.listen(join(folder, 'host.vsock_1234'));
    await once(host, 'listening');
    const runs: StrictRun[] = [];
    const args = ['run', config, ...OPEN, '--log-level', 'debug', '--log-format', 'json'];
    await withProgram(args, how, async (program) => {
      await program.says(LISTENING);
      const ended = await runProgram([folder], { ...frontEndHow, file: FRONT_END });
      if (ended.code !== 0)
        throw new Error(`the front-ends: ${ended.stderr}\n${withoutMessages(program.stderr)}`);
      const owner = ownerOf(join(folder, 'share', 'his'));
      const { code, stderr } = await program.end();
      if (code !== 0) throw new Error(`the program ended with ${String(code)}: ${stderr}`);
      const frontEnd = JSON.parse(ended.stdout) as FrontEndReport;
      const own = strictLines(ended.stderr).get(0) ?? {};
      runs.push({ backEnd: readLog(stderr), frontEnd, frontEndStrict: own, owner });
    }).finally(() => host.close());
    const [only] = runs;
    if (only === undefined) throw new Error('the program did not run');
    return only;
  });
}

function ownerOf(path: string): number {
  try {
    return statSync(path).uid;
  } catch {
    return -1;
  }
}

function readLog(log: string): BackEndReport {
  const fallbacks: string[] = [];
  const ways = new Map<string, string>();
  for (const { device = '', msg } of linesOf(log)) {
    const text = String(msg);
    const [, call, instead] = /^(\S.*) is refused here: (.*) instead$/.exec(text) ?? [];
    if (call !== undefined) fallbacks.push(`${String(device)}: ${call}: ${String(instead)}`);
    const way = /^the threads wait by .*|^(?:the image is|files are) read and written by .*/;
    const [found] = way.exec(text) ?? [];
    if (found === undefined) continue;
    ways.set(`${String(device)} ${found.startsWith('the threads') ? 'waits' : 'files'}`, found);
  }
  if (ways.size < DEVICES) throw new Error(`too few ways: ${log}`);
  return { fallbacks: fallbacks.sort(), ways, strict: strictLines(log) };
}

/** A log without each message of the protocol, to be read by people. */
function withoutMessages(log: string): string {
  return log
    .split('\n')
    .filter((line) => !line.includes('"event":"message"'))
    .join('\n');
}

function strictLines(log: string): Map<number, StrictReport['refused']> {
  const found = new Map<number, StrictReport['refused']>();
  for (const line of log.split('\n').filter((each) => each.startsWith('{"strict":'))) {
    const { thread, refused } = JSON.parse(line) as StrictReport;
    found.set(thread, refused);
  }
  return found;
}
