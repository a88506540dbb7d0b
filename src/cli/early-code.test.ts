/**
 * Which flags V8 gets, and that it knows them.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { earlyCodeFlags } from './early-code.ts';

describe('code that is compiled early', () => {
  it('is asked for by flags that this V8 knows', () => {
    const flags = earlyCodeFlags(process.versions.v8);
    const set = (flag: string): string =>
      spawnSync(process.execPath, [
        '-e',
        `require('node:v8').setFlagsFromString(${JSON.stringify(flag)})`,
      ]).stderr.toString();
    assert.match(set('--no-such-flag'), /unrecognized/);
    for (const flag of flags) assert.equal(set(flag), '', flag);
  });

  it('has flags of its own for a V8 that counts bytes of bytecode', () => {
    assert.deepEqual(earlyCodeFlags('11.3.244.8-node.33'), [
      '--interrupt-budget=3000',
      '--minimum-invocations-after-ic-update=20',
    ]);
    assert.notDeepEqual(earlyCodeFlags('12.4.254.21-node.33'), earlyCodeFlags('11.3.244.8'));
  });
});
