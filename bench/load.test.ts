/**
 * What the clients print, as figures.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseFio, parseQemuImg } from './load.ts';

describe('parseQemuImg', () => {
  it('finds the seconds', () => {
    const head = 'Sending 10000 read requests, 4096 bytes each, 4 in parallel (starting at …)';
    assert.equal(parseQemuImg(`${head}\nRun completed in 0.232 seconds.\n`), 0.232);
  });

  it('a run in no time took a millisecond', () => {
    assert.equal(parseQemuImg('Run completed in 0.000 seconds.'), 0.001);
  });

  it('an output without a time is an error that shows it', () => {
    assert.throws(() => parseQemuImg('Failed request: Input/output error\n'), {
      code: 'ERR_VHU_BENCH_PROCESS',
      message: /Input\/output error/,
    });
  });
});

describe('parseFio', () => {
  const idle = { total_ios: 0, runtime: 0 };
  const job = { error: 0, job_runtime: 500, usr_cpu: 20, sys_cpu: 60, write: idle };

  it('requests, seconds and CPU time of the direction, behind other text', () => {
    const read = { total_ios: 40_000, runtime: 500 };
    const text = `note: something\n${JSON.stringify({ jobs: [{ ...job, read }] })}`;
    const { requests, seconds, cpuUs } = parseFio(text, 'read');
    assert.deepEqual([requests, seconds], [40_000, 0.5]);
    assert.ok(Math.abs(cpuUs! - 10) < 1e-9, '400 ms for 40000 requests');
  });

  it('a job that failed is an error', () => {
    const text = JSON.stringify({ jobs: [{ ...job, error: 5, read: idle }] });
    assert.throws(() => parseFio(text, 'read'), { code: 'ERR_VHU_BENCH_PROCESS' });
    assert.throws(() => parseFio('{}', 'read'), { code: 'ERR_VHU_BENCH_PROCESS' });
  });
});
