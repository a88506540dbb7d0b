/**
 * Runs pjdfstest in a guest by hand and lists the cases that fail. Usage: node
 * build/test/guest/pjdfstest.js [--server virtiofsd] [--cache never] [--host posix] [--writeback]
 * [PATTERN…]
 *
 * @module
 */
import { parseArgs } from 'node:util';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import { runConformance } from './pjdfstest-run.ts';
import type { ConformanceOptions } from './pjdfstest-run.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    server: { type: 'string', default: 'ours' },
    cache: { type: 'string', default: 'auto' },
    host: { type: 'string', default: 'native' },
    writeback: { type: 'boolean', default: false },
  },
});
const search = await ensurePeers();
if (search.peers === undefined) throw new Error(missingPeers(search));
const result = await runConformance({
  peers: search.peers,
  patterns: positionals,
  writeback: values.writeback,
  server: values.server as NonNullable<ConformanceOptions['server']>,
  cache: values.cache as NonNullable<ConformanceOptions['cache']>,
  host: values.host as NonNullable<ConformanceOptions['host']>,
});
for (const [name, reason] of result.failed) console.log(`${name}: ${reason}`);
for (const [name, reason] of result.skipped) console.log(`(skipped) ${name}: ${reason}`);
const { passed, failed, skipped } = result;
const counts = `${passed} passed, ${failed.size} failed, ${skipped.size} skipped`;
console.log(`pjdfstest, ${values.server}, cache=${values.cache}, ${values.host}: ${counts}`);
