/**
 * Where a benchmark ran: what its figures depend on.
 *
 * @module
 */
import { existsSync, readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { runProcess } from './process.ts';
import type { Command } from './process.ts';
import { inPeerRoot } from './server.ts';

/** Facts for the report. */
export interface MachineFacts {
  readonly date: string;
  readonly commit: string;
  readonly kernel: string;
  readonly cpu: string;
  readonly cpuCount: number;
  readonly memoryGiB: number;
  readonly node: string;
  readonly v8: string;
  readonly qemu: string;
  readonly fio: string;
  /** The version of the peer, where it is not QEMU. */
  readonly peer?: string;
  /** What the files were on, where that was no memory: `ext4`. */
  readonly fileSystem?: string;
  /** One-minute load average as the benchmark began. */
  readonly load: number;
  /** CPUs that other processes kept busy as the benchmark began. */
  readonly busyCpus: number;
}

const BUSY_SAMPLE_MS = 500;
const VERSION_MS = 20_000;

/** Gathers the facts; what cannot be found out says so. */
export async function machineFacts(peerRoot: string): Promise<MachineFacts> {
  const firstLine = async (command: Command): Promise<string> => {
    try {
      return (await runProcess(command, VERSION_MS)).split('\n', 1)[0] ?? '';
    } catch {
      return 'unknown';
    }
  };
  const folder = import.meta.dirname;
  return {
    busyCpus: await busyCpus(),
    load: loadavg()[0] ?? 0,
    date: new Date().toISOString(),
    commit: await firstLine({
      file: 'git',
      args: ['-C', folder, 'describe', '--always', '--dirty'],
    }),
    kernel: release(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cpuCount: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    v8: process.versions.v8,
    qemu: await firstLine(inPeerRoot(peerRoot, 'qemu-storage-daemon', ['--version'])),
    fio: await firstLine({ file: 'fio', args: ['--version'] }),
  };
}

/** CPUs that were busy over the last moment, all processes together. */
export async function busyCpus(): Promise<number> {
  const before = busyMs();
  const startMs = performance.now();
  await sleep(BUSY_SAMPLE_MS);
  return (busyMs() - before) / (performance.now() - startMs);
}

function busyMs(): number {
  return cpus().reduce(
    (sum, { times }) => sum + times.user + times.nice + times.sys + times.irq,
    0,
  );
}

/** Whether the peer's root is there, with the two programs that are needed. */
export function peerIsInstalled(peerRoot: string): boolean {
  return ['qemu-storage-daemon', 'qemu-img'].every((name) =>
    existsSync(`${peerRoot}/usr/bin/${name}`),
  );
}

/** The file system that a folder is on, for a report; nothing for memory. */
export async function fileSystemOf(folder: string): Promise<Pick<MachineFacts, 'fileSystem'>> {
  const args = ['--noheadings', '--output', 'FSTYPE', '--target', folder];
  const name = (await runProcess({ file: 'findmnt', args }, VERSION_MS)).trim();
  return name === 'tmpfs' ? {} : { fileSystem: name };
}

/** Whether a folder is the same one in the peer's root: a file made in it is seen there. */
export function sharedWithPeer(peerRoot: string, path: string): boolean {
  try {
    return readFileSync(`${peerRoot}${path}`, 'utf8') === readFileSync(path, 'utf8');
  } catch {
    return false;
  }
}
