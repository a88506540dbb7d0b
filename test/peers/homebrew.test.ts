/**
 * The Homebrew recipe, as far as it can be tried without a Mac: it is Ruby, it names a release by
 * its sum, it switches vhost-user on, and it mends the kick of QEMU 11 and nothing else.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT, readText } from '../support/repository.ts';
import { runProgram } from './process.ts';
import { ensurePeers, missingPeers } from './setup.ts';

const RECIPE = 'share/homebrew/qemu-vhost-user.rb';

/** The place in question as QEMU 11 has it: the ring's descriptor is sent and then written to. */
const KICKING = `int before;

static int vhost_user_set_vring_kick(struct vhost_dev *dev,
                                     struct vhost_vring_file *file)
{
    int ret = vhost_set_vring_file(dev, VHOST_USER_SET_VRING_KICK, file);
    do {
        len = write(file->fd, &value, sizeof(value));
    } while (len < 0 && errno == EINTR);
    return ret;
}
`;

const search = await ensurePeers();
if (search.peers === undefined) {
  test('the Homebrew recipe is tried', { skip: missingPeers(search) }, () => undefined);
} else {
  const { ruby } = search.peers;

  test('the Homebrew recipe is Ruby, names its release and switches vhost-user on', async () => {
    const text = readText(RECIPE);
    await runProgram([ruby, '-wc', join(ROOT, RECIPE)]);
    assert.match(text, /^ {2}url "https:\/\/download\.qemu\.org\/qemu-\d+\.\d+\.\d+\.tar\.xz"$/m);
    assert.match(text, /^ {2}sha256 "[0-9a-f]{64}"$/m);
    assert.match(text, /^ {6}--enable-vhost-user$/m);
  });

  test('the Homebrew recipe writes the kick of QEMU 11 into the end to be written', async () => {
    const mended = await mend(ruby, KICKING);
    const [helper = '', caller = ''] = mended.split('static int vhost_user_set_vring_kick(');
    assert.match(helper, /^int before;\n\n\/\* The end/);
    assert.match(helper, /event_notifier_get_wfd\(virtio_queue_get_host_notifier\(vq\)\);\n}\n\n$/);
    assert.ok(caller.includes('len = write(vhost_user_kick_wfd(dev, file->index), &value,'));
    assert.equal(mended.split('vhost_user_kick_wfd').length, 3, 'it is defined, and called once');
    const sent = 'vhost_set_vring_file(dev, VHOST_USER_SET_VRING_KICK, file);';
    assert.ok(caller.includes(sent), 'what is sent is the end to be read');
  });

  test('the Homebrew recipe changes nothing of a QEMU without that kick', async () => {
    const quiet = KICKING.replace(/ {4}do \{[^}]*\}.*\n/, '');
    assert.ok(!quiet.includes('write('));
    assert.equal(await mend(ruby, quiet), quiet);
  });
}

/** Lets the recipe's own method work on a text; Homebrew's class is one that takes anything. */
async function mend(ruby: string, source: string): Promise<string> {
  const folder = mkdtempSync('/tmp/vhost-user-recipe-');
  try {
    const file = join(folder, 'source.c');
    writeFileSync(file, source);
    const program = `
      class Formula
        def self.method_missing(*) = nil
        def self.respond_to_missing?(*) = true
        def self.test(*) = nil # else it is Kernel's
      end
      load ARGV.fetch(0)
      text = File.read(ARGV.fetch(1))
      File.write(ARGV.fetch(1), QemuVhostUser.mend_kick(text))
    `;
    await runProgram([ruby, '-e', program, join(ROOT, RECIPE), file]);
    return readFileSync(file, 'utf8');
  } finally {
    rmSync(folder, { recursive: true });
  }
}
