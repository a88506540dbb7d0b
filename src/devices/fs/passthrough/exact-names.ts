/**
 * Names on volumes that do not tell `README` from `Readme`, as those of macOS: the guest is a
 * Linux, whose programs take a name that was found for a file's name (git would see a second
 * file). So a name leads to a file only when the folder lists it in just this spelling.
 *
 * Volumes that store accented letters decomposed (HFS+) list names that the guest never gave: they
 * are composed again, which is what everybody else writes (Unicode's NFC).
 *
 * @module
 */
import { isUtf8 } from 'node:buffer';
import { LINUX_O } from '../../../fuse/index.ts';
import {
  DirCursor,
  NativeBlock,
  closeFd,
  hostOpenFlags,
  openAt,
  readDirBlock,
} from '../../../sys/index.ts';

const BLOCK_BYTES = 64 * 1024;
const FOLDER_FLAGS = hostOpenFlags(LINUX_O.RDONLY | LINUX_O.DIRECTORY);

let block: NativeBlock | null = null;
const cursor = new DirCursor();
const dot = new NativeBlock(2);
dot.bytes[0] = 0x2e;

/**
 * Whether a folder lists a name in just these bytes; also true when the folder cannot be read,
 * since then nobody sees another spelling. It reads the whole folder in the worst case.
 */
export function listsExactly(
  folder: number,
  bytes: Uint8Array,
  offset: number,
  length: number,
): boolean {
  const fd = openAt(folder, dot.address, FOLDER_FLAGS, 0);
  if (fd < 0) return true;
  block ??= new NativeBlock(BLOCK_BYTES);
  try {
    for (;;) {
      const blockBytes = readDirBlock(fd, block.address, BLOCK_BYTES);
      if (blockBytes <= 0) return blockBytes < 0;
      for (let at = 0; at < blockBytes;) {
        at = cursor.load(block.view, at, block.address);
        if (isName(block.bytes, bytes, offset, length)) return true;
      }
    }
  } finally {
    closeFd(fd);
  }
}

function isName(listed: Uint8Array, bytes: Uint8Array, offset: number, length: number): boolean {
  if (cursor.nameBytes === length) {
    let i = 0;
    while (i < length && listed[cursor.nameAt + i] === bytes[offset + i]) i++;
    if (i === length) return true;
  }
  const { nameAt: nameOffset, nameBytes } = cursor;
  if (isAscii(bytes, offset, length) || isAscii(listed, nameOffset, nameBytes)) return false;
  return composed(listed, nameOffset, nameBytes) === composed(bytes, offset, length);
}

/** Composes a listed name, in place of the bytes; returns its length now, never a longer one. */
export function compose(bytes: Uint8Array, offset: number, length: number): number {
  if (isAscii(bytes, offset, length)) return length;
  if (!isUtf8(bytes.subarray(offset, offset + length))) return length;
  const text = new TextEncoder().encode(composed(bytes, offset, length));
  if (text.length > length) return length;
  bytes.set(text, offset);
  return text.length;
}

function composed(bytes: Uint8Array, offset: number, length: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + offset, length)
    .toString()
    .normalize('NFC');
}

function isAscii(bytes: Uint8Array, offset: number, length: number): boolean {
  for (let i = 0; i < length; i++) if ((bytes[offset + i] as number) >= 0x80) return false;
  return true;
}
