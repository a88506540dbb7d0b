/**
 * The benchmark in a Linux guest, which has one vsock device: each boot measures one of the
 * servers, and boots alternate.
 *
 * @module
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { VsockHost } from '../../src/vsock/index.ts';
import { runGuestOrThrow } from '../../test/guest/qemu.ts';
import { servePort } from '../../test/guest/vsock-host.ts';
import { vsockPrograms } from '../../test/guest/vsock-program.ts';
import { findPeers, missingPeers } from '../../test/peers/setup.ts';
import type { Peers } from '../../test/peers/setup.ts';
import { OthersMeter } from '../others.ts';
import { cpuBetweenNs, sampleTree } from '../proc.ts';
import type { CpuSample } from '../proc.ts';
import { processError } from '../process.ts';
import type { Progress } from '../progress.ts';
import { Server } from '../server.ts';
import {
  ACCEPT_PORT,
  SERVE_PORT,
  WARM_UP,
  guestScript,
  lineOf,
  parseGuestLine,
} from './guest-script.ts';
import type { GuestEffort, GuestWord } from './guest-script.ts';
import { rowKey } from './plan.ts';
import type { VsockRow } from './plan.ts';
import { SIDES, resultOf } from './result.ts';
import type { Side, VsockReport, VsockRun } from './result.ts';
import type { VsockServerPlan } from './servers.ts';

const ROUND_MS_MAX = 300_000;

/** What is measured, and how. */
export interface GuestBenchPlan {
  readonly rows: readonly VsockRow[];
  /** Boots for each side. */
  readonly rounds: number;
  readonly effort: GuestEffort;
  readonly serverPlan: (side: Side) => VsockServerPlan;
  /** Called when there is something new in the report. */
  readonly save: () => void;
}

/** Steps of the progress that `runGuests` makes. */
export function guestSteps({ rows, rounds }: GuestBenchPlan): number {
  return rows.length === 0 ? 0 : rounds * 2 * (1 + rows.length);
}

/** Runs it. What was measured before a failure is in the report, by whole boots. */
export async function runGuests(
  plan: GuestBenchPlan,
  report: VsockReport,
  progress: Progress,
): Promise<void> {
  if (plan.rows.length === 0) return;
  const search = findPeers();
  if (search.peers === undefined) throw processError(missingPeers(search));
  for (let round = 1; round <= plan.rounds; round++) {
    for (const side of SIDES) {
      progress.group(`guest: round ${round} of ${plan.rounds}, ${side}`);
      progress.step('boot');
      const runs = await new GuestRound(plan, side, progress).run(search.peers);
      plan.rows.forEach((row, at) => resultOf(report, row)[side].push(runs[at] as VsockRun));
      plan.save();
    }
  }
}

/** One boot. */
class GuestRound {
  readonly #plan: GuestBenchPlan;
  readonly #progress: Progress;
  readonly #serverPlan: VsockServerPlan;
  readonly #runs = new Map<string, VsockRun>();
  #server: Server | null = null;
  #began: { readonly cpu: CpuSample; readonly others: OthersMeter } | null = null;
  #row: VsockRow | null = null; // that is being measured
  #failure: Error | null = null;

  constructor(plan: GuestBenchPlan, side: Side, progress: Progress) {
    this.#plan = plan;
    this.#progress = progress;
    this.#serverPlan = plan.serverPlan(side);
  }

  /** The runs of the plan's rows, in their order. */
  async run(peers: Peers): Promise<VsockRun[]> {
    const { rows, effort } = this.#plan;
    const { udsPath, socketPath } = this.#serverPlan;
    const folder = mkdtempSync('/tmp/vhost-user-bench-');
    const server = await Server.start(this.#serverPlan);
    this.#server = server;
    const failed = new AbortController();
    const keep = (error: unknown): void => {
      this.#failure ??= error as Error; // who reads the guest's console knows no better
      failed.abort(); // the guest would wait for what does not come any more
    };
    const served = await servePort(udsPath, SERVE_PORT, keep);
    try {
      await runGuestOrThrow({
        peers,
        qemu: peers.qemu10,
        folder,
        vsock: { socketPath },
        programs: await vsockPrograms(peers),
        bare: true,
        script: guestScript(rows, effort),
        memory: 'memfd',
        cpus: 1, // so that the server has a CPU of its own where there are two
        timeoutMs: ROUND_MS_MAX,
        signal: failed.signal,
        onLine: (line) => {
          try {
            this.#hear(line, keep);
          } catch (error) {
            keep(error);
          }
        },
      });
    } catch (error) {
      throw this.#failure ?? error;
    } finally {
      served.close();
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    }
    if (this.#failure !== null) throw this.#failure;
    return rows.map((row) => {
      const run = this.#runs.get(rowKey(row));
      if (run === undefined) throw processError(`the guest did not measure ${rowKey(row)}`);
      return run;
    });
  }

  #hear(line: string, keep: (error: unknown) => void): void {
    if (line.trim() === `@listening=${ACCEPT_PORT}`) this.#accept().catch(keep);
    const word = parseGuestLine(line);
    if (word === null) return;
    if (word.what === 'begin') this.#begin(word.at);
    else this.#end(word);
  }

  #begin(at: number): void {
    const { pid } = this.#server as Server;
    this.#row = this.#plan.rows[at] as VsockRow;
    this.#progress.step(rowKey(this.#row));
    this.#began = { others: new OthersMeter(), cpu: sampleTree(pid) };
  }

  #end({ at, ms }: Extract<GuestWord, { what: 'end' }>): void {
    const row = this.#plan.rows[at] as VsockRow;
    if (row.op === 'accept') return; // the host has measured it
    this.#keep(row, lineOf(row, this.#plan.effort).count, ms);
  }

  #keep(row: VsockRow, count: number, ms: number): void {
    const began = this.#began;
    if (began === null) throw processError('the guest ended what it never began');
    const { pid } = this.#server as Server;
    this.#runs.set(rowKey(row), {
      perSecond: (count / ms) * 1000,
      cpuUs: cpuBetweenNs(began.cpu, sampleTree(pid)) / 1000 / count,
      p50Us: row.op === 'round-trip' ? (ms * 1000) / count : null,
      othersCpus: began.others.othersCpus(),
    });
  }

  /** Connections of the host to the guest, one after the other. */
  async #accept(): Promise<void> {
    const row = this.#plan.rows.find(({ op }) => op === 'accept') as VsockRow;
    const measured = this.#row === row;
    const { count } = lineOf(row, measured ? this.#plan.effort : WARM_UP);
    const host = new VsockHost(this.#serverPlan.udsPath);
    const startMs = performance.now();
    for (let i = 0; i < count; i++) (await host.connect(ACCEPT_PORT)).destroy();
    if (measured) this.#keep(row, count, performance.now() - startMs);
  }
}
