/**
 * The program as it is published, in a few files, made out of what is compiled for the tests.
 *
 * @module
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Calls `body` with the file of the bundled program, which is there for that long. */
export async function withBundledProgram(body: (file: string) => Promise<void>): Promise<void> {
  const build = fileURLToPath(new URL('../../', import.meta.url));
  const folder = mkdtempSync(join(build, 'bundled-')); // where its dependencies are found
  try {
    const script = join(build, 'scripts', 'bundle.js');
    execFileSync(process.execPath, [script, join(build, 'src'), folder]);
    await body(join(folder, 'cli', 'main.js'));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
