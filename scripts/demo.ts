/**
 * `npm run demo`: serves a disk, a folder, a vsock and a console by the commands that users type,
 * boots a small Linux in QEMU on them, has that write, read and talk, and shows that guest and host
 * agree on every byte; then measures the same disk without a virtual machine. Where there is no
 * QEMU our own front-end takes the guest's place.
 *
 * `npm run demo -- --install` installs what the guest needs (on Debian 12, as root).
 *
 * @module
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { BlkClient, VhostUserError } from '../src/index.ts';
import { runGuestOrThrow } from '../test/guest/qemu.ts';
import { ensurePeers, findPeers, missingPeers } from '../test/peers/setup.ts';
import type { Peers } from '../test/peers/setup.ts';
import { BUILD } from '../test/support/repository.ts';
import { benchmark } from './demo-bench.ts';
import { CONSOLE_QUEUES, CONSOLE_SCRIPT, playShell, useShell } from './demo-console.ts';
import { SHARE_SCRIPT, TAG, compareShare, makeShare, useShare } from './demo-share.ts';
import { VSOCK_SCRIPT, compareTalk, playGuest, talkFromHost } from './demo-vsock.ts';

const MIB = 2 ** 20;
const IMAGE_MIB = 128;
const DATA_MIB = 32;
const CHUNK_BYTES = MIB;
const CONNECT_WAIT_MS = 20_000;
const GUEST_READ_SECONDS = 3;
/** How sums are shown. */
const SUM_COLUMN = 44;
const SUM_DIGITS = 24;

/** What the guest does. It tells its host by lines of the form `@key=value`. */
const GUEST_SCRIPT = `set -eu
sum() { sha256sum | cut -d' ' -f1; }
echo "@sectors=$(cat /sys/block/vda/size)"
echo "@serial=$(cat /sys/block/vda/serial)"
dd if=/dev/urandom of=/tmp/data bs=1M count=${DATA_MIB} 2>/dev/null
echo "@wrote=$(sum </tmp/data)"
dd if=/tmp/data of=/dev/vda bs=1M oflag=direct conv=fsync 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
echo "@read=$(dd if=/dev/vda bs=1M count=${DATA_MIB} iflag=direct 2>/dev/null | sum)"
speed() {
  fio --name=x --filename=/dev/vda --readonly --direct=1 --ioengine=libaio --time_based \\
    --runtime=${GUEST_READ_SECONDS} --size=${IMAGE_MIB}M --output-format=terse "$@" | tail -n 1
}
echo "@random=$(speed --rw=randread --bs=4k --iodepth=32 | cut -d';' -f8)"
echo "@sequential=$(speed --rw=read --bs=1M --iodepth=4 | cut -d';' -f7)"
${SHARE_SCRIPT}
${VSOCK_SCRIPT}
${CONSOLE_SCRIPT}`;

/** What is served, and where. */
interface Places {
  readonly image: string;
  readonly diskSocket: string;
  readonly share: string;
  readonly shareSocket: string;
  readonly vsockSocket: string;
  /** Where programs of the host meet the guest. */
  readonly udsPath: string;
  readonly consoleSocket: string;
  /** The pseudo terminal of the host. */
  readonly terminal: string;
}

function say(line: string = ''): void {
  process.stdout.write(`${line}\n`);
}

function grouped(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** The check sum of the image's first bytes, read as any other program would. */
function imageSum(image: string): string {
  const hash = createHash('sha256');
  const chunk = new Uint8Array(CHUNK_BYTES);
  const fd = openSync(image, 'r');
  try {
    for (let at = 0; at < DATA_MIB * MIB; at += CHUNK_BYTES) {
      readSync(fd, chunk, 0, CHUNK_BYTES, at);
      hash.update(chunk);
    }
  } finally {
    closeSync(fd);
  }
  return hash.digest('hex');
}

/** Says the three sums; throws when they are not one. */
function compare(who: string, wrote: string, read: string, onHost: string): void {
  const row = (what: string, sum: string): void => {
    say(`   ${what.padEnd(SUM_COLUMN)} sha256 ${sum.slice(0, SUM_DIGITS)}…`);
  };
  row(`the ${who} wrote ${DATA_MIB} MiB of random bytes`, wrote);
  row(`the ${who} read them back`, read);
  row('the host reads the image file', onHost);
  if (wrote === '' || wrote !== read || wrote !== onHost) throw new Error('The sums differ.');
  say('   All three agree.');
}

function showShare(who: string, heard: string, places: Places): void {
  for (const line of compareShare(who, heard, places.share)) say(`   ${line}`);
}

/** A Linux guest uses all of them. */
async function useGuest(peers: Peers, folder: string, places: Places): Promise<void> {
  const { version } = peers.qemu11;
  say(`3. A small Linux boots in QEMU ${version}, and uses all four. (Some 20 seconds.)`);
  const abort = new AbortController();
  const talking = talkFromHost(places.udsPath, abort.signal);
  const typing = useShell(places.terminal, abort.signal);
  // Of no interest when the guest has failed.
  talking.catch(() => undefined);
  typing.catch(() => undefined);
  const { values } = await runGuestOrThrow({
    peers,
    qemu: peers.qemu11,
    tools: true,
    folder,
    disks: [{ socketPath: places.diskSocket, queues: 1 }],
    shares: [{ socketPath: places.shareSocket, tag: TAG }],
    vsock: { socketPath: places.vsockSocket },
    console: { socketPath: places.consoleSocket, queues: CONSOLE_QUEUES },
    script: GUEST_SCRIPT,
    memory: 'memfd',
  }).finally(() => abort.abort());
  const value = (key: string): string => values.get(key) ?? '';
  const sizeMib = (Number(value('sectors')) * 512) / MIB;
  say(`   /dev/vda has ${sizeMib} MiB, and its serial number is ${value('serial')}`);
  compare('guest', value('wrote'), value('read'), imageSum(places.image));
  const sequential = Number(value('sequential')) / 1024;
  say(
    `   fio in the guest: ${grouped(Number(value('random')))} reads of 4 KiB a second at depth 32,`,
  );
  say(`   ${grouped(sequential)} MiB/s in order. QEMU emulates the guest's processor here, which`);
  say('   is what limits this; what the disk can do comes next.');
  say('4. The folder in the guest, and on this host:');
  say(`   ${value('shared')}`);
  showShare('guest', value('heard'), places);
  say('5. A word over vsock, both ways:');
  for (const line of compareTalk('guest', value('answer'), await talking)) say(`   ${line}`);
  say('6. A shell of the guest on the console, typed at by a terminal of this host:');
  for (const line of await typing) say(`   ${line}`);
}

/** Our own front-end uses all of them. */
async function useFrontend(places: Places): Promise<void> {
  say('3. Our own front-end takes the place of a guest.');
  const disk = await BlkClient.connect(places.diskSocket, { connectWaitMs: CONNECT_WAIT_MS });
  try {
    const data = randomBytes(DATA_MIB * MIB);
    const back = new Uint8Array(data.length);
    await disk.write(0, data);
    await disk.flush();
    await disk.read(0, back);
    const sum = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
    const serial = await disk.serial();
    say(`   the disk has ${disk.sizeBytes / MIB} MiB, and its serial number is ${serial}`);
    compare('front-end', sum(data), sum(back), imageSum(places.image));
  } finally {
    await disk.close();
  }
  say('4. The folder, by our own front-end and on this host:');
  showShare('front-end', await useShare(places.shareSocket), places);
  say('5. A word over vsock, both ways:');
  const abort = new AbortController();
  const talking = talkFromHost(places.udsPath, abort.signal);
  talking.catch(() => undefined);
  try {
    const answer = await playGuest(places.vsockSocket, CONNECT_WAIT_MS);
    for (const line of compareTalk('front-end', answer, await talking)) say(`   ${line}`);
  } finally {
    abort.abort();
  }
  say('6. A question at the console, by a terminal of this host:');
  const { terminal, consoleSocket } = places;
  for (const line of await playShell(terminal, consoleSocket, CONNECT_WAIT_MS)) say(`   ${line}`);
}

/** Starts a command; resolves when it listens. */
async function startServer(command: readonly string[]): Promise<ChildProcess> {
  say(`   vhost-user ${command.join(' ')}`);
  const main = join(BUILD, 'src/cli/main.js');
  const log = ['--log-format', 'text'];
  const server = spawn(process.execPath, [main, ...command, ...log], {
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  let output = '';
  await new Promise<void>((resolve, reject) => {
    server.stderr.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (output.includes('listening on')) resolve();
    });
    server.once('exit', () => {
      reject(new Error(`The server has ended:\n${output}`));
    });
  });
  return server;
}

async function stopServer(server: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => server.once('exit', resolve));
  server.kill('SIGTERM');
  const code = server.exitCode ?? (await ended);
  if (code !== 0) throw new Error(`The server ended with ${String(code)}.`);
}

async function demo(folder: string): Promise<void> {
  const install = process.argv.includes('--install');
  const search = install ? await ensurePeers(say) : findPeers();
  const places: Places = {
    image: join(folder, 'disk.img'),
    diskSocket: join(folder, 'disk.sock'),
    share: join(folder, 'share'),
    shareSocket: join(folder, 'fs.sock'),
    vsockSocket: join(folder, 'vsock.sock'),
    udsPath: join(folder, 'vm.vsock'),
    consoleSocket: join(folder, 'console.sock'),
    terminal: join(folder, 'console'),
  };
  const { image, diskSocket, share, shareSocket, vsockSocket, udsPath } = places;
  const { consoleSocket, terminal } = places;
  writeFileSync(image, '');
  truncateSync(image, IMAGE_MIB * MIB);
  makeShare(share);
  say(`1. An empty disk image of ${IMAGE_MIB} MiB, ${image}, and a folder, ${share}`);
  say('2. Four servers, as you would start them:');
  const servers: ChildProcess[] = [];
  try {
    const disk = ['blk', image, '--socket-path', diskSocket, '--serial', 'DEMO0001'];
    servers.push(await startServer(disk));
    servers.push(await startServer(['fs', share, '--socket-path', shareSocket]));
    const vsock = ['vsock', '--socket-path', vsockSocket, '--uds-path', udsPath];
    servers.push(await startServer(vsock));
    servers.push(await startServer(['console', '--pty', terminal, '--socket-path', consoleSocket]));
    say('   They listen.');
    if (search.peers !== undefined) {
      await useGuest(search.peers, folder, places);
    } else {
      say(`   No guest can be booted here: ${missingPeers(search)}.`);
      say('   (npm run demo -- --install does so on Debian 12, as root.)');
      await useFrontend(places);
    }
    say('7. The disk without a virtual machine, driven by our polling front-end:');
    for (const line of await benchmark(diskSocket)) say(`   ${line}`);
  } finally {
    for (const server of servers) await stopServer(server);
  }
  say('8. The servers ended by SIGTERM, in order. Next: README.md, "Share a folder".');
}

const folder = mkdtempSync('/tmp/vhost-user-demo-');
try {
  await demo(folder);
} catch (error) {
  const text = error instanceof VhostUserError ? `${error.code}: ${error.message}` : String(error);
  process.stderr.write(`The demonstration failed. ${text}\n`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
