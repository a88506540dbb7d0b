/**
 * What of a file system changes something, and one without that.
 *
 * @module
 */
import type { FileSystem } from './file-system.ts';

const WRITING = [
  'write',
  'setStat',
  'create',
  'makeDirectory',
  'makeSymlink',
  'makeNode',
  'makeUnnamed',
  'link',
  'unlink',
  'removeDirectory',
  'rename',
  'exchange',
  'allocate',
  'copyRange',
  'setXattr',
  'removeXattr',
] as const;

const READING = [
  'stat',
  'inode',
  'lookup',
  'list',
  'readLink',
  'readFile',
  'read',
  'readNative',
  'open',
  'flush',
  'close',
  'seek',
  'getXattr',
  'listXattrs',
  'usage',
  'forget',
  'end',
] as const;

/** Whether a file system can change anything. */
export function isWritable<Node, File>(fs: FileSystem<Node, File>): boolean {
  return WRITING.some((name) => fs[name] !== undefined);
}

/** A file system of which everything that changes it is left out. */
export function readOnlyView<Node, File>(fs: FileSystem<Node, File>): FileSystem<Node, File> {
  const view: Record<string, unknown> = { root: fs.root };
  if (fs.validMs !== undefined) view['validMs'] = fs.validMs;
  if (fs.noOpen !== undefined) view['noOpen'] = fs.noOpen;
  for (const name of READING) {
    if (fs[name] !== undefined) view[name] = fs[name].bind(fs);
  }
  return view as unknown as FileSystem<Node, File>;
}
