/**
 * A program that drives all five devices by our front-ends, and says what came of it: run as a
 * process of its own, so that a strict host can be made of it, too.
 *
 * @module
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { join } from 'node:path';
import {
  BlkClient,
  ConsoleClient,
  FsClient,
  RngClient,
  VsockClient,
} from '../../../src/frontend/index.ts';
import { FUSE_OPCODE, FUSE_SYNCFS_IN } from '../../../src/fuse/index.ts';
import { notifierKind, onFallback, sharedMemoryKind } from '../../../src/sys/index.ts';
import { errorCode } from '../../../src/util/index.ts';
import { VsockHost } from '../../../src/vsock/index.ts';

/** What came of it: each is `ok`, or what went wrong by its code. */
export interface FrontEndReport {
  readonly notifier: string;
  readonly memory: string;
  /** The calls that it did without, and what it did instead. */
  readonly fallbacks: Readonly<Record<string, string>>;
  readonly results: Readonly<Record<string, string>>;
}

const SECTOR = 512;
const BLOCK = 64 * 1024;
/** More than a file that is read with one request. */
const FILE_BYTES = 300 * 1024 + 7;
const WHO = 1000;
const KEEP_SIZE = 1;

const folder = process.argv[2] ?? '.';
const at = (name: string): string => join(folder, name);
const results: Record<string, string> = {};
const fallbacks: Record<string, string> = {};

/** Tries something; what it is not to throw is in the report by its code, and all else throws. */
async function attempt(name: string, action: () => Promise<unknown>): Promise<void> {
  try {
    await action();
    results[name] = 'ok';
  } catch (error) {
    results[name] = errorCode(error) ?? String(error);
  }
}

function equal(got: Uint8Array, wanted: Uint8Array, what: string): void {
  if (Buffer.compare(got, wanted) !== 0) throw new Error(`${what}: other bytes`);
}

async function disk(): Promise<void> {
  const client = await BlkClient.connect(at('blk.sock'));
  const written = randomBytes(BLOCK);
  const read = new Uint8Array(BLOCK);
  await client.write(SECTOR, written);
  await client.flush();
  await client.read(SECTOR, read);
  equal(read, written, 'a disk');
  await attempt('blk discard', () => client.discard(0, SECTOR));
  await attempt('blk zeroes', async () => {
    await client.writeZeroes(SECTOR, BLOCK);
    await client.read(SECTOR, read);
    equal(read, new Uint8Array(BLOCK), 'zeroes');
  });
  await client.close();
}

async function random(): Promise<void> {
  const client = await RngClient.connect(at('rng.sock'));
  const [first, second] = [await client.read(BLOCK), await client.read(BLOCK)];
  if (new Set(first).size < 256 || Buffer.compare(first, second) === 0) {
    throw new Error('bytes that are not random');
  }
  await client.close();
}

/** Both ways: a program of the host that connects, and one that listens (in the test). */
async function sockets(): Promise<void> {
  const guest = await VsockClient.connect(at('vsock.sock'));
  const sent = randomBytes(BLOCK);
  guest.listen(22, (socket) => socket.pipe(socket));
  const toGuest = await new VsockHost(at('host.vsock')).connect(22, { allowHalfOpen: true });
  toGuest.end(sent);
  equal(await buffer(toGuest), sent, 'the guest');
  const toHost = await guest.dial(1234);
  toHost.end(sent);
  equal(await buffer(toHost), sent, 'the host');
  await guest.close();
}

async function screen(): Promise<void> {
  const client = await ConsoleClient.connect(at('console.sock'));
  const port = await client.port(0);
  const person = connect(at('console.end'));
  await once(person, 'connect');
  port.write('to the person');
  await expectText(person, 'to the person');
  person.write('to the guest');
  await expectText(port, 'to the guest');
  person.destroy();
  await client.close();
}

async function expectText(stream: Duplex, wanted: string): Promise<void> {
  let heard = '';
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    heard += String(chunk);
    if (heard.includes(wanted)) return;
  }
  throw new Error(`heard ${JSON.stringify(heard)}`);
}

async function files(): Promise<void> {
  const fs = await FsClient.mount(at('fs.sock'));
  const bytes = randomBytes(FILE_BYTES);
  await fs.mkdir('/folder', 0o777);
  await fs.writeFile('/folder/file', bytes);
  equal(await fs.readFile('/folder/file'), bytes, 'a file');
  await fs.copyFile('/folder/file', '/copy');
  equal(await fs.readFile('/copy'), bytes, 'a copy');
  await fs.rename('/copy', '/moved');
  await attempt('fs rename, no replace', () => fs.rename('/moved', '/new', { noReplace: true }));
  await fs.chmod('/folder', 0o750);
  await attempt('fs owner', () => fs.as({ uid: WHO, gid: WHO, pid: 1 }, 0).writeFile('/his', 'x'));
  await fs.symlink('file', '/folder/link');
  if ((await fs.readlink('/folder/link')) !== 'file') throw new Error('another link');
  const names = (await fs.readdir('/folder')).sort().join();
  if (names !== 'file,link') throw new Error(`the folder has ${names}`);
  const file = await fs.open('/folder/file', 'r+');
  await attempt('fs allocate', () => file.allocate(0, FILE_BYTES, KEEP_SIZE));
  await attempt('fs lock', () => file.lock({ type: 'exclusive' }));
  await file.sync();
  const { size } = await file.stat();
  if (size !== FILE_BYTES) throw new Error(`${size} bytes`);
  await file.close();
  const all = { outBytes: 0, args: new Uint8Array(FUSE_SYNCFS_IN.SIZE) };
  await attempt('fs sync all', () => fs.connection.request(FUSE_OPCODE.SYNCFS, 1, all));
  await fs.unmount();
}

onFallback((call, instead) => {
  fallbacks[call] = instead;
});
for (const [name, device] of Object.entries({ disk, random, sockets, screen, files })) {
  try {
    await device();
    results[name] = 'ok';
  } catch (error) {
    results[name] = error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}
const report: FrontEndReport = {
  notifier: notifierKind(),
  memory: results['disk'] === 'ok' ? sharedMemoryKind() : 'none',
  fallbacks,
  results,
};
// A device that failed has left its connection open.
process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(0));
