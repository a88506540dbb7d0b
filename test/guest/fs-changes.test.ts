/**
 * What a guest sees of a shared folder after its host has changed it, in each cache mode: the table
 * in docs/devices/fs.md.
 *
 * @module
 */
import assert from 'node:assert/strict';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import type { Peers } from '../peers/setup.ts';
import { RunningProgram } from '../support/program.ts';
import { runGuestOrThrow } from './qemu.ts';

const MODES = ['never', 'metadata', 'auto', 'always'] as const;

/** The guest looks before, at once after, more than a second after, and without what it cached. */
const SCRIPT = `set -u
for mode in ${MODES.join(' ')} ctl; do
  mkdir -p /$mode
  mount -t virtiofs $mode /$mode || exit 1
done
report() {
  for mode in ${MODES.join(' ')}; do
    cd /$mode
    echo "@$mode.$1.content=$(cat content)"
    echo "@$mode.$1.size=$(stat -c %s grown)"
    echo "@$mode.$1.grown=$(cat grown)"
    echo "@$mode.$1.mode=$(stat -c %a mode)"
    echo "@$mode.$1.born=$(test -e born && echo yes || echo no)"
    echo "@$mode.$1.gone=$(test -e gone && echo yes || echo no)"
  done
}
list() {
  for mode in ${MODES.join(' ')}; do
    cd /$mode
    echo "@$mode.$1.names=$(echo *)"
  done
}
list before
report before
echo @ready=yes
until [ -e /ctl/go ]; do sleep 0.1; done
report once
sleep 2
report later
list after
cd /
echo 3 >/proc/sys/vm/drop_caches
report dropped
`;

const OLD = {
  content: 'old!',
  size: '4',
  grown: 'base',
  mode: '644',
  born: 'no',
  gone: 'yes',
} as const;
const NEW = {
  content: 'new!',
  size: '8',
  grown: 'basemore',
  mode: '600',
  born: 'yes',
  gone: 'no',
} as const;

function makeFolder(folder: string): void {
  mkdirSync(folder);
  writeFileSync(join(folder, 'content'), OLD.content);
  writeFileSync(join(folder, 'grown'), OLD.grown);
  for (const name of ['mode', 'gone']) writeFileSync(join(folder, name), '');
}

function change(folder: string): void {
  const fd = openSync(join(folder, 'content'), 'r+'); // in its place, and as long as before
  writeSync(fd, NEW.content);
  closeSync(fd);
  appendFileSync(join(folder, 'grown'), 'more');
  chmodSync(join(folder, 'mode'), 0o600);
  writeFileSync(join(folder, 'born'), '');
  unlinkSync(join(folder, 'gone'));
}

async function look(context: TestContext, peers: Peers): Promise<ReadonlyMap<string, string>> {
  const folder = mkdtempSync('/tmp/vhu-fs-changes-');
  const devices = [...MODES, 'ctl'].map((name) => {
    const cache = name === 'ctl' ? 'never' : name;
    return `  - {type: fs, shared-dir: ${name}, cache: ${cache}, socket-path: ${name}.sock}\n`;
  });
  const config = join(folder, 'shares.yaml');
  writeFileSync(config, `log-format: text\ndevices:\n${devices.join('')}`);
  for (const mode of MODES) makeFolder(join(folder, mode));
  mkdirSync(join(folder, 'ctl'));
  const server = new RunningProgram(['run', config]);
  context.after(async () => {
    await server[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });
  await server.says(/listening on \S+ctl\.sock/);
  const tags = [...MODES, 'ctl'];
  const { values } = await runGuestOrThrow({
    peers,
    qemu: peers.qemu10,
    folder,
    disks: [],
    cpus: 1, // emulating two, QEMU 10 may trip over the devices of the other (iotlb_to_section)
    shares: tags.map((tag) => ({ tag, socketPath: join(folder, `${tag}.sock`) })),
    script: SCRIPT,
    memory: 'memfd',
    onLine: (line) => {
      if (line !== '@ready=yes') return;
      for (const mode of MODES) change(join(folder, mode));
      writeFileSync(join(folder, 'ctl', 'go'), '');
    },
  });
  return values;
}

const search = await ensurePeers();
if (search.peers === undefined) {
  const skip = missingPeers(search);
  test('what a guest sees of changes by its host', { skip }, () => undefined);
} else {
  const { peers } = search;
  test('what a guest sees of changes by its host is what the table says', async (context) => {
    const values = await look(context, peers);
    const seen = (mode: string, when: string): Record<string, string | undefined> =>
      Object.fromEntries(
        Object.keys(OLD).map((key) => [key, values.get(`${mode}.${when}.${key}`)]),
      );
    for (const mode of MODES) {
      assert.deepEqual(seen(mode, 'before'), OLD, mode);
      assert.deepEqual(seen(mode, 'dropped'), NEW, mode);
    }
    assert.deepEqual(seen('never', 'once'), NEW);
    assert.deepEqual(seen('auto', 'later'), NEW);
    for (const mode of ['metadata', 'always'] as const) {
      // Two seconds are not a day. A name that the guest does not know is asked for, always.
      const { mode: permissions, gone, born, content } = seen(mode, 'later');
      const known = { permissions, gone, born };
      assert.deepEqual(known, { permissions: OLD.mode, gone: OLD.gone, born: NEW.born }, mode);
      assert.equal(content, mode === 'metadata' ? NEW.content : OLD.content, mode);
    }
    const { content, grown } = seen('metadata', 'once');
    assert.deepEqual({ content, grown }, { content: NEW.content, grown: NEW.grown });
    assert.equal(values.get('never.after.names'), 'born content grown mode');
    assert.equal(values.get('auto.after.names'), 'born content grown mode');
  });
}
