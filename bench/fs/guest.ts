/**
 * The benchmark in a Linux guest: it has the folder twice, once by each server, and goes from one
 * to the other for each line. Each boot is a round, with servers that were started for it.
 *
 * @module
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { runGuestOrThrow } from '../../test/guest/qemu.ts';
import { findPeers, missingPeers } from '../../test/peers/setup.ts';
import type { Peers } from '../../test/peers/setup.ts';
import { OthersMeter } from '../others.ts';
import { cpuBetweenNs, sampleTree } from '../proc.ts';
import type { CpuSample } from '../proc.ts';
import { processError } from '../process.ts';
import type { Progress } from '../progress.ts';
import { Server } from '../server.ts';
import type { ServerPlan } from '../server.ts';
import { emptyFresh } from './files.ts';
import { guestRow, guestScript, parseGuestLine, turns } from './guest-script.ts';
import type { GuestLine, GuestWord } from './guest-script.ts';
import { together } from './guest-turns.ts';
import type { Measured } from './guest-turns.ts';
import { CACHES } from './plan.ts';
import type { CacheMode } from './plan.ts';
import { SIDES, resultOf } from './result.ts';
import type { FsEffort, FsReport, Side } from './result.ts';
import { TAGS } from './servers.ts';

const ROUND_MS_MAX = 600_000;

/** What is measured, and how; the report has what there is already. */
export interface GuestBenchPlan {
  /** A folder on tmpfs. */
  readonly folder: string;
  /** The one in it that is shared. */
  readonly shared: string;
  readonly effort: FsEffort;
  /** Lines that are wanted in a cache mode. */
  readonly lines: (cache: CacheMode) => readonly GuestLine[];
  readonly serverPlan: (cache: CacheMode, side: Side) => ServerPlan;
  /** Called when there is something new in the report. */
  readonly save: () => void;
}

/** Boots that are left to do in a cache mode. */
function roundsLeft(plan: GuestBenchPlan, report: FsReport, cache: CacheMode): number {
  const counts = plan.lines(cache).flatMap((line) => {
    const { ours, theirs } = resultOf(report, guestRow(cache, line));
    return [ours.length, theirs.length];
  });
  return counts.length === 0 ? 0 : Math.max(0, plan.effort.guestRounds - Math.min(...counts));
}

/** Steps of the progress that `runFsGuests` makes. */
export function guestSteps(plan: GuestBenchPlan, report: FsReport): number {
  return CACHES.reduce((sum, cache) => {
    const measured = plan.lines(cache).flatMap((line) => turns(line, 'ours')).length;
    return sum + roundsLeft(plan, report, cache) * (1 + measured);
  }, 0);
}

/** Runs it. What was measured before a failure is in the report, by whole rounds. */
export async function runFsGuests(
  plan: GuestBenchPlan,
  report: FsReport,
  progress: Progress,
): Promise<void> {
  const left = (cache: CacheMode): number => roundsLeft(plan, report, cache);
  if (CACHES.every((cache) => left(cache) === 0)) return;
  const search = findPeers();
  if (search.peers === undefined) throw processError(missingPeers(search));
  for (const cache of CACHES) {
    for (let round = plan.effort.guestRounds - left(cache); left(cache) > 0; round++) {
      const first: Side = round % 2 === 0 ? 'ours' : 'theirs';
      progress.group(`guest, cache=${cache}: round ${round + 1} of ${plan.effort.guestRounds}`);
      progress.step('boot');
      await new GuestRound(plan, cache, report, progress).run(search.peers, first);
      plan.save();
    }
  }
}

/** One boot. */
class GuestRound {
  readonly #plan: GuestBenchPlan;
  readonly #cache: CacheMode;
  readonly #report: FsReport;
  readonly #progress: Progress;
  readonly #servers = new Map<Side, Server>();
  readonly #measured: Measured[] = [];
  #began: { readonly id: string; readonly cpu: CpuSample; readonly others: OthersMeter } | null =
    null;
  #failure: Error | null = null;

  constructor(plan: GuestBenchPlan, cache: CacheMode, report: FsReport, progress: Progress) {
    this.#plan = plan;
    this.#cache = cache;
    this.#report = report;
    this.#progress = progress;
  }

  async run(peers: Peers, first: Side): Promise<void> {
    const { shared, serverPlan, effort } = this.#plan;
    const lines = this.#plan.lines(this.#cache);
    emptyFresh(shared);
    const folder = mkdtempSync('/tmp/vhost-user-bench-');
    try {
      mkdirSync(folder, { recursive: true });
      for (const side of SIDES) {
        this.#servers.set(side, await Server.start(serverPlan(this.#cache, side)));
      }
      await runGuestOrThrow({
        peers,
        qemu: peers.qemu10,
        folder,
        disks: [],
        shares: SIDES.map((side) => ({
          tag: TAGS[side],
          socketPath: serverPlan(this.#cache, side).socketPath,
        })),
        script: guestScript(lines, first, { seconds: effort.guestSeconds }),
        memory: 'memfd',
        preallocate: true, // else who is measured first in a line takes the faults of both
        cpus: 1, // so that the server has a CPU of its own where there are two
        timeoutMs: ROUND_MS_MAX + lines.length * effort.guestSeconds * 16_000,
        onLine: (line) => this.#hear(line),
      });
    } finally {
      for (const server of this.#servers.values()) await server.stop();
      rmSync(folder, { recursive: true, force: true });
    }
    if (this.#failure !== null) throw this.#failure;
    this.#keep(lines, first);
  }

  #hear(line: string): void {
    try {
      const word = parseGuestLine(line);
      if (word !== null) this.#take(word);
    } catch (error) {
      this.#failure ??= error as Error; // of the reader of the guest's console, who knows no better
    }
  }

  #take(word: GuestWord): void {
    const { pid } = this.#servers.get(word.side) as Server;
    if (word.what === 'begin') {
      this.#progress.step(`${word.side} ${word.id}`);
      this.#began = { id: word.id, others: new OthersMeter(), cpu: sampleTree(pid) };
      return;
    }
    const began = this.#began;
    if (began?.id !== word.id) throw processError(`the guest ended ${word.id}, and never began it`);
    const { side, id, count, ms } = word;
    const cpuNs = cpuBetweenNs(began.cpu, sampleTree(pid));
    this.#measured.push({ side, id, count, ms, cpuNs, othersCpus: began.others.othersCpus() });
    this.#began = null;
  }

  /** Puts a whole round into the report; a part of one would leave the sides with unlike counts. */
  #keep(lines: readonly GuestLine[], first: Side): void {
    for (const line of lines) {
      const result = resultOf(this.#report, guestRow(this.#cache, line));
      for (const side of SIDES) {
        const found = this.#measured.filter((each) => each.side === side && each.id === line.id);
        const wanted = turns(line, first).filter((each) => each === side).length;
        if (found.length !== wanted) {
          throw processError(`the guest measured ${line.id} ${found.length} times, not ${wanted}`);
        }
        result[side].push(together(found));
      }
    }
  }
}
