/**
 * What is told of a guest that does not come to its end.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import { INIT_RUNS, examineGuest } from './autopsy.ts';
import { runGuest } from './qemu.ts';

test('a QEMU that does not answer is told apart, in a bounded time', async (context) => {
  const folder = mkdtempSync('/tmp/vhost-user-autopsy-');
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'qmp');
  const server = createServer((socket) => void socket.write('{"QMP": {}}\n'));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  context.after(() => void server.close());
  const text = await examineGuest(path, 'SeaBIOS\n');
  assert.match(text, /did not come to init[^]*QEMU does not answer/);
  assert.match(await examineGuest(join(folder, 'none'), INIT_RUNS), /its init runs[^]*ENOENT/);
});

const search = await ensurePeers();
const skip = search.peers === undefined ? missingPeers(search) : false;
test('of a guest that is killed it is told what its processors did', { skip }, async (context) => {
  const { peers } = search;
  assert.ok(peers !== undefined);
  const folder = mkdtempSync('/tmp/vhost-user-autopsy-');
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const guest = await runGuest({
    ...{ peers, qemu: peers.qemu10, folder, bare: true, memory: 'memfd' },
    script: 'echo @up=1\nsleep 1000\n',
    timeoutMs: 15_000,
  });
  assert.equal(guest.status, undefined);
  assert.match(guest.output, /info status:\nVM status: running\ninfo registers -a:/);
  assert.match(guest.output, /CPU#0[^]*RIP=[^]*CPU#1[^]*RIP=/);
  assert.match(guest.output, /info lapic 1:\n[^]*ISR\s/);
  assert.doesNotMatch(guest.output, /XMM/);
  const isUp = guest.output.split('\n').some((line) => line.trim() === INIT_RUNS);
  const told = /\(the guest has not ended; its init runs/.test(guest.output);
  assert.equal(told, isUp);
  assert.ok(isUp || !guest.values.has('up')); // it may not have come so far on a busy machine
});
