/**
 * Which reads and writes of a folder's files are made at once, and which go to io_uring.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { BriskWriter, ERRNO, mapAnonymous, pwritevCached, viewMemory } from '../../../sys/index.ts';
import type { Mapping, Uring } from '../../../sys/index.ts';
import type { Reactor } from '../../../backend/index.ts';
import { LINUX_E } from '../../../fuse/index.ts';
import { PENDING } from '../operations.ts';
import type { FuseCall } from '../operations.ts';
import { FileIo } from './file-io.ts';
import { HandleTable } from './handles.ts';
import type { Handle } from './handles.ts';

const BLOCK = 4096;
const EAGAIN = -(ERRNO.EAGAIN as number);
const ENOSPC = -(ERRNO.ENOSPC as number);
const EOPNOTSUPP = -(ERRNO.EOPNOTSUPP as number);
const CAN_TELL = 'the file system of the temporary folder can tell of writes';

let folder = '';
let fd = -1;
let memory: Mapping;
let otherwise: string | undefined;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-file-io-'));
  fd = openSync(join(folder, 'file'), 'w+');
  memory = mapAnonymous(2 * BLOCK);
  const view = new DataView(viewMemory(memory.address, 2 * BLOCK));
  view.setBigUint64(0, BigInt(memory.address + BLOCK), true);
  view.setBigUint64(8, BigInt(BLOCK), true);
  if (pwritevCached(fd, memory.address, 1, 0) !== EOPNOTSUPP) otherwise = CAN_TELL;
});
after(() => {
  memory.unmap();
  closeSync(fd);
  rmSync(folder, { recursive: true });
});

interface Rig {
  readonly io: FileIo;
  readonly handle: Handle;
  readonly call: FuseCall;
  /** What io_uring was given. */
  readonly given: string[];
}

function rig(brisk?: BriskWriter): Rig {
  const given: string[] = [];
  const prepare = (what: string) => (): boolean => given.push(what) > 0;
  const uring = { prepReadv: prepare('read'), prepWritev: prepare('write') } as unknown as Uring;
  const reactor = { uring, onCompletion: () => 0 } as unknown as Reactor;
  const handles = new HandleTable();
  const handle = handles.open(0, fd, false) as Handle; // its descriptor is the test's
  const call = { iov: memory.address, iovCount: 1, dataBytes: BLOCK } as unknown as FuseCall;
  return { io: new FileIo(reactor, handles, false, brisk), handle, call, given };
}

function scripted(answers: readonly number[]): BriskWriter {
  const rest = [...answers];
  const writer = new BriskWriter();
  writer.write = () => rest.shift() ?? EAGAIN;
  return writer;
}

describe('the data of files', () => {
  it('is written at once, whether the file system can tell or not', () => {
    const { io, handle, call, given } = rig();
    for (let i = 0; i < 100; i++) assert.equal(io.write(call, handle, i * BLOCK), BLOCK);
    assert.deepEqual(given, []);
    assert.equal(fstatSync(fd).size, 100 * BLOCK);
  });

  it('goes to io_uring while writes would keep the others waiting', (t) => {
    if (otherwise !== undefined) {
      t.skip(otherwise);
      return;
    }
    const { io, handle, call, given } = rig(scripted([BLOCK, EAGAIN, EAGAIN, BLOCK]));
    const answers = [0, 1, 2, 3].map((i) => io.write(call, handle, i * BLOCK));
    assert.deepEqual(answers, [BLOCK, PENDING, PENDING, BLOCK]);
    assert.deepEqual(given, ['write', 'write']);
    assert.equal(handle.inFlight, 2);
  });

  it('that is appended is written at once, too, and once, where nothing can tell', (t) => {
    if (otherwise !== undefined) {
      t.skip(otherwise);
      return;
    }
    const { io, handle, call, given } = rig(scripted([BLOCK, BLOCK / 2]));
    io.write(call, handle, 0);
    handle.append = true;
    assert.equal(io.write(call, handle, 0), BLOCK / 2, 'a short answer is the answer');
    assert.deepEqual(given, []);
  });

  it('says that the disk is full as a guest knows it', (t) => {
    if (otherwise !== undefined) {
      t.skip(otherwise);
      return;
    }
    const { io, handle, call, given } = rig(scripted([ENOSPC]));
    assert.equal(io.write(call, handle, 0), -LINUX_E.NOSPC);
    assert.deepEqual(given, []);
  });

  it('that has to reach the disk, or comes from there, is never waited for', () => {
    const { io, handle, call, given } = rig();
    handle.writesWait = true; // O_SYNC, O_DSYNC
    assert.equal(io.write(call, handle, 0), PENDING);
    assert.equal(io.read(call, handle, 0), BLOCK, 'a read of it waits for nothing');
    handle.readsWait = true; // O_DIRECT
    assert.equal(io.read(call, handle, 0), PENDING);
    assert.deepEqual(given, ['write', 'read']);
  });
});
