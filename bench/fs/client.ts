/**
 * The polling front-end as a process of its own: connects to a vhost-user-fs server and runs what
 * it is told on standard input, a JSON line each; the answers are JSON lines too. It stays
 * connected, and idle, in between. Usage: `node client.js SOCKET`.
 *
 * @module
 */
import { createInterface } from 'node:readline';
import { errorMessage } from '../../src/util/index.ts';
import { FsBench } from '../../src/frontend/index.ts';
import type { FsBenchOptions } from '../../src/frontend/index.ts';
import type { ClientFailure } from '../json-child.ts';
import { SHARED } from './files.ts';
import type { HostLoad, HostReply, HostRequest } from './load.ts';
import { DATA_BYTES, FILE_COUNT, FRESH_COUNT } from './plan.ts';

const QUEUE_SIZE = 1024; // as in our lines for QEMU: room for the 256 pages of a request
const PAGE_BYTES = 4096; // a guest's memory is in pages
const BLOCK_BYTES_MAX = 2 ** 20;
const DEPTH_MAX = 16;
const STALL_MS = 10_000;
const FRESH_DEPTH = 16; // of what is not measured

async function main(socketPath: string): Promise<void> {
  const bench = await FsBench.open({
    socketPath,
    depthMax: DEPTH_MAX,
    blockBytesMax: BLOCK_BYTES_MAX,
    queueSize: QUEUE_SIZE,
    segmentBytes: PAGE_BYTES,
    stallMs: STALL_MS,
  });
  try {
    say({ done: 'open' });
    for await (const line of createInterface({ input: process.stdin })) {
      say(answer(bench, JSON.parse(line) as HostRequest));
    }
  } finally {
    await bench.close();
  }
}

function answer(bench: FsBench, request: HostRequest): HostReply {
  if (request.do === 'prepare') prepare(bench, request);
  else if (request.do === 'finish') finish(bench, request);
  else return run(bench, optionsOf(request, request.durationMs));
  return { done: request.do };
}

/** Files that are to be unlinked are made; what is to be met for the first time is forgotten. */
function prepare(bench: FsBench, { op }: HostLoad): void {
  if (op === 'unlink') mustRun(bench, 'create');
  else if (op.startsWith('first-')) bench.forget();
}

/** Files that were made are unlinked, and forgotten as a guest does with what is no more. */
function finish(bench: FsBench, { op }: HostLoad): void {
  if (op === 'create') mustRun(bench, 'unlink');
  if (op === 'create' || op === 'unlink') bench.forget();
}

function mustRun(bench: FsBench, op: 'create' | 'unlink'): void {
  const { errors } = run(bench, { op, path: SHARED.fresh, count: FRESH_COUNT, depth: FRESH_DEPTH });
  if (errors > 0) throw new Error(`${op}: ${errors} of ${FRESH_COUNT} operations failed`);
}

function run(bench: FsBench, options: FsBenchOptions): Extract<HostReply, { operations: number }> {
  const { operations, seconds, errors, firstError, latencyUs } = bench.run(options);
  return { operations, seconds, errors, firstError, p50Us: latencyUs.p50 };
}

function optionsOf(load: HostLoad, durationMs: number): FsBenchOptions {
  const { op, order, blockBytes, depth } = load;
  const many = { path: SHARED.many, count: FILE_COUNT, depth } as const;
  switch (op) {
    case 'read':
    case 'write':
      return { op, path: SHARED.data, fileBytes: DATA_BYTES, order, blockBytes, depth, durationMs };
    case 'lookup':
    case 'getattr':
      return { op, ...many, durationMs };
    case 'first-lookup':
      return { op: 'lookup', ...many, operations: FILE_COUNT };
    case 'open-read-close':
    case 'readdirplus':
      return { op, ...many, blockBytes, durationMs };
    case 'first-readdirplus':
      return { op: 'readdirplus', ...many, blockBytes, operations: 1 };
    case 'create':
    case 'unlink':
      return { op, path: SHARED.fresh, count: FRESH_COUNT, depth };
  }
}

function say(reply: HostReply | ClientFailure): void {
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}

const socketPath = process.argv[2];
if (socketPath === undefined) throw new Error('usage: node client.js SOCKET');
try {
  await main(socketPath);
} catch (error) {
  say({ error: errorMessage(error) });
  process.exitCode = 1;
}
