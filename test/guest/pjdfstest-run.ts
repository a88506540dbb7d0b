/**
 * Runs pjdfstest, the POSIX conformance suite, in a guest on a shared folder, and says which cases
 * failed and why. Cases that want a read-only file system run by themselves at the end: a file that
 * an earlier case left open keeps the share from becoming read-only.
 *
 * @module
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { startFsServer } from '../peers/servers.ts';
import type { FsServerOptions } from '../peers/servers.ts';
import { PRELUDE } from './blk-scripts.ts';
import { runGuestOrThrow } from './qemu.ts';

const TAG = 'share';
const TIMEOUT_MS = 900_000; // some 40 s on an idle machine
const COLOURS = /\u001b\[[\d;]*m/g;

/** What to run the suite on. */
export interface ConformanceOptions extends Pick<
  FsServerOptions,
  'peers' | 'cache' | 'writeback' | 'host' | 'server' | 'options'
> {
  /** Only cases whose names have one of these texts. Default: all. */
  readonly patterns?: readonly string[];
}

/** What came of it. */
export interface ConformanceResult {
  readonly passed: number;
  /** Names of cases, each with what the suite said of it. */
  readonly failed: ReadonlyMap<string, string>;
  readonly skipped: ReadonlyMap<string, string>;
  readonly seconds: number;
}

/** Runs the suite, with extended attributes and access control lists where the host has them. */
export async function runConformance(options: ConformanceOptions): Promise<ConformanceResult> {
  const folder = mkdtempSync('/tmp/vhost-user-pjdfstest-');
  const sharedDir = join(folder, 'share');
  mkdirSync(sharedDir, { mode: 0o755 });
  const socketPath = join(folder, 'fs.sock');
  const rich = options.host !== 'posix' || options.server === 'virtiofsd';
  const served = { ...options, sharedDir, socketPath, tag: TAG, xattr: rich, posixAcl: rich };
  const server = await startFsServer(served);
  const lines: string[] = [];
  try {
    const guest = await runGuestOrThrow({
      peers: options.peers,
      qemu: options.peers.qemu10,
      folder,
      tools: true,
      memoryMb: 1_024,
      shares: [{ socketPath, tag: TAG }],
      script: guestScript(options.patterns ?? []),
      memory: options.host === 'posix' ? 'shm' : 'memfd',
      timeoutMs: TIMEOUT_MS,
      onLine: (line) => lines.push(line.replaceAll(COLOURS, '').trimEnd()),
    });
    return { ...resultOf(lines), seconds: guest.seconds };
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

function guestScript(patterns: readonly string[]): string {
  const wanted = patterns.map((pattern) => `'${pattern}'`).join(' ');
  const readOnly = patterns.length === 0 ? 'erofs' : '';
  const run = (remount: boolean, which: string): string => `cat >/tmp/suite.toml <<'TOML'
[features]
posix_fallocate = {}
rename_ctime = {}
stat_st_birthtime = {}
utime_now = {}
utimensat = {}
secondary_fs = "/tmp/other"
[settings]
naptime = 0.01
allow_remount = ${remount}
[dummy_auth]
entries = [["nobody", "nogroup"], ["tests", "tests"]]
TOML
pjdfstest -c /tmp/suite.toml -p /mnt/suite ${which} && status=0 || status=$?
[ $status -le 1 ] || fail "pjdfstest ended with $status"
`;
  return `${PRELUDE}
export RUST_BACKTRACE=0
mount -t virtiofs ${TAG} /mnt || fail "mount"
mkdir -p /mnt/suite /tmp/other
${run(false, wanted)}${readOnly === '' ? '' : run(true, readOnly)}`;
}

/** Reads lines `name::case   ok`, and what is indented below a case that is not. */
function resultOf(lines: readonly string[]): Omit<ConformanceResult, 'seconds'> {
  const passed = new Set<string>();
  const failed = new Map<string, string>();
  const skipped = new Map<string, string>();
  for (const [i, line] of lines.entries()) {
    const match = /^([a-z\d_]+(?:::\w+)+)\s+(ok|FAILED|skipped)$/.exec(line);
    const [, name = '', outcome] = match ?? [];
    const reason = (lines[i + 1] ?? '').trim();
    if (outcome === 'ok') passed.add(name);
    if (outcome === 'FAILED') failed.set(name, reason);
    if (outcome === 'skipped') skipped.set(name, reason);
  }
  for (const name of [...passed, ...failed.keys()]) skipped.delete(name); // ran in the second part
  return { passed: passed.size, failed, skipped };
}
