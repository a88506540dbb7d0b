/**
 * Who owns what in a shared folder: as on the host, by maps, by one for all, or by an attribute.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { chmodSync, chownSync, lstatSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { S_IF, encodeDev } from '../../../fuse/index.ts';
import { host } from '../../../sys/index.ts';
import { withSharedFolder } from '../../../testing/index.ts';
import { OVERRIDE_STAT_NAME } from './override-stat.ts';

const isRoot = process.geteuid?.() === 0;
const asRoot = isRoot ? {} : { skip: 'only root may make files for others' };
const USER = { uid: 1000, gid: 1001, pid: 1 };

function ownerOf(path: string): { uid: number; gid: number; mode: number } {
  const { uid, gid, mode } = lstatSync(path);
  return { uid, gid, mode: mode & 0o7777 };
}

test('what a user of the guest makes is his, with just the mode that he asked for', asRoot, () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    chmodSync(folder, 0o777);
    const user = fs.as(USER, 0);
    await user.writeFile('/file', '', { mode: 0o4666 });
    await user.mkdir('/dir', { mode: 0o777 });
    await user.symlink('x', '/link');
    await user.mknod('/fifo', S_IF.IFO | 0o622);
    const { uid, gid } = USER;
    assert.deepEqual(ownerOf(join(folder, 'file')), { uid, gid, mode: 0o4666 });
    assert.deepEqual(ownerOf(join(folder, 'dir')), { uid, gid, mode: 0o777 });
    assert.equal(ownerOf(join(folder, 'link')).uid, uid);
    assert.deepEqual(ownerOf(join(folder, 'fifo')), { uid, gid, mode: 0o622 });
    await fs.writeFile('/roots', '');
    assert.equal(ownerOf(join(folder, 'roots')).uid, 0, 'and the thread is root again');
  }),
);

test('a folder with setgid gives its group on, and folders below it are such folders', asRoot, () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    mkdirSync(join(folder, 'shared'));
    chownSync(join(folder, 'shared'), 0, 4242);
    chmodSync(join(folder, 'shared'), 0o2777);
    const user = fs.as(USER, 0);
    await user.writeFile('/shared/f', '');
    await user.mkdir('/shared/d');
    assert.equal(ownerOf(join(folder, 'shared/f')).gid, 4242);
    assert.deepEqual(ownerOf(join(folder, 'shared/d')), { uid: 1000, gid: 4242, mode: 0o2777 });
    await fs.mkdir('/shared/roots', { mode: 0o750 });
    assert.deepEqual(ownerOf(join(folder, 'shared/roots')), { uid: 0, gid: 4242, mode: 0o2750 });
  }),
);

test('a user makes files where one of his further groups may, which nobody tells us', asRoot, () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    mkdirSync(join(folder, 'team'));
    chownSync(join(folder, 'team'), 0, 5555);
    chmodSync(join(folder, 'team'), 0o770);
    await fs.as(USER, 0).writeFile('/team/f', '', { mode: 0o640 });
    assert.deepEqual(ownerOf(join(folder, 'team/f')), { uid: 1000, gid: 1001, mode: 0o640 });
    await fs.as(USER, 0).mkdir('/team/d', { mode: 0o750 });
    assert.deepEqual(ownerOf(join(folder, 'team/d')), { uid: 1000, gid: 1001, mode: 0o750 });
    await fs.as(USER, 0).symlink('f', '/team/l');
    assert.equal((await fs.lstat('/team/l')).uid, 1000);
  }),
);

test('owners change as the guest says, and setuid goes with them', asRoot, () =>
  withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
    await fs.writeFile('/f', '');
    await fs.symlink('f', '/l');
    await fs.chmod('/f', 0o6755);
    await fs.chown('/f', 7, 8);
    await fs.lchown('/l', 9, 10);
    assert.deepEqual(ownerOf(join(folder, 'f')), { uid: 7, gid: 8, mode: 0o755 });
    assert.equal(ownerOf(join(folder, 'l')).uid, 9);
    assert.equal((await fs.lstat('/l')).gid, 10);
  }),
);

test('maps translate owners both ways, and refuse those that are forbidden', asRoot, () =>
  withSharedFolder(
    { cache: 'never', translateUid: ['map:1000:100000:1000'], translateGid: ['map:0:7000:2000'] },
    async ({ fs, folder }) => {
      chmodSync(folder, 0o777);
      await fs.as(USER, 0).writeFile('/f', '');
      assert.equal(ownerOf(join(folder, 'f')).uid, 100_000);
      assert.equal(ownerOf(join(folder, 'f')).gid, 8001);
      assert.equal((await fs.stat('/f')).uid, 1000);
      assert.equal((await fs.stat('/f')).gid, 1001);
      await fs.chown('/f', 1500, 5);
      assert.equal(ownerOf(join(folder, 'f')).uid, 100_500);
    },
  ),
);

test('squashed, everything has one owner, and nothing changes hands on the host', () =>
  withSharedFolder(
    { cache: 'never', owner: 'squash', squashUid: 1234, squashGid: 5678 },
    async ({ fs, folder }) => {
      const own = process.geteuid?.() ?? 0;
      await fs.as(USER, 0).writeFile('/f', '', { mode: 0o640 });
      await fs.chown('/f', 1, 1);
      const { uid, gid, mode } = await fs.stat('/f');
      assert.deepEqual({ uid, gid, mode: mode & 0o777 }, { uid: 1234, gid: 5678, mode: 0o640 });
      assert.equal(ownerOf(join(folder, 'f')).uid, own);
    },
  ));

const canXattr = host().os === 'linux' || host().os === 'darwin';

test(
  'owner and mode are kept in an attribute, so that no right of root is needed',
  {
    skip: !canXattr && 'no attributes here',
  },
  () =>
    withSharedFolder({ cache: 'never', owner: 'xattr' }, async ({ fs, folder }) => {
      const own = process.geteuid?.() ?? 0;
      const user = fs.as(USER, 0);
      await user.writeFile('/f', 'x', { mode: 0o4711 });
      await user.mkdir('/d', { mode: 0o2750 });
      await user.mknod('/dev', S_IF.CHR | 0o600, encodeDev(1, 3));
      await user.mknod('/fifo', S_IF.IFO | 0o640, 0);
      await fs.chown('/d', 5, 6);
      await fs.chmod('/f', 0o000);
      const seen = async (path: string): Promise<unknown> => {
        const { uid, gid, mode } = await fs.stat(path);
        return { uid, gid, mode: mode & 0o7777 };
      };
      assert.deepEqual(await seen('/f'), { uid: 1000, gid: 1001, mode: 0 });
      assert.deepEqual(await seen('/d'), { uid: 5, gid: 6, mode: 0o2750 });
      assert.ok((await fs.stat('/fifo')).isFIFO());
      assert.deepEqual(await seen('/fifo'), { uid: 1000, gid: 1001, mode: 0o640 });
      const device = await fs.stat('/dev');
      assert.ok(device.isCharacterDevice());
      assert.ok(statSync(join(folder, 'dev')).isFile(), 'a plain file on the host');
      for (const name of ['f', 'd', 'dev']) assert.equal(ownerOf(join(folder, name)).uid, own);
      assert.equal(await fs.readFile('/f', 'utf8'), 'x', 'the server itself may still read it');
      await user.writeFile('/d/inherits', '');
      assert.equal((await fs.stat('/d/inherits')).gid, 6);
      await assert.rejects(fs.getxattr('/f', OVERRIDE_STAT_NAME), { code: 'ENODATA' });
      assert.deepEqual(await fs.listxattr('/f'), []);
      writeFileSync(join(folder, 'hosts'), '');
      assert.equal((await fs.stat('/hosts')).uid, 0, 'who says nothing belongs to the fallback');
    }),
);

test(
  'extended attributes go by their names, or by those of a map',
  {
    skip: !canXattr && 'no attributes here',
  },
  async () => {
    await withSharedFolder({ cache: 'never', xattr: true }, async ({ fs }) => {
      await fs.writeFile('/f', '');
      await fs.setxattr('/f', 'user.a', 'value');
      await fs.setxattr('/f', 'user.empty', '');
      assert.equal((await fs.getxattr('/f', 'user.a')).toString(), 'value');
      assert.deepEqual((await fs.listxattr('/f')).toSorted(), ['user.a', 'user.empty']);
      await fs.removexattr('/f', 'user.a');
      await assert.rejects(fs.getxattr('/f', 'user.a'), { code: 'ENODATA' });
    });
    await withSharedFolder({ cache: 'never', xattrMap: ':map::user.guest.:' }, async ({ fs }) => {
      await fs.writeFile('/f', '');
      await fs.setxattr('/f', 'trusted.secret', 'kept as a user attribute');
      assert.deepEqual(await fs.listxattr('/f'), ['trusted.secret']);
    });
    await withSharedFolder({ cache: 'never' }, async ({ fs }) => {
      await fs.writeFile('/f', '');
      await assert.rejects(fs.setxattr('/f', 'user.a', 'x'));
    });
  },
);
