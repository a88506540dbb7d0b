/**
 * What a server takes while a guest walks a million files: `npm run bench -- fs-walk [options]`.
 * A Linux guest stats every file of a tree, then its kernel is told to forget them all; memory and
 * descriptors of the server are looked at each second.
 *
 * @module
 */
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { runGuestOrThrow } from '../../test/guest/qemu.ts';
import { findPeers, missingPeers } from '../../test/peers/setup.ts';
import type { Peers } from '../../test/peers/setup.ts';
import { optionError } from '../plan.ts';
import { treePids, treeResidentBytes } from '../proc.ts';
import { processError } from '../process.ts';
import { Server } from '../server.ts';
import type { ServerPlan } from '../server.ts';
import { checkSharedWithPeer, ourEntry, peerCache, positive, withFolder } from '../site.ts';
import { TAGS, ourFsPlan, peerFsPlan } from './servers.ts';
import type { Side } from './result.ts';

const HELP = `usage: npm run bench -- fs-walk [options]

Memory and descriptors of a server while an emulated guest looks at every file of a folder, and
after its kernel has forgotten them, and when it is gone. The folder is in /dev/shm. A million files
take some minutes.

  --server NAME      ours or theirs (virtiofsd); both, one after the other, by default
  --files N          files, a thousand in a folder (1000000)
  --walks N          walks, one after the other (1)
  --guest-mb N       the guest's memory (3072: it can know all files at the same time)
  --nofile N         the most descriptors that the server may have (prlimit)
  --cache MODE       auto or never (auto)
`;

const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  server: { type: 'string' },
  files: { type: 'string', default: '1000000' },
  walks: { type: 'string', default: '1' },
  'guest-mb': { type: 'string', default: '3072' },
  nofile: { type: 'string' },
  cache: { type: 'string', default: 'auto' },
} as const;

const FILES_PER_FOLDER = 1000;
const FILES_MAX = 10_000_000;
const SAMPLE_MS = 1000;
const GONE_MS = 5000;
const TIMEOUT_MS = 3_600_000;
const MIB = 2 ** 20;

/** What is asked for. */
interface WalkPlan {
  readonly sides: readonly Side[];
  readonly files: number;
  readonly walks: number;
  readonly guestMb: number;
  readonly nofile: number | null;
  readonly cache: 'auto' | 'never';
}

/** A look at the server. */
interface Look {
  readonly bytes: number;
  readonly descriptors: number;
}

/** What was seen of one server. */
interface Footprint {
  /** Before the guest's first request. */
  readonly idle: Look;
  /** The most of each, at any time. */
  readonly peak: Look;
  /** When the guest's kernel knew most. */
  readonly walked: Look;
  /** When it had forgotten. */
  readonly forgotten: Look;
  /** Some seconds after the guest's end; null: the server has ended, too. */
  readonly gone: Look | null;
  /** What the guest said: `files`, `known`, `left` (inodes), `seconds`. */
  readonly values: ReadonlyMap<string, string>;
}

/** Runs it with what stands behind `fs-walk` on the command line; returns the exit status. */
export async function fsWalkMain(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({ args: [...args], options: OPTIONS });
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const plan = walkPlan(values);
  const search = findPeers();
  if (search.peers === undefined) throw processError(missingPeers(search));
  const { peers } = search;
  await withFolder(async (folder) => {
    const peerRoot = `${peerCache()}/forky`;
    checkSharedWithPeer(peerRoot, folder);
    const shared = `${folder}/share`;
    makeTree(`${shared}/tree`, plan.files);
    const ours = { entry: ourEntry(), extraArgs: [], nodeArgs: [], posix: false };
    for (const side of plan.sides) {
      const site = { folder, shared, peerRoot };
      const { cache } = plan;
      const server = side === 'ours' ? ourFsPlan(cache, site, ours) : peerFsPlan(cache, site);
      print(server.name, plan, await walk(peers, limited(server, plan.nofile), side, plan));
    }
  });
  return 0;
}

function walkPlan(
  values: ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>['values'],
): WalkPlan {
  const { server, cache } = values;
  if (server !== undefined && server !== 'ours' && server !== 'theirs') {
    throw optionError(`--server ${server}: ours or theirs`);
  }
  if (cache !== 'auto' && cache !== 'never') throw optionError(`--cache ${cache}: auto or never`);
  const files = Number(values.files);
  if (!(files > 0 && files <= FILES_MAX)) throw optionError(`--files ${values.files}: up to 10^7`);
  return {
    sides: server === undefined ? ['ours', 'theirs'] : [server],
    files,
    walks: positive(values.walks, '--walks') ?? 1,
    guestMb: positive(values['guest-mb'], '--guest-mb') ?? 0,
    nofile: positive(values.nofile, '--nofile'),
    cache,
  };
}

function makeTree(root: string, count: number): void {
  for (let made = 0; made < count; made += FILES_PER_FOLDER) {
    const below = `${root}/folder-${made / FILES_PER_FOLDER}`;
    mkdirSync(below, { recursive: true });
    const here = Math.min(FILES_PER_FOLDER, count - made);
    for (let i = 0; i < here; i++) closeSync(openSync(`${below}/file-${i}`, 'w'));
  }
}

/** The same server with a hard limit on its descriptors. */
function limited(plan: ServerPlan, nofile: number | null): ServerPlan {
  if (nofile === null) return plan;
  const { file, args } = plan.command;
  const limit = `--nofile=${nofile}:${nofile}`;
  return { ...plan, command: { ...plan.command, file: 'prlimit', args: [limit, file, ...args] } };
}

/** Looks at each entry as it is read, as the kernel's READDIRPLUS hopes: find(1) does it later. */
const WALK = `import os, sys
def walk(path):
    count = 0
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False): count += walk(entry.path)
            elif entry.stat(follow_symlinks=False).st_size == 0: count += 1
    return count
print(walk(sys.argv[1]))
`;

/** The guest's part. A line `@key=value` is heard on this side at once. */
function script(tag: string, walks: number): string {
  const known = "awk '/^fuse_inode/ { print $2 }' /proc/slabinfo";
  return `set -eu
seconds() { cut -d' ' -f1 /proc/uptime; }
mount -t virtiofs ${tag} /mnt
cat >/tmp/walk.py <<'PYTHON'
${WALK}PYTHON
since=$(seconds)
for walk in $(seq ${walks}); do
  python3 /tmp/walk.py /mnt/tree >/tmp/count
done
echo "@seconds=$(awk "BEGIN { print $(seconds) - $since }")"
echo "@files=$(cat /tmp/count)"
echo "@known=$(${known})"
echo 2 >/proc/sys/vm/drop_caches
last=-1
until [ "$(${known})" = "$last" ]; do last=$(${known}); sleep 2; done
echo "@left=$last"
sleep 3
`;
}

async function walk(
  peers: Peers,
  serverPlan: ServerPlan,
  side: Side,
  plan: WalkPlan,
): Promise<Footprint> {
  const server = await Server.start(serverPlan);
  const folder = mkdtempSync('/tmp/vhost-user-bench-');
  const idle = look(server.pid);
  let peak = idle;
  let walked = idle;
  const sample = (): Look => {
    const now = look(server.pid);
    peak = {
      bytes: Math.max(peak.bytes, now.bytes),
      descriptors: Math.max(peak.descriptors, now.descriptors),
    };
    return now;
  };
  let forgotten = idle;
  const timer = setInterval(() => {
    if (server.running) forgotten = sample();
  }, SAMPLE_MS);
  try {
    const { values } = await runGuestOrThrow({
      ...{ peers, qemu: peers.qemu10, folder, tools: true, memory: 'memfd' },
      shares: [{ socketPath: serverPlan.socketPath, tag: TAGS[side] }],
      script: script(TAGS[side], plan.walks),
      memoryMb: plan.guestMb,
      timeoutMs: TIMEOUT_MS,
      onLine: (line) => {
        if (line.startsWith('@known=')) walked = sample();
        if (line.startsWith('@left=')) forgotten = sample();
      },
    });
    if (Number(values.get('files')) !== plan.files) {
      throw processError(`the guest saw ${values.get('files') ?? 'no'} files of ${plan.files}`);
    }
    await sleep(GONE_MS);
    const gone = server.running ? look(server.pid) : null;
    return { idle, peak, walked, forgotten, gone, values };
  } finally {
    clearInterval(timer);
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Memory without the guest's, of the process that serves, and descriptors of all. */
function look(pid: number): Look {
  const descriptors = treePids(pid).reduce((most, each) => Math.max(most, countFds(each)), 0);
  return { bytes: treeResidentBytes(pid), descriptors };
}

function countFds(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return 0; // it has ended
  }
}

function print(name: string, plan: WalkPlan, seen: Footprint): void {
  const { idle, peak, walked, forgotten, gone, values } = seen;
  const text = ({ bytes, descriptors }: Look): string =>
    `${(bytes / MIB).toFixed(0)} MiB, ${descriptors} descriptors`;
  const known = Number(values.get('known'));
  const each = known > 0 ? (walked.bytes - idle.bytes) / known : 0;
  const number = (key: string): string => values.get(key) ?? '?';
  process.stdout.write(
    `${name}, cache=${plan.cache}, a guest of ${plan.guestMb} MiB` +
      `${plan.nofile === null ? '' : `, at most ${plan.nofile} descriptors`}, ` +
      `${plan.walks} walk(s) of ${number('files')} files in ${number('seconds')} s\n` +
      `  idle                                ${text(idle)}\n` +
      `  at most                             ${text(peak)}\n` +
      `  the guest knows ${number('known').padStart(8)}            ${text(walked)}, ` +
      `${each.toFixed(0)} bytes for each\n` +
      `  the guest has forgotten but ${number('left').padStart(7)} ${text(forgotten)}\n` +
      `  the guest is gone                   ${gone === null ? 'so is the server' : text(gone)}\n`,
  );
}
