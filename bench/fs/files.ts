/**
 * The folder that both servers share: a large file, many small ones, a tree, and room for new ones.
 *
 * @module
 */
import { randomFillSync } from 'node:crypto';
import { closeSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { runProcess } from '../process.ts';
import { DATA_BYTES, FILE_COUNT, SMALL_FILE_BYTES } from './plan.ts';

const CHUNK_BYTES = 2 ** 20;
const TAR_MS = 60_000;
/** Files of the tree: as many in each of its folders. */
export const TREE = { folders: 60, filesEach: 50, bytesMax: 16_384 } as const;

/** Names in the shared folder. */
export const SHARED = {
  /** One large file, of random bytes so that no part is a hole. */
  data: 'data',
  /** A folder with `FILE_COUNT` small files. */
  many: 'many',
  /** An empty folder, for files that are made and unlinked. */
  fresh: 'fresh',
  /** A tree of `TREE.folders` folders. */
  tree: 'tree',
  /** The tree in a file. */
  archive: 'tree.tar',
} as const;

/** The name of a small file in `many`, as `FsBench` counts them. */
export function smallFileName(index: number): string {
  return `f${index}`;
}

/** A folder with files of the tree, from the tree on. */
export function treeFolder(index: number): string {
  return `folder-${index >> 3}/part-${index}`;
}

/** Makes it all in `shared`, which must not be there. */
export async function makeShared(shared: string): Promise<void> {
  mkdirSync(shared);
  makeData(`${shared}/${SHARED.data}`);
  mkdirSync(`${shared}/${SHARED.many}`);
  const bytes = randomFillSync(Buffer.alloc(SMALL_FILE_BYTES));
  for (let index = 0; index < FILE_COUNT; index++) {
    writeFileSync(`${shared}/${SHARED.many}/${smallFileName(index)}`, bytes);
  }
  makeTree(`${shared}/${SHARED.tree}`);
  const args = ['-C', shared, '-cf', `${shared}/${SHARED.archive}`, SHARED.tree];
  await runProcess({ file: 'tar', args }, TAR_MS);
  emptyFresh(shared);
}

/** Takes away what a run may have left in `fresh`. */
export function emptyFresh(shared: string): void {
  rmSync(`${shared}/${SHARED.fresh}`, { recursive: true, force: true });
  mkdirSync(`${shared}/${SHARED.fresh}`);
}

function makeData(path: string): void {
  const chunk = randomFillSync(Buffer.alloc(CHUNK_BYTES));
  const fd = openSync(path, 'wx');
  for (let at = 0; at < DATA_BYTES; at += CHUNK_BYTES) writeSync(fd, chunk);
  closeSync(fd);
}

/** Files of many sizes, as a source tree has them: most are small. */
function makeTree(path: string): void {
  const bytes = randomFillSync(Buffer.alloc(TREE.bytesMax));
  for (let folder = 0; folder < TREE.folders; folder++) {
    const parent = `${path}/${treeFolder(folder)}`;
    mkdirSync(parent, { recursive: true });
    for (let file = 0; file < TREE.filesEach; file++) {
      const size = TREE.bytesMax >> (file % 7); // 256 bytes to 16 KiB
      writeFileSync(`${parent}/source-${file}.c`, bytes.subarray(0, size));
    }
  }
}
