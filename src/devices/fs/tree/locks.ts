/**
 * Requests about locks. A guest's kernel keeps its locks itself, since the file systems here are
 * not shared with anybody else; drivers of another sort may ask.
 *
 * @module
 */
import {
  FUSE_FILE_LOCK,
  FUSE_LK_FLOCK,
  FUSE_LK_IN,
  FUSE_LK_OUT,
  LINUX_E,
  LINUX_F,
} from '../../../fuse/index.ts';
import { PENDING } from '../operations.ts';
import type { FuseCall } from '../operations.ts';
import type { TreeCore } from './core.ts';
import type { Lock } from './lock-table.ts';
import { readU64, writeU64 } from './wire.ts';

/** "To the end": the largest offset of Linux, in halves. */
const OFFSET_MAX_LOW = 0xffff_ffff;
const OFFSET_MAX_HIGH = 0x7fff_ffff;

/** GETLK: the lock that is in the way, or none. */
export function getlk<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const file = core.files.get(readU64(call.input, FUSE_LK_IN.fh));
  if (file === undefined) return -LINUX_E.BADF;
  const lock = readLock(call.input);
  if (lock === null) return -LINUX_E.INVAL;
  const held = core.locks.conflict(file.known.id, lock);
  const { type, start, end, pid } = held ?? { ...lock, type: LINUX_F.UNLCK, pid: 0 };
  const at = FUSE_LK_OUT.lk;
  writeU64(call.out, at + FUSE_FILE_LOCK.start, start);
  if (end === Infinity) {
    call.out.setUint32(at + FUSE_FILE_LOCK.end, OFFSET_MAX_LOW, true);
    call.out.setUint32(at + FUSE_FILE_LOCK.end + 4, OFFSET_MAX_HIGH, true);
  } else writeU64(call.out, at + FUSE_FILE_LOCK.end, end);
  call.out.setUint32(at + FUSE_FILE_LOCK.type, type, true);
  call.out.setUint32(at + FUSE_FILE_LOCK.pid, pid, true);
  return FUSE_LK_OUT.SIZE;
}

/** SETLK and SETLKW. */
export function setlk<Node, File>(
  core: TreeCore<Node, File>,
  call: FuseCall,
  waits: boolean,
): number {
  const file = core.files.get(readU64(call.input, FUSE_LK_IN.fh));
  if (file === undefined) return -LINUX_E.BADF;
  const lock = readLock(call.input);
  if (lock === null) return -LINUX_E.INVAL;
  const { id } = file.known;
  const result = core.locks.set(id, lock);
  if (result !== -LINUX_E.AGAIN || !waits) return result;
  const refused = core.locks.wait(id, lock, call.unique, (later) => {
    call.finish(later);
    core.completeSoon();
  });
  return refused === 0 ? PENDING : refused;
}

/** A lock as the guest describes it; null when it is none. */
export function readLock(input: DataView): Lock | null {
  const at = FUSE_LK_IN.lk;
  const start = readU64(input, at + FUSE_FILE_LOCK.start);
  const last = readU64(input, at + FUSE_FILE_LOCK.end);
  const type = input.getUint32(at + FUSE_FILE_LOCK.type, true);
  const end = Number.isSafeInteger(last) ? last : Infinity;
  if (!Number.isSafeInteger(start) || start > end || type > LINUX_F.UNLCK) return null;
  return {
    isFlock: (input.getUint32(FUSE_LK_IN.lkFlags, true) & FUSE_LK_FLOCK) !== 0,
    ownerLow: input.getUint32(FUSE_LK_IN.owner, true),
    ownerHigh: input.getUint32(FUSE_LK_IN.owner + 4, true),
    pid: input.getUint32(at + FUSE_FILE_LOCK.pid, true),
    type,
    start,
    end,
  };
}
