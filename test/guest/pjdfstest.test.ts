/**
 * `vhost-user fs` and pjdfstest: in a Linux guest the whole conformance suite passes but for the
 * cases that are listed with their reasons in `pjdfstest-expected.txt`.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fsReference } from '../peers/servers.ts';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import { readText } from '../support/repository.ts';
import { runConformance } from './pjdfstest-run.ts';

const CASE_COUNT = 397; // what the suite has and a guest can run; link_count_max cannot

/** The cases that may fail: the first word of each line that is no comment. */
function expectedFailures(): ReadonlySet<string> {
  const lines = readText('test/guest/pjdfstest-expected.txt').split('\n');
  return new Set(lines.map((line) => /^[^#\s]+/.exec(line)?.[0] ?? '').filter(Boolean));
}

const search = await ensurePeers();
if (search.peers === undefined) {
  test('pjdfstest passes on our folder', { skip: missingPeers(search) }, () => undefined);
} else {
  const { peers } = search;
  for (const { cache, host } of [
    { cache: 'auto', host: 'native' },
    { cache: 'never', host: 'native' },
  ] as const) {
    test(`pjdfstest passes on a shared folder: ${host}, cache=${cache}`, async (context) => {
      const server = fsReference ? 'virtiofsd' : 'ours';
      const { passed, failed, skipped, seconds } = await runConformance({
        peers,
        cache,
        host,
        server,
      });
      context.diagnostic(`${passed} passed, ${failed.size} failed, ${seconds.toFixed(1)} s`);
      const expected = expectedFailures();
      const surprises = [...failed].filter(([name]) => !expected.has(name));
      assert.deepEqual(surprises, []);
      assert.deepEqual([...skipped.keys()], ['link::link_count_max']);
      assert.equal(passed + failed.size, CASE_COUNT);
    });
  }
}
