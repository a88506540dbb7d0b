/**
 * A folder in which the package seems to be installed: `npx vhost-user` and `import 'vhost-user'`
 * lead to what was compiled together with the tests.
 *
 * @module
 */
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BUILD, ROOT } from './repository.ts';

/** Makes the folder; the caller removes it with `remove`. */
export function installedFolder(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'vhu-app-'));
  const module = join(path, 'node_modules', 'vhost-user');
  const bin = join(path, 'node_modules', '.bin');
  mkdirSync(module, { recursive: true });
  mkdirSync(bin);
  copyFileSync(join(ROOT, 'package.json'), join(module, 'package.json'));
  symlinkSync(join(BUILD, 'src'), join(module, 'dist'));
  writeFileSync(join(path, 'package.json'), '{ "private": true, "type": "module" }\n');
  const command = join(bin, 'vhost-user');
  const main = join(BUILD, 'src/cli/main.js');
  writeFileSync(command, `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`);
  chmodSync(command, 0o755);
  return {
    path,
    remove: () => {
      rmSync(path, { recursive: true, force: true });
    },
  };
}
