/**
 * The guest's end of the tests and benchmarks of vsock, compiled for it once.
 *
 * @module
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { runProgram } from '../peers/process.ts';
import type { Peers } from '../peers/setup.ts';
import { ROOT } from '../support/repository.ts';

const SOURCE = join(ROOT, 'test/guest/vsock-guest.c');

/** Where the program is in a guest. */
export const VSOCK_GUEST = '/bin/vsock-guest';

/** The programs of a guest that uses vsock; compiled when the source is a new one. */
export async function vsockPrograms(peers: Peers): Promise<Map<string, string>> {
  const source = readFileSync(SOURCE);
  const hash = createHash('sha256').update(source).digest('hex').slice(0, 16);
  const program = join(peers.cache, `vsock-guest-${hash}`);
  if (!existsSync(program)) {
    const temporary = `${program}.${process.pid}`;
    await runProgram([peers.compiler, '-O2', '-static', '-o', temporary, SOURCE]);
    renameSync(temporary, program); // two tests may build it at the same time
  }
  return new Map([[VSOCK_GUEST, program]]);
}
