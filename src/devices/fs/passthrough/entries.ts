/**
 * Answers that describe a node: `fuse_entry_out` and `fuse_attr_out`.
 *
 * @module
 */
import {
  FUSE_ATTR_OUT,
  FUSE_ATTR_SUBMOUNT,
  FUSE_ENTRY_OUT,
  FUSE_INIT,
  FUSE_WRITE_OUT,
  LINUX_E,
  S_IF,
} from '../../../fuse/index.ts';
import type { FolderState } from './folder-state.ts';
import { NO_SLOT, ROOT_SLOT } from './node-table.ts';
import { overrideOf } from './override-file.ts';
import { setU53 } from './owners.ts';

const KIND_FOLDER = S_IF.DIR >> 12;

/** Writes `struct fuse_attr_out` for a node that `state.stat` describes; returns its size. */
export function writeAttrOut(state: FolderState, out: DataView, slot: number): number {
  setU53(out, FUSE_ATTR_OUT.attrValid, validSeconds(state));
  out.setUint32(FUSE_ATTR_OUT.attrValidNsec, 0, true);
  out.setUint32(FUSE_ATTR_OUT.attrValidNsec + 4, 0, true);
  const flags = submountFlags(state, slot);
  state.owners.fillAttr(out, FUSE_ATTR_OUT.attr, state.stat, flags, overrideOf(state, slot));
  return FUSE_ATTR_OUT.SIZE;
}

/**
 * Writes `struct fuse_entry_out` at `at` for a node that `state.stat` describes; returns its size.
 * The guest has looked the node up once more by that.
 */
export function writeEntry(state: FolderState, out: DataView, at: number, slot: number): number {
  const { nodes } = state;
  nodes.lookups[slot] = (nodes.lookups[slot] as number) + 1;
  const seconds = validSeconds(state);
  setU53(out, at + FUSE_ENTRY_OUT.nodeid, nodes.idOf(slot));
  setU53(out, at + FUSE_ENTRY_OUT.generation, 0); // numbers of nodes are never used again
  setU53(out, at + FUSE_ENTRY_OUT.entryValid, seconds);
  setU53(out, at + FUSE_ENTRY_OUT.attrValid, seconds);
  out.setUint32(at + FUSE_ENTRY_OUT.entryValidNsec, 0, true);
  out.setUint32(at + FUSE_ENTRY_OUT.attrValidNsec, 0, true);
  const flags = submountFlags(state, slot);
  const said = overrideOf(state, slot);
  state.owners.fillAttr(out, at + FUSE_ENTRY_OUT.attr, state.stat, flags, said);
  return FUSE_ENTRY_OUT.SIZE;
}

/**
 * Answers with the node that `state.stat` describes, seen under the first name of a call. The
 * answer's size, or a negative errno.
 */
export function entryOf(
  state: FolderState,
  out: DataView,
  parent: number,
  bytes: Uint8Array,
  offset: number,
  length: number,
): number {
  const slot = state.seen(parent, bytes, offset, length);
  return slot < 0 ? slot : writeEntry(state, out, 0, slot);
}

const VALID_SECONDS = { never: 0, metadata: 86_400, auto: 1, always: 86_400 } as const;

function validSeconds(state: FolderState): number {
  return VALID_SECONDS[state.settings.cache];
}

/** What is mounted in the folder, or bound there from elsewhere, is a mount in the guest, too. */
function submountFlags(state: FolderState, slot: number): number {
  const { nodes, session, settings } = state;
  if (!settings.announceSubmounts || session === null || slot === ROOT_SLOT) return 0;
  if ((session.flags & FUSE_INIT.SUBMOUNTS) === 0 || nodes.kind[slot] !== KIND_FOLDER) return 0;
  const parent = nodes.parent[slot] as number;
  return parent === NO_SLOT || nodes.sameMount(slot, parent) ? 0 : FUSE_ATTR_SUBMOUNT;
}

/** Writes `fuse_write_out`; returns its size. */
export function writeAnswer(out: DataView, bytes: number): number {
  out.setUint32(FUSE_WRITE_OUT.size, bytes, true);
  out.setUint32(FUSE_WRITE_OUT.size + 4, 0, true);
  return FUSE_WRITE_OUT.SIZE;
}

/** ESTALE, for a node that the guest does not have. */
export const STALE: number = -LINUX_E.STALE;
