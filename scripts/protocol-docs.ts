/**
 * Writes `docs/protocol.md` from the tables in `src/protocol`:
 * `node build/scripts/protocol-docs.js`.
 *
 * @module
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderProtocolPage } from '../src/protocol/index.ts';
import { ROOT } from '../test/support/repository.ts';

writeFileSync(join(ROOT, 'docs/protocol.md'), renderProtocolPage());
