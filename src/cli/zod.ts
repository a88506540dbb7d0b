/**
 * zod, loaded as CommonJS: file after file. As a module of ECMAScript its hundred files are opened
 * at once, which a process that may open few files (`ulimit -n 64`) does not survive.
 *
 * @module
 */
import { createRequire } from 'node:module';
import type { z as Zod } from 'zod';

/** The same as zod's own `z`; its types are those of `zod`. */
export const z: typeof Zod = (createRequire(import.meta.url)('zod') as { z: typeof Zod }).z;
