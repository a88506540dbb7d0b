/**
 * Programs in C for guests of other architectures, compiled once by `zig cc`, without libraries.
 *
 * @module
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import type { ForeignGuest } from '../peers/foreign.ts';
import { runProgram } from '../peers/process.ts';
import { peerCache } from '../peers/setup.ts';
import { zigCache } from '../peers/zig.ts';
import { ROOT } from '../support/repository.ts';
import { VSOCK_GUEST } from './vsock-program.ts';

/** Where the program that uses a shared folder is in a guest. */
export const FILES_GUEST = '/bin/files-guest';

const COMPILE_MS_MAX = 600_000; // the first time it compiles a C library as well

const SOURCES: ReadonlyMap<string, string> = new Map([
  [VSOCK_GUEST, 'test/guest/vsock-guest.c'],
  [FILES_GUEST, 'test/guest/files-guest.c'],
]);

/** What this process has compiled or found, by the path. */
const compiled = new Map<string, Promise<void>>();

/** Each program's place in the guest, and its file here; compiled when its source is a new one. */
export async function foreignPrograms(
  zig: string,
  guest: ForeignGuest,
): Promise<Map<string, string>> {
  const programs = new Map<string, string>();
  for (const [place, file] of SOURCES) {
    const source = join(ROOT, file);
    const hash = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 16);
    const name = file.replace(/^.*\/|\.c$/g, '');
    const program = join(peerCache(), `${name}-${guest.machine}-${hash}`);
    // Guests of one processor that boot at the same time have the same programs.
    const compiling = compiled.get(program) ?? compile(zig, guest.machine, source, program);
    compiled.set(program, compiling);
    await compiling;
    programs.set(place, program);
  }
  return programs;
}

async function compile(zig: string, machine: string, source: string, to: string): Promise<void> {
  if (existsSync(to)) return;
  const temporary = `${to}.${process.pid}`;
  const target = ['-target', `${machine}-linux-musl`, '-static', '-O1', '-s'];
  const cache = [`ZIG_GLOBAL_CACHE_DIR=${zigCache()}`, `ZIG_LOCAL_CACHE_DIR=${zigCache()}`];
  const command = ['env', ...cache, zig, 'cc', ...target, '-o', temporary, source];
  await runProgram(command, { timeoutMs: COMPILE_MS_MAX });
  renameSync(temporary, to); // two tests may build it at the same time
}
