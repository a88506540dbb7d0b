/**
 * The benchmarks' command line: `npm run bench -- blk [options]`, and the same with `fs`,
 * `fs-walk`, `fs-memory`, `vsock`, `console` and `rng`; `sandbox` compares our own servers with
 * themselves.
 *
 * @module
 */
import { VhostUserError, errorMessage } from '../src/util/index.ts';

const HELP = `usage: npm run bench -- blk|fs|fs-walk|fs-memory|vsock|console|rng|sandbox [options]

  blk        our disk beside qemu-storage-daemon
  fs         our shared folder beside virtiofsd
  fs-walk    memory of both while a guest walks a million files
  fs-memory  the same without a guest, with and without limits, and after FORGET of all
  vsock      our vsock device beside vhost-device-vsock
  console    our console, beside vhost-device-console where that is there and works
  rng        our source of random bytes, beside vhost-device-rng where that is there
  sandbox    our own servers with their sandbox and without

Each has options of its own: npm run bench -- fs --help
`;

/** Runs the benchmark that the first argument names; returns the exit status. */
async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === 'blk') return (await import('./blk-main.ts')).blkMain(rest);
  if (name === 'fs') return (await import('./fs/main.ts')).fsMain(rest);
  if (name === 'fs-walk') return (await import('./fs/walk.ts')).fsWalkMain(rest);
  if (name === 'fs-memory') return (await import('./fs/memory.ts')).fsMemoryMain(rest);
  if (name === 'vsock') return (await import('./vsock/main.ts')).vsockMain(rest);
  if (name === 'console') return (await import('./console/main.ts')).consoleMain(rest);
  if (name === 'rng') return (await import('./rng/main.ts')).rngMain(rest);
  if (name === 'sandbox') return (await import('./sandbox/main.ts')).sandboxMain(rest);
  const asked = name === '--help' || name === '-h';
  (asked ? process.stdout : process.stderr).write(HELP);
  return asked ? 0 : 2;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const known = error instanceof VhostUserError || error instanceof TypeError; // parseArgs' own
  process.stderr.write(`bench: ${known ? errorMessage(error) : String((error as Error).stack)}\n`);
  process.exitCode = 2;
}
