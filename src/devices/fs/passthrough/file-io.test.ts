/**
 * Which reads and writes of a folder's files are made at once, and which go to io_uring.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { fstatSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import { ERRNO } from '../../../sys/index.ts';
import type { BriskWriter, Uring } from '../../../sys/index.ts';
import type { Reactor } from '../../../backend/index.ts';
import { LINUX_E } from '../../../fuse/index.ts';
import { openScratchFile, scriptedWriter } from '../../../testing/index.ts';
import { PENDING } from '../operations.ts';
import type { FuseCall } from '../operations.ts';
import { FileIo } from './file-io.ts';
import { HandleTable } from './handles.ts';
import type { Handle } from './handles.ts';

const EAGAIN = -(ERRNO.EAGAIN as number);
const ENOSPC = -(ERRNO.ENOSPC as number);

const file = openScratchFile();
const { fd, iov, blockBytes: BLOCK, tellsOfWrites } = file;
after(() => file.close());

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
  const call = { iov, iovCount: 1, dataBytes: BLOCK } as unknown as FuseCall;
  return { io: new FileIo(reactor, handles, false, brisk), handle, call, given };
}

describe('the data of files', () => {
  it('is written at once, whether the file system can tell or not', () => {
    const { io, handle, call, given } = rig();
    for (let i = 0; i < 100; i++) assert.equal(io.write(call, handle, i * BLOCK), BLOCK);
    assert.deepEqual(given, []);
    assert.equal(fstatSync(fd).size, 100 * BLOCK);
  });

  it('goes to io_uring while writes would keep the others waiting', (t) => {
    if (tellsOfWrites !== undefined) {
      t.skip(tellsOfWrites);
      return;
    }
    const { io, handle, call, given } = rig(scriptedWriter([BLOCK, EAGAIN, EAGAIN, BLOCK]));
    const answers = [0, 1, 2, 3].map((i) => io.write(call, handle, i * BLOCK));
    assert.deepEqual(answers, [BLOCK, PENDING, PENDING, BLOCK]);
    assert.deepEqual(given, ['write', 'write']);
    assert.equal(handle.inFlight, 2);
  });

  it('that is appended is written at once, too, and once, where nothing can tell', (t) => {
    if (tellsOfWrites !== undefined) {
      t.skip(tellsOfWrites);
      return;
    }
    const { io, handle, call, given } = rig(scriptedWriter([BLOCK, BLOCK / 2]));
    io.write(call, handle, 0);
    handle.append = true;
    assert.equal(io.write(call, handle, 0), BLOCK / 2, 'a short answer is the answer');
    assert.deepEqual(given, []);
  });

  it('says that the disk is full as a guest knows it', (t) => {
    if (tellsOfWrites !== undefined) {
      t.skip(tellsOfWrites);
      return;
    }
    const { io, handle, call, given } = rig(scriptedWriter([ENOSPC]));
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
