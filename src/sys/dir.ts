/**
 * Directories as the kernel hands them out: blocks of entries, read by a cursor without allocation.
 * Every host has such a call, of one shape but for the offsets of the fields: getdents64 on Linux,
 * getdents on the BSDs, __getdirentries64 on macOS. The position that an entry carries is what
 * lseek on the directory takes, so a walk can go on anywhere. macOS and NetBSD leave it out: there,
 * and in posix mode, entries are counted (`dir-counted.ts`).
 *
 * @module
 */
import { ERRNO } from './errno.ts';
import { HANDED as DIRENT, readCounted, seekCounted } from './dir-counted.ts';
import { abi, posixOnly } from './host.ts';
import * as libc from './libc-files.ts';
import { NativeBlock, interrupted, orErrno } from './native.ts';

const INO_AT = DIRENT.ino.offset;
const OFF_AT = DIRENT.off.offset;
const RECLEN_AT = DIRENT.reclen.offset;
const TYPE_AT = DIRENT.type.offset;
const NAME_AT = DIRENT.nameOffset;
const NAMLEN = DIRENT.namlen;
const RECORD_ALIGN = 8;
const TWO32 = 0x1_0000_0000;
const HIGH_MAX = 0x20_0000; // a high word below this makes a number below 2^53
const SEEK_SET = 0;

/** Where getdirentries writes the position of the block; we have it from the entries. */
const scratch = new NativeBlock(8);
const linuxRead = abi.files.calls === null ? null : libc.getdents64;
const ENOSYS = ERRNO.ENOSYS as number;
/** Whether positions are numbers of ours. */
const counted = posixOnly || !DIRENT.offIsPosition;

/** Linux's types of directory entries, which are the other hosts' too. */
export const DT = {
  UNKNOWN: 0,
  FIFO: 1,
  CHR: 2,
  DIR: 4,
  BLK: 6,
  REG: 8,
  LNK: 10,
  SOCK: 12,
  WHT: 14,
} as const;

/**
 * Reads entries from where the directory's fd is; how many bytes of them, 0 at the end, or -errno
 * (-EINVAL when the buffer is too small for one). The buffer is aligned to 8 bytes, and the fd
 * is closed with `closeFd`.
 */
export function readDirBlock(fd: number, buf: number, bytes: number): number {
  return counted ? readCounted(readHost, fd, buf, bytes) : readHost(fd, buf, bytes);
}

function readHost(fd: number, buf: number, bytes: number): number {
  let count = readOnce(fd, buf, bytes);
  while (interrupted(count)) count = readOnce(fd, buf, bytes);
  return orErrno(count);
}

function readOnce(fd: number, buf: number, bytes: number): number {
  if (linuxRead !== null) return linuxRead(fd, buf, bytes);
  if (libc.getdents !== null) return libc.getdents(fd, buf, bytes);
  if (libc.getdirentries !== null) return libc.getdirentries(fd, buf, bytes, scratch.address);
  return -ENOSYS;
}

/**
 * Goes to a position that an entry had ({@link DirCursor}); 0 or -errno. The position is one number
 * below 2^53, or its low and its high word: those of ext4 are hashes of 63 bits.
 */
export function seekDir(fd: number, cookieLow: number, cookieHigh = 0): number {
  if (counted) return seekCounted(readHost, fd, cookieLow + cookieHigh * TWO32);
  const offset =
    cookieHigh < HIGH_MAX
      ? cookieLow + cookieHigh * TWO32
      : (BigInt(cookieHigh) << 32n) | BigInt(cookieLow);
  const result = libc.lseek(fd, offset, SEEK_SET);
  return result < 0 ? orErrno(result) : 0;
}

/** One entry of a block; used again for all of them. The fields are valid until the next `load`. */
export class DirCursor {
  /** The inode number, exact below 2^53, else Infinity: `inoLow` and `inoHigh` always tell it. */
  ino = 0;
  inoLow = 0;
  inoHigh = 0;
  /** Where the next entry is, exact below 2^53, else Infinity; the words always tell it. */
  offset = 0;
  offsetLow = 0;
  offsetHigh = 0;
  /** One of {@link DT}. */
  type = 0;
  /** Where the name is in the view that was loaded from. */
  nameAt = 0;
  nameBytes = 0;
  /** Its address; the bytes end with a NUL. Borrowed: part of the block. */
  nameAddress = 0;

  /**
   * Reads the entry at `at` of a block that {@link readDirBlock} filled, and returns where the next
   * one begins: the end of the block, when that is the number of bytes that it returned.
   *
   * @param blockAddress the address of the view's first byte, for `nameAddress`
   */
  load(view: DataView, at: number, blockAddress = 0): number {
    this.inoLow = view.getUint32(at + INO_AT, true);
    this.inoHigh = view.getUint32(at + INO_AT + 4, true);
    this.ino = this.inoHigh < HIGH_MAX ? this.inoHigh * TWO32 + this.inoLow : Infinity;
    this.offsetLow = view.getUint32(at + OFF_AT, true);
    this.offsetHigh = view.getUint32(at + OFF_AT + 4, true);
    this.offset = this.offsetHigh < HIGH_MAX ? this.offsetHigh * TWO32 + this.offsetLow : Infinity;
    const record = view.getUint16(at + RECLEN_AT, true);
    this.type = view.getUint8(at + TYPE_AT);
    this.nameAt = at + NAME_AT;
    this.nameAddress = blockAddress + this.nameAt;
    if (NAMLEN === null) {
      // The NUL is one of the record's last bytes, which the kernel pads to a multiple of 8.
      const end = at + record;
      let nul = Math.max(this.nameAt, end - RECORD_ALIGN);
      while (nul < end && view.getUint8(nul) !== 0) nul++;
      this.nameBytes = nul - this.nameAt;
    } else {
      const lengthAt = at + NAMLEN.offset;
      this.nameBytes =
        NAMLEN.bytes === 1 ? view.getUint8(lengthAt) : view.getUint16(lengthAt, true);
    }
    return at + record;
  }
}
