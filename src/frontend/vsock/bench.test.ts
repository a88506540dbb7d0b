/**
 * The benchmark's loops against our own device: what they count is what went through it.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { describe, it } from 'node:test';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expectNoLeak, holdings } from '../../testing/index.ts';
import { openVsock } from '../../devices/vsock/index.ts';
import { startBackend } from '../../backend/index.ts';
import type { VsockBenchOptions, VsockBenchResult } from './bench.ts';

const SUFFIX = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
const RUNS: readonly VsockBenchOptions[] = [
  { op: 'send', blockBytes: 4096, durationMs: 20 },
  { op: 'send', blockBytes: 65_536, durationMs: 20 },
  { op: 'receive', blockBytes: 4096, durationMs: 20 },
  { op: 'receive', blockBytes: 65_536, durationMs: 20 },
  { op: 'round-trip', durationMs: 20 },
  { op: 'connect', durationMs: 20 },
  { op: 'accept', durationMs: 20 },
];

/** A benchmark keeps its thread, and the control side of the device is here. */
async function inProcess(
  setup: object,
  runs: readonly VsockBenchOptions[],
): Promise<VsockBenchResult[]> {
  const url = new URL(`./bench${SUFFIX}`, import.meta.url).href;
  const text = `
    const { VsockBench } = await import(${JSON.stringify(url)});
    const bench = await VsockBench.open(${JSON.stringify(setup)});
    try {
      const results = ${JSON.stringify(runs)}.map((options) => bench.run(options));
      console.log(JSON.stringify(results));
    } catch (error) {
      console.log(JSON.stringify({ code: error.code }));
    }
    await bench.close();`;
  const args = ['--input-type=module', '--eval', text];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return JSON.parse(stdout) as VsockBenchResult[];
}

describe('VsockBench', () => {
  for (const rxDataBytes of [4096, 65_536]) {
    it(`measures all of its loads, with buffers of ${String(rxDataBytes)} bytes`, async () => {
      const before = holdings();
      const folder = mkdtempSync(join(tmpdir(), 'vhu-'));
      const [socketPath, udsPath] = [join(folder, 's'), join(folder, 'v')];
      const device = openVsock({ guestCid: 3, udsPath });
      const backend = await startBackend(device, { kind: 'listen', path: socketPath });
      try {
        const results = await inProcess({ socketPath, udsPath, rxDataBytes }, RUNS);
        for (const [at, result] of results.entries()) {
          const { op, blockBytes } = RUNS[at] as VsockBenchOptions;
          const moves = op === 'send' || op === 'receive';
          assert.ok(result.operations >= 1 && result.seconds > 0, op);
          assert.ok(Number.isInteger(result.operations), `${op}: whole blocks`);
          assert.equal(result.bytesPerSecond > 0, moves, op);
          assert.equal(result.latencyUs.p50 > 0, !moves, op);
          if (op === 'receive') {
            const least = Math.ceil(((blockBytes ?? 0) * result.operations) / rxDataBytes);
            assert.ok(result.packets >= least, `${String(result.packets)} packets`);
          }
        }
        assert.ok(!existsSync(`${udsPath}_8888`), 'the socket of the host is gone');
      } finally {
        await backend.close();
        rmSync(folder, { recursive: true });
      }
      await expectNoLeak(before);
    });
  }

  it('says that nothing listens for host programs', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vhu-'));
    const [socketPath, udsPath] = [join(folder, 's'), join(folder, 'v')];
    const device = openVsock({ guestCid: 3 });
    const backend = await startBackend(device, { kind: 'listen', path: socketPath });
    try {
      const setup = { socketPath, udsPath };
      const codeOf = async (op: 'connect' | 'accept'): Promise<unknown> =>
        inProcess(setup, [{ op, durationMs: 20 }]);
      assert.deepEqual(await codeOf('connect'), { code: 'ERR_VHU_VSOCK_BENCH' });
      assert.deepEqual(await codeOf('accept'), { code: 'ERR_VHU_SYSTEM' });
    } finally {
      await backend.close();
      rmSync(folder, { recursive: true });
    }
  });
});
