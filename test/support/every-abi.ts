/**
 * The tables of all hosts, for whoever compares them; a program has those of its own host only.
 *
 * @module
 */
import { SUPPORTED_HOSTS, loadAbi } from '../../src/abi/index.ts';
import type { Abi } from '../../src/abi/index.ts';

const tables = new Map<string, Abi | undefined>();
for (const { os, arch } of SUPPORTED_HOSTS) tables.set(`${os}-${arch}`, await loadAbi(os, arch));

/** The table of a host, or undefined when there is none. */
export function abiFor(os: string, arch: string): Abi | undefined {
  return tables.get(`${os}-${arch}`);
}
