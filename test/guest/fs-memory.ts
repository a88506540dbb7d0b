/**
 * What memory a server takes while a guest walks a million files, by hand, for ours and virtiofsd:
 * `node build/test/guest/fs-memory.js [FILES]`. Prints a line for each server.
 *
 * @module
 */
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { startFsServer } from '../peers/servers.ts';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import type { Peers } from '../peers/setup.ts';
import { TAG, start } from './fs-scripts.ts';
import { runGuestOrThrow } from './qemu.ts';

const FILES_PER_FOLDER = 1_000;
const SAMPLE_MS = 500;
const GUEST_MEMORY_MB = 3_072; // so that the guest may know all files at the same time
const TIMEOUT_MS = 3_600_000;

/** Two walks, each with the attributes of every file, and what the guest's kernel then knows. */
const WALK = `find /mnt/tree -type f -printf '%s\\n' | wc -l >/tmp/count
echo "@files=$(cat /tmp/count)"
echo "@first=$(seconds)"
find /mnt/tree -type f -printf '%s\\n' | wc -l >/tmp/count
echo "@second=$(seconds)"
echo "@inodes=$(awk '/^fuse_inode/ { print $2 }' /proc/slabinfo)"
`;

/** What was seen of one server. */
interface Footprint {
  readonly startMb: number;
  readonly peakMb: number;
  readonly endMb: number;
  readonly values: ReadonlyMap<string, string>;
}

const fileCount = Number(process.argv[2] ?? 1_000_000);
const search = await ensurePeers();
if (search.peers === undefined) throw new Error(missingPeers(search));
const folder = mkdtempSync('/tmp/vhost-user-fs-memory-');
try {
  makeTree(join(folder, 'share', 'tree'), fileCount);
  for (const server of ['ours', 'virtiofsd'] as const) {
    const { startMb, peakMb, endMb, values } = await walk(search.peers, server);
    const known = `${values.get('files') ?? '?'} files, ${values.get('inodes') ?? '?'} known`;
    const megabytes = `${startMb} MB idle, ${peakMb} MB at most, ${endMb} MB at the end`;
    const times = `at ${values.get('first') ?? '?'} and ${values.get('second') ?? '?'} s`;
    console.log(`${server}: ${megabytes}; ${known}; walked ${times}`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function makeTree(root: string, count: number): void {
  for (let made = 0; made < count; made += FILES_PER_FOLDER) {
    const below = join(root, `folder-${made / FILES_PER_FOLDER}`);
    mkdirSync(below, { recursive: true });
    const here = Math.min(FILES_PER_FOLDER, count - made);
    for (let i = 0; i < here; i++) closeSync(openSync(join(below, `file-${i}`), 'w'));
  }
}

async function walk(peers: Peers, which: 'ours' | 'virtiofsd'): Promise<Footprint> {
  const socketPath = join(folder, `${which}.sock`);
  const sharedDir = join(folder, 'share');
  const server = await startFsServer({ peers, sharedDir, socketPath, tag: TAG, server: which });
  const startMb = residentMb(server.pid);
  let peakMb = startMb;
  let endMb = startMb;
  const timer = setInterval(() => {
    const now = residentMb(server.pid);
    if (now > 0) endMb = now;
    peakMb = Math.max(peakMb, endMb);
  }, SAMPLE_MS);
  try {
    const { values } = await runGuestOrThrow({
      ...{ peers, qemu: peers.qemu10, folder, tools: true, memory: 'memfd' },
      ...{ shares: [{ socketPath, tag: TAG }], memoryMb: GUEST_MEMORY_MB, timeoutMs: TIMEOUT_MS },
      script: start() + WALK,
    });
    return { startMb, peakMb, endMb, values };
  } finally {
    clearInterval(timer);
    await server.stop();
  }
}

/**
 * Of a process and those that it started, without what it shares with QEMU: the guest's memory is
 * mapped, and counts as RssShmem. virtiofsd works in a child.
 */
function residentMb(pid: number): number {
  let kilobytes = 0;
  for (const each of [pid, ...childrenOf(pid)]) {
    const status = statusOf(each);
    for (const key of ['RssAnon', 'RssFile']) {
      kilobytes += Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
    }
  }
  return Math.round(kilobytes / 1024);
}

function childrenOf(pid: number): number[] {
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const children = all.map(Number).filter((each) => {
    return new RegExp(`^PPid:\\s+${pid}$`, 'm').test(statusOf(each));
  });
  return children.flatMap((child) => [child, ...childrenOf(child)]);
}

function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return ''; // it has ended
  }
}
