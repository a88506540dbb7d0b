/**
 * What is in a folder, as a client's `readdir` has it.
 *
 * @module
 */
import type { FuseCalls } from './calls.ts';
import type { ReaddirOptions } from './client-options.ts';
import { direntsOf, listFolder } from './directory.ts';
import type { FsMount } from './mount.ts';
import type { FsNode } from './nodes.ts';
import type { FsPaths } from './paths.ts';
import { FsDirent } from './structures.ts';
import { pathText } from './walk.ts';
import type { FsPath } from './walk.ts';

/** The entries of a folder, or their names, by the options; in the server's order. */
export async function listPath(
  mount: FsMount,
  calls: FuseCalls,
  paths: FsPaths,
  path: FsPath,
  options: ReaddirOptions,
): Promise<(string | Buffer | FsDirent | FsDirent<Buffer>)[]> {
  const { encoding = 'utf8', withStats = false, withFileTypes = withStats } = options;
  const nameOf = encoding === 'buffer' ? bytesOf : textOf;
  const list: FsDirent<string | Buffer>[] = [];
  await paths.at('scandir', path, 'follow', async (node) => {
    const parent = pathText(path);
    const entries = listFolder(mount, calls, node, withStats);
    for await (const each of direntsOf<string | Buffer>(entries, parent, nameOf)) {
      list.push(withStats ? await described(mount, calls, node, each) : each);
    }
  });
  return (withFileTypes ? list : list.map(({ name }) => name)) as (string | Buffer)[];
}

/** An entry with its stats, from a server whose listings have none. */
async function described<Name extends string | Buffer>(
  mount: FsMount,
  calls: FuseCalls,
  folder: FsNode,
  dirent: FsDirent<Name>,
): Promise<FsDirent<Name>> {
  if (dirent.stats !== null) return dirent;
  const entry = await calls.lookup(folder.id, dirent.name);
  if (entry === null) return dirent;
  mount.nodes.note(entry.nodeId);
  const { ino, stats } = { ino: dirent.ino, stats: entry.stats };
  return new FsDirent(dirent.name, dirent.parentPath, { ino, type: 0, stats });
}

function bytesOf(bytes: Buffer): Buffer {
  return bytes;
}

/** A name as text, by UTF-8. */
export function textOf(bytes: Buffer): string {
  return bytes.toString();
}
