/**
 * `vhost-user blk` with libblkio as its front-end: QEMU's tools copy images through it in both
 * directions, compare them, send single requests of every kind, and load it at several depths.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { runProgram } from './process.ts';
import type { TestProgram } from './process.ts';
import { startBlkServer, stopServer } from './servers.ts';
import type { BlkServerOptions } from './servers.ts';
import { ensurePeers, missingPeers } from './setup.ts';
import type { Peers } from './setup.ts';

const MIB = 1 << 20;
const IMAGE_MIB = 24;
const BENCH_DEPTHS = [1, 4, 16, 64];
const BENCH_REQUESTS = 4_000;
const BENCH_BYTES = 4_096;

/** The ways to run the server. */
const SERVERS: readonly (Server & { readonly what: string })[] = [
  { what: 'with all of the host', host: 'native' },
  { what: 'with POSIX facilities only', host: 'posix' },
  { what: 'by io_uring alone', host: 'native', options: ['--engine', 'io_uring'] },
  { what: 'past the page cache, on two threads', options: ['--direct', '--threads', '2'] },
];

type Server = Pick<BlkServerOptions, 'host' | 'options' | 'readOnly'>;

const search = await ensurePeers();
if (search.peers === undefined) {
  test('libblkio uses our block device', { skip: missingPeers(search) }, () => undefined);
} else {
  const { peers } = search;
  for (const server of SERVERS) {
    const { what } = server;
    test(`qemu-img copies an image through our device, ${what}`, async (context) => {
      await copyBothWays(await startStage(context, peers, server));
    });
    test(`qemu-io's single requests change just what they say, ${what}`, async (context) => {
      await sendSingleRequests(await startStage(context, peers, server));
    });
    test(`qemu-img bench reads and writes at depths of 1 to 64, ${what}`, async (context) => {
      await benchDepths(context, await startStage(context, peers, server));
    });
  }
  test('qemu-img reads a read-only device, and no write gets into its image', async (context) => {
    await readOnly(await startStage(context, peers, { readOnly: true }));
  });
}

/** A server with an image of random bytes, and the way to name it to QEMU's tools. */
interface Stage {
  readonly peers: Peers;
  readonly folder: string;
  readonly image: string;
  readonly bytes: Buffer;
  readonly server: TestProgram;
  /** For `--image-opts`. */
  readonly options: string;
}

async function startStage(context: TestContext, peers: Peers, how: Server): Promise<Stage> {
  const folder = mkdtempSync('/tmp/vhost-user-blkio-'); // the tools see only what is in /tmp
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const image = join(folder, 'served.img');
  const bytes = randomBytes(IMAGE_MIB * MIB);
  writeFileSync(image, bytes);
  const socketPath = join(folder, 'blk.sock');
  const server = await startBlkServer({ peers, image, socketPath, queues: 2, ...how });
  context.after(() => server.stop('SIGKILL'));
  const options = `driver=virtio-blk-vhost-user,path=${socketPath},cache.direct=on`;
  return { peers, folder, image, bytes, server, options };
}

async function copyBothWays(stage: Stage): Promise<void> {
  const { peers, folder, image, options } = stage;
  const copy = join(folder, 'copy.img');
  await runProgram([...peers.qemuImg, 'convert', '--image-opts', options, '-O', 'raw', copy]);
  assert.ok(readFileSync(copy).equals(stage.bytes), 'what was read is what the image has');

  const other = join(folder, 'other.img');
  const otherBytes = randomBytes(IMAGE_MIB * MIB).fill(0, 5 * MIB, 9 * MIB);
  writeFileSync(other, otherBytes);
  const source = `driver=file,filename=${other}`;
  const target = ['-n', '--target-image-opts', source, options];
  await runProgram([...peers.qemuImg, 'convert', '--image-opts', ...target]);
  assert.ok(readFileSync(image).equals(otherBytes), 'what was written is in the image');

  await runProgram([...peers.qemuImg, 'compare', '--image-opts', source, options]);
  const old = `driver=file,filename=${copy}`;
  await assert.rejects(
    runProgram([...peers.qemuImg, 'compare', '--image-opts', old, options]),
    /Content mismatch at offset 0/,
  );
  await stopServer(stage.server);
}

async function sendSingleRequests(stage: Stage): Promise<void> {
  const commands = [
    'write -P 0x11 0 512',
    'write -P 0x22 1000448 1049088', // on no page boundary, over a mebibyte
    'writev -P 0x33 4M 512 3584 65536',
    'flush',
    'write -z 8M 1M',
    'write -z -u 10M 1M',
    'discard 12M 1M',
    'aio_write -P 0x44 16M 64k',
    'aio_read -P 0x22 1000448 1049088',
    'aio_flush',
    'read -P 0x33 4M 69632',
    'read -P 0 8M 1M',
    'read -P 0 10M 1M',
    'read -P 0 12M 1M',
  ];
  const arguments_ = commands.flatMap((command) => ['-c', command]);
  const before = statSync(stage.image).blocks;
  const printed = await runProgram([
    ...stage.peers.qemuIo,
    ...['--image-opts', stage.options],
    ...arguments_,
  ]);
  assert.doesNotMatch(printed, /failed|error/i);
  assert.ok(statSync(stage.image).blocks < before, 'the discarded bytes take no room');
  const expected = Buffer.from(stage.bytes);
  expected.fill(0x11, 0, 512);
  expected.fill(0x22, 1_000_448, 1_000_448 + 1_049_088);
  expected.fill(0x33, 4 * MIB, 4 * MIB + 69_632);
  for (const at of [8, 10, 12]) expected.fill(0, at * MIB, (at + 1) * MIB);
  expected.fill(0x44, 16 * MIB, 16 * MIB + 65_536);
  assert.ok(readFileSync(stage.image).equals(expected), 'all other bytes are as they were');
  await stopServer(stage.server);
}

async function benchDepths(context: TestContext, stage: Stage): Promise<void> {
  const figures: string[] = [];
  for (const write of [false, true]) {
    for (const depth of BENCH_DEPTHS) {
      const seconds = await bench(stage, depth, write);
      const thousands = BENCH_REQUESTS / seconds / 1000;
      figures.push(`${write ? 'write' : 'read'} ${depth}: ${thousands.toFixed(1)}`);
    }
  }
  context.diagnostic(`thousand requests a second by depth: ${figures.join(', ')}`);
  const written = BENCH_REQUESTS * BENCH_BYTES;
  const image = readFileSync(stage.image);
  assert.ok(image.subarray(0, written).every((byte) => byte === BENCH_DEPTHS.at(-1)));
  assert.ok(image.subarray(written).equals(stage.bytes.subarray(written)), 'the rest is untouched');
  await stopServer(stage.server);
}

/** One run over the start of the image; returns the seconds that qemu-img measured. */
async function bench(stage: Stage, depth: number, write: boolean): Promise<number> {
  const size = String(BENCH_BYTES);
  const printed = await runProgram([
    ...stage.peers.qemuImg,
    ...['bench', '-c', String(BENCH_REQUESTS), '-d', String(depth), '-s', size, '-S', size],
    ...['-t', 'none', ...(write ? ['-w', `--pattern=${depth}`] : [])],
    ...['--image-opts', stage.options],
  ]);
  const seconds = Number(/Run completed in ([\d.]+) seconds/.exec(printed)?.[1]);
  assert.ok(seconds > 0, printed);
  return seconds;
}

async function readOnly(stage: Stage): Promise<void> {
  const { peers, folder, options } = stage;
  const copy = join(folder, 'copy.img');
  await runProgram([...peers.qemuImg, 'convert', '--image-opts', options, '-O', 'raw', copy]);
  assert.ok(readFileSync(copy).equals(stage.bytes));
  const command = [...peers.qemuIo, '--image-opts', options, '-c', 'write -P 1 0 4096'];
  await assert.rejects(runProgram(command), /read-?only/i);
  assert.ok(readFileSync(stage.image).equals(stage.bytes));
  await stopServer(stage.server);
}
