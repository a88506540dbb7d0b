/**
 * A back-end for tests, on a socket in a folder of its own, and what every session owes whatever
 * its front-end did: nothing is left behind, and the next front-end is served.
 *
 * @module
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VhostUserError, assert, errorCode } from '../util/index.ts';
import { startBackend } from '../backend/index.ts';
import type { Backend, Device } from '../backend/index.ts';
import type { VirtqueueFault } from '../virtqueue/index.ts';
import { expectNoLeak, holdings } from './leaks.ts';
import { MockFrontend } from './mock-frontend.ts';
import { MOCK_TIMEOUT_MS, sleep } from './mock-socket.ts';

const LOOK_MS = 1;

/** What a {@link TestBackend} was told by its events. */
export interface TestReport {
  /** Messages that were refused, in order. */
  readonly refused: Error[];
  /** Rings that were broken. */
  readonly faults: { readonly queueIndex: number; readonly fault: VirtqueueFault }[];
  /** How sessions ended: an orderly one with null. */
  readonly ends: (Error | null)[];
  readonly log: string[];
}

/** What a test does in a session. What it gives to `keep` is closed after the front-end. */
export type TestConversation = (
  frontend: MockFrontend,
  keep: <T extends { close(): void }>(closer: T) => T,
) => Promise<void>;

/**
 * See the module.
 *
 * ```ts
 * const served = await TestBackend.start(new EchoDevice());
 * const { refused } = await served.session(async (frontend) => {
 *   await frontend.send('SET_VRING_NUM', { index: 99, num: 16 });
 * });
 * console.log(refused.map(({ code }) => code)); // [ 'ERR_VHU_QUEUE_INDEX' ]
 * await served.close();
 * ```
 */
export class TestBackend<D extends Device = Device> {
  readonly device: D;
  readonly backend: Backend;
  readonly socketPath: string;
  readonly #folder: string;
  #report: TestReport;

  private constructor(device: D, backend: Backend, folder: string, report: TestReport) {
    this.device = device;
    this.backend = backend;
    this.socketPath = backend.address;
    this.#folder = folder;
    this.#report = report;
  }

  /** Serves a device. */
  static async start<D extends Device>(device: D): Promise<TestBackend<D>> {
    const folder = mkdtempSync(join(tmpdir(), 'vhu-'));
    const report = newReport();
    const path = join(folder, 's');
    let served: TestBackend<D> | null = null;
    const now = (): TestReport => served?.report ?? report;
    const backend = await startBackend(
      device,
      { kind: 'listen', path },
      {
        refused: (error) => now().refused.push(error),
        fault: (queueIndex, fault) => now().faults.push({ queueIndex, fault }),
        disconnected: (reason) => now().ends.push(reason),
        log: (_level, text) => now().log.push(text),
        failed: (error) => now().log.push(`failed: ${String(error)}`),
      },
    );
    served = new TestBackend(device, backend, folder, report);
    return served;
  }

  /** What was told since the start, or since the last session began. */
  get report(): TestReport {
    return this.#report;
  }

  /** A connection; at most one is served at a time. */
  connect(): Promise<MockFrontend> {
    return MockFrontend.connect(this.socketPath);
  }

  /**
   * Lets a test talk on a connection of its own, and then makes sure that
   * - the connection still answers, unless the test says that it has to end;
   * - another front-end is served afterwards;
   * - no fd and no mapping is left behind.
   * Returns what was told meanwhile.
   * @throws VhostUserError `ERR_VHU_LEAK`, `ERR_VHU_MOCK_…`, `ERR_VHU_TEST_SESSION`.
   */
  async session(
    talk: TestConversation,
    expected: 'goes on' | 'ends' = 'goes on',
  ): Promise<TestReport> {
    await this.#over();
    const before = holdings();
    const report = newReport();
    this.#report = report;
    const closers: { close(): void }[] = [];
    const frontend = await this.connect();
    try {
      await talk(frontend, (closer) => {
        closers.push(closer);
        return closer;
      });
      if (expected === 'ends') await frontend.expectClosed();
      else await frontend.askNumber('GET_FEATURES');
    } finally {
      frontend.close();
      for (const closer of closers.reverse()) closer.close();
    }
    await this.#until('the session to end', () => report.ends.length > 0);
    this.#report = newReport();
    const next = await this.connect();
    try {
      await next.negotiate();
      assert(next.negotiated.features !== 0n, 'the next front-end is offered features');
    } finally {
      next.close();
    }
    await this.#over();
    await expectNoLeak(before);
    return report;
  }

  /** Closes the back-end and removes its folder; may be called again. */
  async close(): Promise<void> {
    await this.backend.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #over(): Promise<void> {
    await this.#until('the session before to end', () => !this.backend.connected);
  }

  async #until(what: string, done: () => boolean): Promise<void> {
    const endMs = performance.now() + MOCK_TIMEOUT_MS;
    while (!done()) {
      if (performance.now() > endMs) {
        throw new VhostUserError(
          'ERR_VHU_TEST_SESSION',
          `test: waited ${String(MOCK_TIMEOUT_MS)} ms for ${what}`,
        );
      }
      await sleep(LOOK_MS);
    }
  }
}

/** The codes of errors, for a test to compare. */
export function codesOf(errors: readonly unknown[]): (string | undefined)[] {
  return errors.map(errorCode);
}

function newReport(): TestReport {
  return { refused: [], faults: [], ends: [], log: [] };
}
