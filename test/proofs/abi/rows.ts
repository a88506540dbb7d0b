/**
 * A table of numbers as rows: each leaf with its path.
 *
 * @module
 */
import { SUPPORTED_HOSTS, abiOf } from '../../../src/abi/index.ts';

/** What a row may hold; undefined: the table has not what others have under this name. */
export type Value = number | string | boolean | null | undefined;

/** One leaf of a table. */
export interface Row {
  /** As `files.stat.size.offset`. */
  readonly path: string;
  readonly value: Value;
}

/** Parts of a table in which a host may leave names out. */
const WITH_GAPS = ['optional', 'files', 'files.flock'] as const;

/** The leaves of a table, and `undefined` for each optional name that only other tables have. */
export function rowsOf(table: object): Row[] {
  const rows: Row[] = [];
  collect(table, '', rows);
  const known = new Set(rows.map(({ path }) => path));
  for (const path of optionalPaths()) {
    if (!known.has(path)) rows.push({ path, value: undefined });
  }
  return rows;
}

function collect(value: unknown, path: string, rows: Row[]): void {
  if (typeof value !== 'object' || value === null) {
    rows.push({ path, value: value as Value });
    return;
  }
  for (const [key, inner] of Object.entries(value)) {
    collect(inner, path === '' ? key : `${path}.${key}`, rows);
  }
}

const optionals = new Set<string>();

/** Every name that some table has where others may have none. */
function optionalPaths(): Set<string> {
  const all = optionals;
  if (all.size > 0) return all;
  for (const { os, arch } of SUPPORTED_HOSTS) {
    const rows: Row[] = [];
    collect(abiOf(os, arch), '', rows);
    for (const { path, value } of rows) {
      if (value === null) continue; // a whole part that this host lacks
      const parent = path.slice(0, path.lastIndexOf('.'));
      if ((WITH_GAPS as readonly string[]).includes(parent)) all.add(path);
    }
  }
  return all;
}

/** The table with one leaf altered; `alter` gets what it was. */
export function altered(table: object, path: string, alter: (value: Value) => Value): object {
  const copy = structuredClone(table) as Record<string, unknown>;
  const keys = path.split('.');
  const last = keys.pop() ?? '';
  let at = copy;
  for (const key of keys) at = at[key] as Record<string, unknown>;
  at[last] = alter(at[last] as Value);
  return copy;
}
