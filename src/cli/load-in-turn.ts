/**
 * Loads what a server is made of in several steps. Node opens all modules at once that another one
 * imports, and those that these import: more files than a process has that may open few
 * (`ulimit -n 64`).
 *
 * @module
 */

/** From the bottom up; each step finds those before it loaded. */
const STEPS: readonly (() => Promise<unknown>)[] = [
  () => import('../util/index.ts'),
  () => import('../sys/index.ts'),
  () => import('../protocol/index.ts'),
  () => import('../backend/index.ts'),
  () => import('../fuse/index.ts'),
  () => import('../devices/fs/index.ts'),
  () => import('../devices/vsock/index.ts'),
  () => import('../devices/console/index.ts'),
];

/** Loads them, so that what imports them afterwards opens few files. */
export async function loadInTurn(): Promise<void> {
  for (const step of STEPS) await step();
}
