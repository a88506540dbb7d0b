/**
 * The Linux kernel's own test of vsock (tools/testing/vsock), between two guests that one process
 * of ours connects: each is client and server in turn, and a cable between them is what the two
 * halves of the test agree by.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { startVsockServer, stopServer, vsockReference } from '../peers/servers.ts';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import type { Peers } from '../peers/setup.ts';
import { runGuest } from './qemu.ts';
import type { GuestOptions, GuestResult } from './qemu.ts';

const TIMEOUT_MS = 300_000;
const FIRST_CID = 5;
const CONTROL_PORT = 1234;
const READY_PORT = 100;
const PROGRAM = '/bin/vsock_test';

/** The tests of Linux 6.1; a later kernel has more, which have to pass as well. */
const TESTS: readonly string[] = [
  'SOCK_STREAM connection reset',
  'SOCK_STREAM bind only',
  'SOCK_STREAM client close',
  'SOCK_STREAM server close',
  'SOCK_STREAM multiple connections',
  'SOCK_STREAM MSG_PEEK',
  'SOCK_SEQPACKET msg bounds',
  'SOCK_SEQPACKET MSG_TRUNC flag',
  'SOCK_SEQPACKET timeout',
  'SOCK_SEQPACKET invalid receive buffer',
  'SOCK_STREAM poll() + SO_RCVLOWAT',
];
/** Tests that the reference cannot pass: it has no SEQPACKET. */
const LEFT_OUT: readonly string[] = vsockReference
  ? TESTS.filter((name) => name.startsWith('SOCK_SEQPACKET'))
  : [];

const search = await ensurePeers();
if (search.peers === undefined) {
  test("the kernel's own test of vsock", { skip: missingPeers(search) }, () => undefined);
} else {
  const { peers } = search;
  for (const host of ['native', 'posix'] as const) {
    test(`the kernel's own test of vsock passes between two guests of a ${host} server`, (context) =>
      runKernelTest(context, peers, host));
  }
}

async function runKernelTest(
  context: TestContext,
  peers: Peers,
  host: 'native' | 'posix',
): Promise<void> {
  const folder = mkdtempSync('/tmp/vhost-user-vsock-');
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const guests = [0, 1].map((at) => ({
    cid: FIRST_CID + at,
    socketPath: join(folder, `vsock${at}.sock`),
    udsPath: join(folder, `vm${at}.vsock`),
  }));
  const server = await startVsockServer({ peers, guests, host });
  context.after(() => server.stop('SIGKILL'));
  const results = await Promise.all(
    guests.map(({ socketPath }, at) => {
      const own = join(folder, `guest${at}`);
      mkdirSync(own);
      const options: GuestOptions = {
        peers,
        qemu: peers.qemu10,
        folder: own,
        vsock: { socketPath },
        cable: { socketPath: join(folder, 'cable.sock'), end: at === 0 ? 'makes' : 'joins' },
        programs: new Map([[PROGRAM, peers.vsockTest]]),
        bare: true,
        cpus: 1,
        script: scriptOf(at),
        memory: host === 'posix' ? 'shm' : 'memfd',
        timeoutMs: TIMEOUT_MS,
      };
      return runGuest(options);
    }),
  );
  const said = [...results.map(({ output }) => output), server.output].join('\n----\n');
  for (const result of results) {
    context.diagnostic(`${result.seconds.toFixed(1)} s`);
    assert.equal(result.status, 0, said);
    for (const mode of ['client', 'server']) {
      const outcomes = outcomesOf(result, mode);
      const others = [...outcomes].filter(([, outcome]) => outcome !== 'ok');
      const known = LEFT_OUT.map((name) => [name, 'skipped']);
      assert.deepEqual(others, known, said);
      for (const name of TESTS) assert.ok(outcomes.has(name), `${mode}: no '${name}'\n${said}`);
    }
  }
  await stopServer(server);
}

/** Guest 0 is the server first, guest 1 the client; then the other way round. */
function scriptOf(at: number): string {
  const address = (guest: number): string => `10.0.0.${guest + 1}`;
  const peerCid = FIRST_CID + 1 - at;
  const skip = LEFT_OUT.map((name) => `--skip=${TESTS.indexOf(name)}`).join(' ');
  const run = (mode: string, port: number): string => {
    const control = mode === 'client' ? `--control-host=${address(1 - at)}` : '';
    const args = `--mode=${mode} ${control} --control-port=${port} --peer-cid=${peerCid} ${skip}`;
    return `echo "@mode=${mode}"\n${PROGRAM} ${args}\n`;
  };
  // A client does not wait for a server that is not there yet, so the server's guest says when.
  const says = (round: number): string =>
    `nc -ll -p ${READY_PORT + round} -e true </dev/null >/dev/null 2>&1 &\n`;
  const waits = (round: number): string => {
    const connect = `nc -w 1 ${address(1 - at)} ${READY_PORT + round}`;
    return `until ${connect} </dev/null >/dev/null 2>&1; do usleep 200000; done\nsleep 2\n`;
  };
  const modes = at === 0 ? ['server', 'client'] : ['client', 'server'];
  return [
    'set -eu\n',
    `ip link set lo up\nip addr add ${address(at)}/24 dev eth0\nip link set eth0 up\n`,
    ...modes.map((mode, round) => {
      const first = mode === 'server' ? says(round) : waits(round);
      return first + run(mode, CONTROL_PORT + round);
    }),
    // The other one may not have read the last word yet.
    'sleep 3\n',
  ].join('');
}

/** What became of each test of one of the two runs. */
function outcomesOf(result: GuestResult, mode: string): Map<string, string> {
  const outcomes = new Map<string, string>();
  let now = '';
  for (const line of result.output.split(/\r?\n/)) {
    now = /^@mode=(\w+)/.exec(line)?.[1] ?? now;
    const match = /^\d+ - (.+?)\.\.\.(ok|skipped)?/.exec(line);
    if (match !== null && now === mode) outcomes.set(match[1] ?? '', match[2] ?? 'failed');
  }
  return outcomes;
}
