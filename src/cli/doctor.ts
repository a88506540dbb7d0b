/**
 * What `vhost-user doctor` prints.
 *
 * @module
 */
import { examine, isHealthy } from '../doctor/index.ts';
import { EXIT } from './errors.ts';
import { print } from './output.ts';

/** Looks at this host and prints what was found; returns the exit code. */
export async function doctor(): Promise<number> {
  const { findings } = await examine(() => undefined);
  for (const { status, title, detail, remedy } of findings) {
    print(`${status.padEnd(8)} ${title}: ${detail}\n`);
    if (remedy === null) continue;
    print(`         ${remedy.text}\n`);
    for (const command of remedy.commands) print(`           ${command}\n`);
  }
  return isHealthy(findings) ? EXIT.OK : EXIT.FAILED;
}
