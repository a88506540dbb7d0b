/**
 * Extended attributes of nodes in memory.
 *
 * @module
 */
import { fsError, timestampNow } from '../tree/index.ts';
import type { Budget } from './budget.ts';
import type { MemoryNode } from './node.ts';

/** Whether a guest may set trusted. and security. ones, its kernel decides. */
const NAMESPACES = /^(user|trusted|security)\../;
/** Linux's limits (XATTR_SIZE_MAX, XATTR_LIST_MAX). */
const VALUE_BYTES_MAX = 65_536;
const LIST_BYTES_MAX = 65_536;

/** A value, or undefined. */
export function getXattr(node: MemoryNode, name: string): Uint8Array | undefined {
  checkName(name);
  return node.xattrs?.get(name);
}

/** All names. */
export function listXattrs(node: MemoryNode): Iterable<string> {
  return node.xattrs?.keys() ?? [];
}

/** Sets one; keeps the value. */
export function setXattr(
  budget: Budget,
  node: MemoryNode,
  name: string,
  value: Uint8Array,
  mode: { readonly create: boolean; readonly replace: boolean },
): void {
  checkName(name);
  // Nobody would give the memory back.
  if (node.linkCount === 0 && node.opens === 0) throw fsError('ENOENT');
  if (value.length > VALUE_BYTES_MAX) throw fsError('ERANGE');
  const before = node.xattrs?.get(name);
  if (mode.create && before !== undefined) throw fsError('EEXIST');
  if (mode.replace && before === undefined) throw fsError('ENODATA');
  let listBytes = before === undefined ? costOf(name) : 0;
  for (const each of listXattrs(node)) listBytes += costOf(each);
  if (listBytes > LIST_BYTES_MAX) throw fsError('ENOSPC');
  budget.takeBytes(value.length - (before === undefined ? -costOf(name) : before.length));
  node.xattrs ??= new Map();
  node.xattrs.set(name, value);
  node.changed = timestampNow();
}

/** Removes one; ENODATA when there is none. */
export function removeXattr(budget: Budget, node: MemoryNode, name: string): void {
  checkName(name);
  const value = node.xattrs?.get(name);
  if (value === undefined) throw fsError('ENODATA');
  node.xattrs?.delete(name);
  budget.takeBytes(-value.length - costOf(name));
  node.changed = timestampNow();
}

function costOf(name: string): number {
  return Buffer.byteLength(name) + 1;
}

function checkName(name: string): void {
  if (!NAMESPACES.test(name)) throw fsError('EOPNOTSUPP');
}
