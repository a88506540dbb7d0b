/**
 * What can be checked without running the product: types, lint, format and the house style.
 *
 * @module
 */
import { checkCommand } from './command.ts';
import type { Check } from './outcome.ts';
import { runTestFiles } from './test-files.ts';

const LIMIT_MS = 240_000;

/** Runs the compiler, the linter, the formatter and test/tidy.test.ts. */
export async function checkStatics(report: (check: Check) => void): Promise<void> {
  const runTool = async (...command: readonly string[]): Promise<void> => {
    const name = command.join(' ');
    report(await checkCommand(name, ['npx', '--no-install', ...command], { limitMs: LIMIT_MS }));
  };
  const others = async (): Promise<void> => {
    await runTool('tsc', '-p', 'tsconfig.build.json', '--noEmit');
    await runTool('prettier', '--check', '--log-level', 'warn', '.');
    await runTestFiles(['test/tidy.test.ts'], { atATime: 1, limitMs: LIMIT_MS }, report);
  };
  // The linter, which knows the types, takes about as long as all the others.
  await Promise.all([runTool('eslint', '.'), others()]);
}
