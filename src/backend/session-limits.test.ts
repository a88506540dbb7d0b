/**
 * A back-end that has no fd left: in a process of its own, with a limit that is soon reached.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createNotifier } from '../sys/index.ts';
import { MockFrontend } from '../testing/index.ts';

const ENDING = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
const TESTING = new URL(`../testing/index${ENDING}`, import.meta.url).href;
const FDS_MAX = 200;
/** The back-end's: how long it waits before it accepts again. */
const ACCEPT_RETRY_MS = 200;

/** Serves an echo, and takes all fds but some, or gives them back, when it is told to. */
const PROGRAM = `
  import { closeSync, openSync } from 'node:fs';
  import { EchoDevice, TestBackend } from ${JSON.stringify(TESTING)};
  const served = await TestBackend.start(new EchoDevice());
  const held = [];
  const take = () => {
    try {
      for (;;) held.push(openSync('/dev/null'));
    } catch {}
  };
  const tell = () => {
    const { report: { log }, backend: { connected }, socketPath: path } = served;
    process.send({ path, held: held.length, log, connected });
  };
  process.on('message', (order) => {
    if (order === 'end') return void served.close().then(() => process.disconnect());
    if (typeof order === 'number') {
      take();
      for (let i = 0; i < order; i++) closeSync(held.pop());
    } else for (const fd of held.splice(0)) closeSync(fd);
    tell();
  });
  tell();
`;

interface Told {
  readonly path: string;
  readonly held: number;
  readonly log: readonly string[];
  readonly connected: boolean;
}

let child: ChildProcess;
let path = '';

function told(): Promise<Told> {
  return new Promise((resolve, reject) => {
    const ended = (): void => reject(new Error('the back-end ended by itself'));
    child.once('exit', ended);
    child.once('message', (message) => {
      child.off('exit', ended);
      resolve(message as Told);
    });
  });
}

/** @param what `give back`, or how many fds are to be left */
function order(what: number | 'give back'): Promise<Told> {
  const answer = told();
  child.send(what);
  return answer;
}

/** Until the sessions before have ended, and have let go of their fds. */
async function sessionsOver(): Promise<void> {
  while ((await order('give back')).connected) await sleep(5);
}

before(async () => {
  const shell = `ulimit -n ${String(FDS_MAX)}; exec "$0" --input-type=module -e "$1"`;
  child = spawn('sh', ['-c', shell, process.execPath, PROGRAM], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  path = (await told()).path;
});

after(async () => {
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.send('end');
  await ended;
});

describe('a back-end without a free fd', () => {
  it('refuses a message whose fd the host has dropped, says so, and goes on', async () => {
    const frontend = await MockFrontend.connect(path);
    const { notifier, consumer } = createNotifier();
    const fds = [notifier.fd];
    try {
      await frontend.negotiate();
      assert.equal(await frontend.ack('SET_VRING_CALL', { value: 0n }, { fds }), 0n);
      assert.ok((await order(0)).held > 0);
      assert.notEqual(await frontend.ack('SET_VRING_CALL', { value: 1n }, { fds }), 0n);
      assert.equal(await frontend.ack('SET_VRING_KICK', { value: 1n | 0x100n }), 0n);
      const { log } = await order('give back');
      assert.match(log.at(-1) ?? '', /dropped file descriptors .*ulimit -n/);
      assert.equal(await frontend.ack('SET_VRING_CALL', { value: 1n }, { fds }), 0n);
    } finally {
      frontend.close();
      notifier.close();
      consumer.close();
    }
  });

  for (const left of [0, 1, 2, 3, 4]) {
    it(`refuses to start a ring with ${String(left)} fds left, and starts it later`, async () => {
      await sessionsOver();
      const frontend = await MockFrontend.connect(path);
      const guest = await frontend.bringUp();
      try {
        await guest.stopQueue(0);
        const { kick } = guest.queue(0).raw.peerFds;
        const start = (): Promise<bigint> =>
          frontend.ack('SET_VRING_KICK', { value: 0n }, { fds: [kick] });
        await order(left);
        // The kick that comes, and the copies of kick, call and err for the runner.
        assert.equal((await start()) === 0n, left === 4);
        await guest.stopQueue(0);
        await order('give back');
        assert.equal(await start(), 0n);
        const { written } = await guest.queue(0).exchange([Buffer.from('hello')], [5]);
        assert.equal(Buffer.from(written).toString(), 'hello');
      } finally {
        frontend.close();
        guest.close();
      }
    });
  }

  it('refuses the call fd of a ring that runs with 1 fd left, and goes on with the old one', async () => {
    await sessionsOver();
    const frontend = await MockFrontend.connect(path);
    const guest = await frontend.bringUp();
    const { notifier, consumer } = createNotifier();
    try {
      await order(1); // for the fd that comes, and none for the copy of the runner
      const fds = [notifier.fd];
      assert.notEqual(await frontend.ack('SET_VRING_CALL', { value: 0n }, { fds }), 0n);
      await order('give back');
      await guest.stopQueue(0);
      const { kick } = guest.queue(0).raw.peerFds;
      await frontend.command('SET_VRING_KICK', { value: 0n }, { fds: [kick] });
      await guest.queue(0).exchange([Buffer.from('hello')], [5]);
      assert.equal(consumer.drain(), 0);
    } finally {
      frontend.close();
      guest.close();
      notifier.close();
      consumer.close();
    }
  });

  it('lets a front-end wait without a busy loop, and serves it once there is one', async () => {
    await sessionsOver();
    const { log: before } = await order(0);
    const accepts = (log: readonly string[]): string[] =>
      log.slice(before.length).filter((line) => line.includes('accept'));
    const beginMs = performance.now();
    const frontend = await MockFrontend.connect(path);
    try {
      await frontend.send('GET_FEATURES');
      while (accepts((await order(0)).log).length === 0) await sleep(20);
      await sleep(500);
      await frontend.expectSilence(1);
      const { log } = await order('give back');
      const lines = accepts(log);
      const most = 2 + (performance.now() - beginMs) / ACCEPT_RETRY_MS;
      assert.ok(lines.length <= most, `${String(lines.length)} lines, ${String(most)} at most`);
      assert.match(lines[0] ?? '', /ulimit -n/);
      assert.equal((await frontend.receive()).request, 1);
    } finally {
      frontend.close();
    }
  });
});
