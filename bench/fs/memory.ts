/**
 * What a million known files cost each server: `npm run bench -- fs-memory [options]`. Our own
 * front-end lists and looks up every file of a tree, and forgets them all; no guest is needed.
 *
 * @module
 */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { FsBench } from '../../src/frontend/index.ts';
import { errorMessage } from '../../src/util/index.ts';
import { MemoryGroup } from '../memory-group.ts';
import { optionError } from '../plan.ts';
import { treeFootprint } from '../proc.ts';
import { processError } from '../process.ts';
import type { Footprint } from '../proc.ts';
import { Server } from '../server.ts';
import type { ServerPlan } from '../server.ts';
import { checkSharedWithPeer, ourEntry, peerCache, positive, withFolder } from '../site.ts';
import { formatTable } from '../table.ts';
import type { Column } from '../table.ts';
import { ourFsPlan, peerFsPlan } from './servers.ts';
import type { FsSite } from './servers.ts';

const HELP = `usage: npm run bench -- fs-memory [options]

Memory and descriptors of each server while our own front-end lists and looks up every file of a
tree (READDIRPLUS and LOOKUP), after it has forgotten them all, and after a second one has looked up
as many and is gone without a word, as a guest that is killed; without limits, and then with few
descriptors and little memory (a control group, where this user may make one).

  --server NAME      ours, prefer or never (virtiofsd by its --inode-file-handles); all by default
  --files N          a thousand in a folder (1000000)
  --nofile N         the few descriptors (256, then 1024)
  --memory-mb N      the little memory, the kernel's own for the server counts (512)
  --settle-seconds S between FORGET, or the end of the front-end, and a look (5)
  --share-dir DIR    where the tree is made (/dev/shm)
`;

const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  server: { type: 'string' },
  files: { type: 'string' },
  nofile: { type: 'string' },
  'memory-mb': { type: 'string' },
  'settle-seconds': { type: 'string' },
  'share-dir': { type: 'string' },
} as const;

const FILES = 1_000_000;
const FILES_PER_FOLDER = 1000;
const FILES_MAX = 10_000_000;
/** virtiofsd 1.14 does not start with fewer than 610. */
const NOFILES = [256, 1024];
const MEMORY_MB = 512;
const SETTLE_SECONDS = 5;
const SETTLE_LOOKS_MAX = 10;
const DEPTH = 16;
const STALL_MS = 120_000; // a machine that does other work, too, may stop all of this for long
const BLOCK_BYTES = 32 * 1024; // of a listing; the front-end's memory is small by that
const LOG_MS = 200; // until a server that ends has said why
const MIB = 2 ** 20;
const NOTHING: Footprint = { bytes: 0, peakBytes: 0, descriptors: 0 };

/** What is asked for. */
export interface MemoryPlan {
  readonly servers: readonly MemoryServer[];
  readonly files: number;
  /** The few descriptors of the limited runs, one after the other. */
  readonly nofile: readonly number[];
  readonly memoryBytes: number;
  readonly settleMs: number;
}

const SERVERS = ['ours', 'prefer', 'never'] as const;
/** Ours, and virtiofsd by how it keeps files. */
export type MemoryServer = (typeof SERVERS)[number];

/** What was seen of one server. */
export interface MemorySeen {
  readonly idle: Footprint;
  readonly known: Footprint;
  readonly forgotten: Footprint;
  /** A second front-end, for which nothing was forgotten, is gone; null: so is the server. */
  readonly gone: Footprint | null;
  /** The most descriptors at any look, one each thousand files. */
  readonly descriptorsMax: number;
  /** Of the control group, with what the kernel keeps for the server; null without one. */
  readonly groupPeakBytes: number | null;
  readonly filesKnown: number;
  readonly seconds: number;
  /** How the walk ended before the last file. */
  readonly failure: string | null;
}

/** Runs it with what stands behind `fs-memory` on the command line; returns the exit status. */
export async function fsMemoryMain(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({ args: [...args], options: OPTIONS });
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const plan = memoryPlan(values);
  await withFolder(async (folder) => {
    const peerRoot = `${peerCache()}/forky`;
    if (plan.servers.some((name) => name !== 'ours')) checkSharedWithPeer(peerRoot, folder);
    const shared = `${folder}/share`;
    makeMemoryTree(`${shared}/tree`, plan.files);
    const rows: string[][] = [];
    for (const name of plan.servers) {
      for (const nofile of [null, ...plan.nofile]) {
        // Its own: a server that ends slowly still holds the files beside its socket.
        const own = `${folder}/run-${rows.length}`;
        mkdirSync(own);
        const seen = await lookAtMemory(
          serverPlan(name, { folder: own, shared, peerRoot }),
          plan,
          nofile,
        );
        rows.push(rowOf(name, nofile, seen, plan));
        if (seen.failure !== null) process.stderr.write(`${name}: ${seen.failure}\n`);
      }
    }
    process.stdout.write(`${formatTable(COLUMNS, rows).join('\n')}\n`);
  }, values['share-dir']);
  return 0;
}

function memoryPlan(
  values: ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>['values'],
): MemoryPlan {
  const { server } = values;
  const servers = SERVERS.filter((name) => server === undefined || name === server);
  if (servers.length === 0) throw optionError(`--server ${server ?? ''}: ${SERVERS.join(', ')}`);
  const nofile = positive(values.nofile, '--nofile');
  const files = Number(values.files ?? FILES);
  if (!(files > 0 && files <= FILES_MAX)) throw optionError(`--files ${files}: up to 10^7`);
  return {
    servers,
    files,
    nofile: nofile === null ? NOFILES : [nofile],
    memoryBytes: (positive(values['memory-mb'], '--memory-mb') ?? MEMORY_MB) * MIB,
    settleMs: (positive(values['settle-seconds'], '--settle-seconds') ?? SETTLE_SECONDS) * 1000,
  };
}

/** The files that are looked up, a thousand in a folder. */
export function makeMemoryTree(root: string, count: number): void {
  for (let made = 0; made < count; made += FILES_PER_FOLDER) {
    const below = `${root}/d${made / FILES_PER_FOLDER}`;
    mkdirSync(below, { recursive: true });
    const here = Math.min(FILES_PER_FOLDER, count - made);
    for (let i = 0; i < here; i++) closeSync(openSync(`${below}/f${i}`, 'w'));
  }
}

function serverPlan(name: MemoryServer, site: FsSite): ServerPlan {
  const ours = { entry: ourEntry(), extraArgs: [], nodeArgs: [], posix: false };
  if (name === 'ours') return ourFsPlan('auto', site, ours);
  const { command, ...rest } = peerFsPlan('auto', site);
  return { ...rest, command: withArgs(command, [`--inode-file-handles=${name}`]) };
}

function withArgs(command: ServerPlan['command'], args: readonly string[]): ServerPlan['command'] {
  return { ...command, args: [...command.args, ...args] };
}

/** The same server with few descriptors, by the option that both have: root may raise a limit. */
function limitedPlan(plan: ServerPlan, nofile: number, group: MemoryGroup | null): ServerPlan {
  const asked = withArgs(plan.command, ['--rlimit-nofile', String(nofile)]);
  return { ...plan, command: group === null ? asked : group.inside(asked) };
}

/**
 * Looks at one server, with few descriptors if `nofile` says how many. One that does not get as far
 * as a session has failed, too.
 */
export async function lookAtMemory(
  plan: ServerPlan,
  how: MemoryPlan,
  nofile: number | null,
): Promise<MemorySeen> {
  const group = nofile === null ? null : MemoryGroup.make(how.memoryBytes);
  try {
    const server = await Server.start(nofile === null ? plan : limitedPlan(plan, nofile, group));
    try {
      return await walk(server, how, group);
    } catch (error) {
      await sleep(LOG_MS);
      throw processError(`${errorMessage(error)}\n${server.logTail}`);
    } finally {
      await server.stop();
    }
  } catch (error) {
    const groupPeakBytes = group?.peakBytes ?? null;
    const rest = { groupPeakBytes, filesKnown: 0, seconds: 0, failure: errorMessage(error) };
    const none = { idle: NOTHING, known: NOTHING, forgotten: NOTHING, gone: null };
    return { ...none, ...rest, descriptorsMax: 0 };
  } finally {
    await group?.remove();
  }
}

async function walk(
  server: Server,
  how: MemoryPlan,
  group: MemoryGroup | null,
): Promise<MemorySeen> {
  const idle = await settled(server, how.settleMs); // it listens before all of it has begun
  let forgotten = idle;
  const first = await withBench(server, async (bench) => {
    const tree = walkTree(bench, server, how.files);
    if (tree.failure === null) bench.forget();
    forgotten = await settled(server, how.settleMs);
    return tree;
  });
  await sleep(how.settleMs); // virtiofsd ends by now
  const { known, filesKnown, seconds, failure } = first;
  let { descriptorsMax } = first;
  let gone: Footprint | null = null;
  if (failure === null && server.running) {
    const again = await withBench(
      server,
      (bench) => walkTree(bench, server, how.files),
      (bench) => bench.disconnect(),
    );
    if (again.failure !== null) throw processError(`the second time: ${again.failure}`);
    descriptorsMax = Math.max(descriptorsMax, again.descriptorsMax);
    gone = await settled(server, how.settleMs);
  }
  const groupPeakBytes = group?.peakBytes ?? null;
  const rest = { descriptorsMax, groupPeakBytes, filesKnown, seconds, failure };
  return { idle, known, forgotten, gone, ...rest };
}

/** A look after some time, or later: when a server has come to an end with closing files. */
async function settled(server: Server, settleMs: number): Promise<Footprint> {
  let seen = treeFootprint(server.pid);
  for (let look = 0; look < SETTLE_LOOKS_MAX; look++) {
    const { descriptors } = seen;
    await sleep(settleMs);
    seen = treeFootprint(server.pid);
    if (seen.descriptors === descriptors) break;
  }
  return seen;
}

/** Opens a front-end for `work`, which then says good-bye, or ends as `leave` says. */
async function withBench(
  server: Server,
  work: (bench: FsBench) => Promise<Walked> | Walked,
  leave: (bench: FsBench) => Promise<void> = (bench) => bench.close(),
): Promise<Walked> {
  const bench = await FsBench.open({
    ...{ socketPath: server.plan.socketPath, depthMax: DEPTH, blockBytesMax: BLOCK_BYTES },
    stallMs: STALL_MS,
  });
  let isWhole = false;
  try {
    const walked = await work(bench);
    isWhole = walked.failure === null;
    return walked;
  } finally {
    const closed = leave(bench);
    await (isWhole ? closed : closed.catch(() => undefined)); // the server may be no more
  }
}

/** A look at the tree. */
interface Walked {
  /** When the last file was known. */
  readonly known: Footprint;
  readonly descriptorsMax: number;
  readonly filesKnown: number;
  readonly seconds: number;
  readonly failure: string | null;
}

function walkTree(bench: FsBench, server: Server, files: number): Walked {
  let known = treeFootprint(server.pid);
  let [descriptorsMax, filesKnown] = [known.descriptors, 0];
  let failure: string | null = null;
  const startMs = performance.now();
  while (filesKnown < files && failure === null) {
    const here = Math.min(FILES_PER_FOLDER, files - filesKnown);
    failure = walkFolder(bench, `tree/d${filesKnown / FILES_PER_FOLDER}`, here);
    if (failure === null) filesKnown += here;
    else failure += `\n${server.logTail}`;
    if (failure === null) known = treeFootprint(server.pid);
    descriptorsMax = Math.max(descriptorsMax, known.descriptors);
  }
  const seconds = (performance.now() - startMs) / 1000;
  return { known, descriptorsMax, filesKnown, seconds, failure };
}

/** What a guest asks for `ls -l`, and for opening files by name; how it failed, or null. */
function walkFolder(bench: FsBench, path: string, count: number): string | null {
  try {
    const list = bench.run({ op: 'readdirplus', path, depth: 1, operations: 1 });
    if (list.firstError !== null) return `READDIRPLUS ${path}: ${list.firstError}`;
    const found = bench.run({ op: 'lookup', path, count, depth: DEPTH, operations: count });
    return found.firstError === null ? null : `LOOKUP in ${path}: ${found.firstError}`;
  } catch (error) {
    return errorMessage(error);
  }
}

const COLUMNS: readonly Column[] = [
  { title: 'server', align: 'left' },
  { title: 'limits', align: 'left' },
  ...[
    ...['files known', 's', 'idle MiB', 'known MiB', 'bytes a file', 'at most MiB'],
    ...['forgotten MiB', 'gone MiB', 'descriptors', 'then', 'with the kernel MiB'],
  ].map((title) => ({ title, align: 'right' as const })),
];
const NAMES: Readonly<Record<MemoryServer, string>> = {
  ours: 'vhost-user',
  prefer: 'virtiofsd, file handles',
  never: 'virtiofsd, descriptors',
};

function rowOf(
  name: MemoryServer,
  nofile: number | null,
  seen: MemorySeen,
  plan: MemoryPlan,
): string[] {
  const { idle, known, forgotten, gone, filesKnown, groupPeakBytes } = seen;
  const mib = (bytes: number): string => (bytes / MIB).toFixed(0);
  const each = (known.bytes - idle.bytes) / filesKnown;
  return [
    NAMES[name],
    nofile === null ? 'none' : `${nofile}, ${mib(plan.memoryBytes)} MiB`,
    String(filesKnown) + (seen.failure === null ? '' : ', failed'),
    seen.seconds.toFixed(1),
    mib(idle.bytes),
    mib(known.bytes),
    filesKnown === 0 ? '-' : each.toFixed(0),
    mib((gone ?? forgotten).peakBytes),
    mib(forgotten.bytes),
    gone === null ? '-' : mib(gone.bytes),
    String(seen.descriptorsMax),
    String((gone ?? forgotten).descriptors),
    groupPeakBytes === null ? '-' : mib(groupPeakBytes),
  ];
}
