/**
 * Programs of tests: what they print and how they end is told, and none is left behind.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { runProgram, startProgram } from './process.ts';

const LOOK_MS = 10;
const MODULE = new URL('./process.js', import.meta.url).href;

/** Whether a process is there and is not only waiting for its parent to take note of its end. */
function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

async function untilGone(pid: number): Promise<void> {
  while (isAlive(pid)) await sleep(LOOK_MS); // the limit of the test file ends it otherwise
}

test('a program tells its lines and its end', async () => {
  const lines: string[] = [];
  const program = startProgram(['sh', '-c', 'echo one; printf "two\\r\\nthree"; exit 3'], {
    onLine: (line) => lines.push(line),
  });
  assert.deepEqual(await program.ended, { code: 3, signal: null });
  assert.deepEqual(lines, ['one', 'two', 'three']);
  assert.equal(program.output, 'one\ntwo\r\nthree');
});

test('a program that fails or takes too long is an error with its output', async () => {
  await assert.rejects(runProgram(['sh', '-c', 'echo why; exit 1']), /exit status 1:\nwhy/);
  await assert.rejects(runProgram(['sleep', '60'], { timeoutMs: 50 }), /signal SIGKILL/);
});

test('a killed program takes all that it started with it', async () => {
  let child = 0;
  const script = 'trap "" TERM; sleep 60 & echo $!; while true; do wait; done';
  const started = new Promise<void>((resolve) => {
    const program = startProgram(['sh', '-c', script], {
      onLine: (line) => {
        child = Number(line);
        resolve(program.stop('SIGKILL').then(() => undefined));
      },
    });
  });
  await started;
  await untilGone(child);
});

test('the programs of a killed test end with it', async () => {
  const source = `import { startProgram } from '${MODULE}';
    console.log(startProgram(['sleep', '60']).pid);
    setTimeout(() => undefined, 60_000);`;
  const parent = spawn(process.execPath, ['--input-type=module', '--eval', source], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [text] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(text.toString());
  assert.ok(isAlive(pid));
  // The program takes its place in a moment: what is started first asks for its end with ours.
  while (readFileSync(`/proc/${pid}/comm`, 'utf8') !== 'sleep\n') await sleep(LOOK_MS);
  parent.kill('SIGKILL');
  await untilGone(pid);
});
