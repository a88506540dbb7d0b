/**
 * Devices in their sandboxes with an attacker inside, for the tests that try to get out.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RunningProgram } from './program.ts';
import type { StartOptions } from './program.ts';
import { sandboxAttempts } from './sandbox-attempts.ts';
import type { Ability, Attempt, Targets } from './sandbox-attempts.ts';
import type { BreakerReport } from './sandbox-breaker.ts';

const BREAKER: string = fileURLToPath(new URL('./sandbox-breaker.js', import.meta.url));
const IMAGE_BYTES = 1 << 20;

/** A device as users start it, and which ways out it needs itself. */
export interface Room {
  readonly args: readonly string[];
  readonly has: readonly Ability[];
}

/** What an attacker found, and what the log says of the sandbox. */
export interface RoomReport extends BreakerReport {
  readonly sandbox: string;
}

/** A folder with what devices serve, and with something that none of them has to do with. */
export class Rooms {
  readonly folder: string;
  readonly targets: Targets;
  #sockets = 0;

  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), 'vhu-sandbox-'));
    this.targets = { folder: join(this.folder, 'outside'), pid: process.pid };
    for (const name of ['outside', 'share', 'run']) {
      mkdirSync(join(this.folder, name));
      chmodSync(join(this.folder, name), 0o777);
    }
    chmodSync(this.folder, 0o755);
    const there = join(this.targets.folder, 'there');
    writeFileSync(there, 'secret');
    chmodSync(there, 0o666); // so that nobody can do with it what root can
    const image = join(this.folder, 'disk.img');
    writeFileSync(image, '');
    truncateSync(image, IMAGE_BYTES);
    chmodSync(image, 0o666);
    const devices = ['blk', 'rng'].map((type) => ({
      ...{ type, name: type, 'socket-path': join(this.folder, 'run', `run-${type}.sock`) },
      ...(type === 'blk' ? { image } : {}),
    }));
    writeFileSync(join(this.folder, 'run.yaml'), JSON.stringify({ devices }));
  }

  /** All devices, by what they are called in messages. */
  all(): Readonly<Record<string, Room>> {
    const { folder } = this;
    const uds = ['--uds-path', join(folder, 'run/v')];
    const port = ['--forward', 'guest:80=tcp:127.0.0.1:8080'];
    return {
      blk: { args: ['blk', join(folder, 'disk.img')], has: [] },
      rng: { args: ['rng'], has: [] },
      console: { args: ['console', '--pty'], has: [] },
      fs: { args: ['fs', join(folder, 'share')], has: ['folder'] },
      'fs, read-only': { args: ['fs', join(folder, 'share'), '--readonly'], has: [] },
      'fs by Landlock': {
        args: ['fs', join(folder, 'share'), '--sandbox', 'landlock'],
        has: ['folder'],
      },
      'fs in memory': { args: ['fs', '--memory', '1M', '--tag', 'm'], has: [] },
      vsock: { args: ['vsock', ...uds], has: ['connections'] },
      'vsock with a port': { args: ['vsock', ...port], has: ['connections', 'internet'] },
      run: { args: ['run', join(folder, 'run.yaml')], has: [] },
    };
  }

  /** Starts a device with the attacker inside; it is the caller's to end. */
  start(args: readonly string[], options: StartOptions = {}): RunningProgram {
    this.#sockets++;
    const path = join(this.folder, 'run', `${String(this.#sockets)}.sock`);
    const socket = args[0] === 'run' ? [] : ['--socket-path', path];
    return new RunningProgram([...args, ...socket, '--log-format', 'json'], {
      ...options,
      file: BREAKER,
      env: { ...options.env, VHU_BREAKER_TARGETS: JSON.stringify(this.targets) },
    });
  }

  /** Serves a device, tries each way out, and ends the device well. */
  async breakOut(args: readonly string[], options: StartOptions = {}): Promise<RoomReport> {
    const program = this.start(args, options);
    try {
      const isShut = !args.includes('none');
      const ready = isShut ? /"event":"sandbox","msg":"([^"]*)"/ : /"event":"listening"/;
      const [, sandbox = ''] = await program.says(ready);
      program.child.kill('SIGUSR2');
      const [, report = ''] = await program.says(/^BREAKER (.*)\n/m);
      return { ...(JSON.parse(report) as BreakerReport), sandbox };
    } finally {
      program.child.kill('SIGTERM');
      const { code, stderr } = await program.ended;
      assert.equal(code, 0, stderr);
    }
  }

  /** Tries each way out of a device; each has to be shut. Returns how many were tried. */
  async expectShut(name: string, { args, has }: Room, options: StartOptions = {}): Promise<number> {
    const attempts = sandboxAttempts(this.targets);
    const { main, worker, pool, sandbox } = await this.breakOut(args, options);
    // The log may say why there is no mount namespace.
    const isNamespace = /(?<!no )mount namespace/.test(sandbox);
    let shut = 0;
    for (const [thread, outcomes] of Object.entries({ main, worker })) {
      assert.equal(outcomes.length, attempts.length);
      attempts.forEach((attempt, i) => {
        const wanted = answerOf(attempt, isNamespace ? [...has, 'namespace'] : has);
        if (wanted === null) return;
        assert.equal(outcomes[i], wanted, `${name}, ${thread}: ${attempt.name}`);
        shut++;
      });
    }
    const sockets = has.includes('internet') ? 'ok' : 'EPERM';
    assert.deepEqual(pool, [isNamespace ? 'ENOENT' : 'EACCES', sockets], `${name}, pool`);
    return shut + pool.length;
  }

  close(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** What the sandbox of a device that has this answers; null: it is open. */
function answerOf(attempt: Attempt, has: readonly Ability[]): string | null {
  if (has.includes('namespace') && attempt.shutInNamespace !== undefined) {
    // A filter is asked before names are looked up.
    const isFiltered = attempt.shut === 'EPERM' && !has.includes(attempt.openFor ?? 'namespace');
    if (!isFiltered && attempt.openFor !== 'namespace') return attempt.shutInNamespace;
  }
  if (attempt.openFor !== undefined && has.includes(attempt.openFor)) return null;
  const inInternet = has.includes('internet') ? attempt.shutInInternet : undefined;
  return inInternet ?? attempt.shut;
}
