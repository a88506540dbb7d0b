/**
 * The version of this package.
 *
 * @module
 */
import { readFileSync } from 'node:fs';

/** How far up the package's own file may be: from dist/program/chunks, or from build/src/cli. */
const LEVELS_MAX = 4;

/** The version, out of package.json. */
export function programVersion(): string {
  for (let level = 1, up = '..'; level <= LEVELS_MAX; level++, up += '/..') {
    try {
      const text = readFileSync(new URL(`${up}/package.json`, import.meta.url), 'utf8');
      const found = JSON.parse(text) as { readonly name?: string; readonly version?: string };
      if (found.name === 'vhost-user' && found.version !== undefined) return found.version;
    } catch {
      // Not there: it is further up.
    }
  }
  return 'unknown';
}
