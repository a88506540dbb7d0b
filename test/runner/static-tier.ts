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
  const tools: readonly (readonly string[])[] = [
    ['tsc', '-p', 'tsconfig.build.json', '--noEmit'],
    ['eslint', '.'],
    ['prettier', '--check', '--log-level', 'warn', '.'],
  ];
  for (const command of tools) {
    const name = command.join(' ');
    report(await checkCommand(name, ['npx', '--no-install', ...command], { limitMs: LIMIT_MS }));
  }
  await runTestFiles(['test/tidy.test.ts'], { atATime: 1, limitMs: LIMIT_MS }, report);
}
