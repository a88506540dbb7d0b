/**
 * Requests about extended attributes.
 *
 * @module
 */
import {
  FUSE_GETXATTR_IN,
  FUSE_GETXATTR_OUT,
  FUSE_SETXATTR_IN,
  LINUX_E,
  XATTR,
} from '../../../fuse/index.ts';
import type { FuseCall } from '../operations.ts';
import type { TreeCore } from './core.ts';
import { fsError } from './errors.ts';
import { nameBytes } from './names.ts';
import { nameOf } from './nodes.ts';

const NUL = Buffer.of(0);

/** GETXATTR. */
export function getxattr<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const { fs } = core;
  if (fs.getXattr === undefined) return -LINUX_E.NOSYS;
  const bytesMax = call.input.getUint32(FUSE_GETXATTR_IN.size, true);
  return core.run(
    call,
    (request) => fs.getXattr?.(core.known(call.nodeId).node, nameOf(call), request),
    (value) => {
      if (value === undefined) throw fsError('ENODATA');
      return putValue(call, value, bytesMax);
    },
  );
}

/** LISTXATTR. */
export function listxattr<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const { fs } = core;
  if (fs.listXattrs === undefined) return -LINUX_E.NOSYS;
  const bytesMax = call.input.getUint32(FUSE_GETXATTR_IN.size, true);
  return core.run(
    call,
    (request) => fs.listXattrs?.(core.known(call.nodeId).node, request) ?? [],
    (names) => {
      const parts = [...names].flatMap((name) => [nameBytes(name), NUL]);
      return putValue(call, Buffer.concat(parts), bytesMax);
    },
  );
}

/** A caller who has room for 0 bytes wants to know how many there are. */
function putValue(call: FuseCall, value: Uint8Array, bytesMax: number): number {
  if (bytesMax === 0) {
    call.out.setUint32(FUSE_GETXATTR_OUT.size, value.length, true);
    call.out.setUint32(FUSE_GETXATTR_OUT.size + 4, 0, true);
    return FUSE_GETXATTR_OUT.SIZE;
  }
  if (value.length > Math.min(bytesMax, call.outBytesMax)) return -LINUX_E.RANGE;
  call.outArray.set(value);
  return value.length;
}

/** SETXATTR. */
export function setxattr<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const { fs } = core;
  if (fs.setXattr === undefined) return -LINUX_E.NOSYS;
  const flags = call.input.getUint32(FUSE_SETXATTR_IN.flags, true);
  const mode = { create: (flags & XATTR.CREATE) !== 0, replace: (flags & XATTR.REPLACE) !== 0 };
  const end = call.secondOffset + call.secondBytes;
  const value = call.inputArray.slice(call.secondOffset, end);
  return core.run(
    call,
    (request) => fs.setXattr?.(core.known(call.nodeId).node, nameOf(call), value, mode, request),
    () => 0,
  );
}

/** REMOVEXATTR. */
export function removexattr<Node, File>(core: TreeCore<Node, File>, call: FuseCall): number {
  const { fs } = core;
  if (fs.removeXattr === undefined) return -LINUX_E.NOSYS;
  return core.run(
    call,
    (request) => fs.removeXattr?.(core.known(call.nodeId).node, nameOf(call), request),
    () => 0,
  );
}
