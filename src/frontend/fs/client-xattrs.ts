/**
 * Extended attributes of what a path leads to, as a client's methods have them.
 *
 * @module
 */
import { FUSE_OPCODE, XATTR } from '../../fuse/index.ts';
import type { FuseCalls } from './calls.ts';
import type { FsData } from './file-handle.ts';
import type { FsPaths, LinkOptions } from './paths.ts';
import type { FsName } from './structures.ts';
import type { FsPath } from './walk.ts';

const XATTR_BYTES_MAX = 65536; // XATTR_SIZE_MAX, XATTR_LIST_MAX

/** `create` and `replace` say that an attribute must not, or must, exist. */
export type SetXattrOptions = LinkOptions & {
  readonly create?: boolean;
  readonly replace?: boolean;
};

/** The value of one; an error of code `ENODATA` when there is none of this name. */
export function getXattr(
  paths: FsPaths,
  calls: FuseCalls,
  path: FsPath,
  name: FsName,
  options: LinkOptions,
): Promise<Buffer> {
  return paths.xattr('getxattr', path, options, FUSE_OPCODE.GETXATTR, async (node) => {
    const bytes = await calls.getxattr(node.id, name, XATTR_BYTES_MAX);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  });
}

/** Sets one. */
export function setXattr(
  paths: FsPaths,
  calls: FuseCalls,
  path: FsPath,
  name: FsName,
  value: FsData,
  options: SetXattrOptions,
): Promise<void> {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  const flags =
    (options.create === true ? XATTR.CREATE : 0) | (options.replace === true ? XATTR.REPLACE : 0);
  return paths.xattr('setxattr', path, options, FUSE_OPCODE.SETXATTR, (node) => {
    return calls.setxattr(node.id, name, bytes, flags);
  });
}

/** The names of all. */
export function listXattrs(
  paths: FsPaths,
  calls: FuseCalls,
  path: FsPath,
  options: LinkOptions,
): Promise<string[]> {
  return paths.xattr('listxattr', path, options, FUSE_OPCODE.LISTXATTR, async (node) => {
    const bytes = await calls.listxattr(node.id, XATTR_BYTES_MAX);
    return Buffer.from(bytes).toString().split('\0').slice(0, -1);
  });
}

/** Removes one. */
export function removeXattr(
  paths: FsPaths,
  calls: FuseCalls,
  path: FsPath,
  name: FsName,
  options: LinkOptions,
): Promise<void> {
  return paths.xattr('removexattr', path, options, FUSE_OPCODE.REMOVEXATTR, (node) => {
    return calls.removexattr(node.id, name);
  });
}
