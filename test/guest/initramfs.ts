/**
 * The root file system of a test guest: busybox, the virtio modules of the guest's kernel, and for
 * block devices fio and e2fsprogs with the libraries that they need, as one cpio archive. The part
 * that is the same for every guest is built once and cached by a fingerprint of what is in it.
 * A guest with tools goes on in the image that the set-up made, a whole Debian.
 *
 * @module
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Peers } from '../peers/setup.ts';
import { INIT_RUNS } from './autopsy.ts';

const MODULES = [
  ...['virtio_pci', 'virtio_blk', 'virtiofs', 'virtio_net', 'virtio_rng', 'virtio_console'],
  ...['vmw_vsock_virtio_transport', 'vsock_diag'],
];
const CPIO_MAGIC = '070701'; // the "new ASCII" format, the only one the kernel knows
const CPIO_ALIGN = 4;
const MODE = { folder: 0o040755, program: 0o100755 } as const;

/** One entry of an archive. Folders above it are made as needed. */
interface Entry {
  readonly path: string;
  readonly mode: number;
  readonly data: Uint8Array;
}

/** The serial number of the disk with the root file system of a guest with tools. */
export const ROOT_SERIAL = 'guest-root';

const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mkdir -p /proc /sys /dev /tmp /mnt /etc /run
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
echo ${INIT_RUNS}
ln -sf /proc/mounts /etc/mtab
ln -sf /proc/self/fd /dev/fd
for module in $(cat /modules/order); do insmod /modules/$module || echo "insmod $module: $?"; done
cd /tmp
for disk in /sys/block/vd*; do
  [ "$(cat $disk/serial 2>/dev/null)" = ${ROOT_SERIAL} ] && root=/dev/\${disk##*/}
done
if [ -z "$root" ]; then
  sh /run.sh 2>&1
else
  mkdir -p /whole
  mount -t ext4 -o ro $root /whole
  for point in proc sys dev tmp; do mount --bind /$point /whole/$point; done
  mkdir /dev/shm
  mount -t tmpfs shm /dev/shm
  mount -t tmpfs run /whole/run
  cp /run.sh /tmp/run.sh
  # By its path: busybox would run its own shell, whose commands are busybox's too.
  export HOME=/tmp LANG=C.UTF-8 PATH=/usr/local/bin:/usr/sbin:/usr/bin
  chroot /whole /usr/bin/dash -c 'cd /tmp && exec /usr/bin/dash run.sh' 2>&1
fi
echo "@status=$?"
poweroff -f
`;

/** What an initramfs has beside what is the same for all of them. */
export interface InitramfsOptions {
  /** The guest runs it, and then powers off. */
  readonly script: string;
  /** Leaves out fio and e2fsprogs. */
  readonly small?: boolean;
  /** Programs without libraries: where they are in the guest, and on this host. */
  readonly programs?: ReadonlyMap<string, string>;
}

/** Makes an initramfs in the file `path`. */
export function writeInitramfs(peers: Peers, path: string, options: InitramfsOptions): void {
  const { script, small = false, programs = new Map<string, string>() } = options;
  const entries = [{ path: '/run.sh', mode: MODE.program, data: Buffer.from(script) }];
  for (const [at, source] of programs) {
    entries.push({ path: at, mode: MODE.program, data: readFileSync(source) });
  }
  copyFileSync(baseArchive(peers, small), path, constants.COPYFILE_FICLONE);
  appendFileSync(path, archiveOf(entries)); // the kernel unpacks archive after archive
}

/** The cached archive without a script; built when its parts have changed. */
function baseArchive(peers: Peers, small: boolean): string {
  const modules = moduleFiles(peers.modules, MODULES);
  const programs = small ? [] : [peers.fio, peers.mkfs, peers.fsck].flatMap(withLibraries);
  const files = new Map<string, string>([['/bin/busybox', peers.busybox]]);
  for (const path of programs) files.set(path, path);
  for (const path of modules) files.set(`/modules/${basename(path)}`, path);
  const hash = createHash('sha256').update(INIT);
  for (const [path, source] of files) {
    const { size, mtimeMs } = statSync(source);
    hash.update(`\n${path} ${source} ${size} ${mtimeMs}`);
  }
  const archive = join(peers.cache, `initramfs-${hash.digest('hex').slice(0, 16)}.cpio`);
  if (existsSync(archive)) return archive;
  const order = modules.map((each) => basename(each)).join('\n');
  const entries: Entry[] = [
    { path: '/init', mode: MODE.program, data: Buffer.from(INIT) },
    { path: '/modules/order', mode: MODE.program, data: Buffer.from(order) },
  ];
  for (const [at, source] of files) {
    entries.push({ path: at, mode: MODE.program, data: readFileSync(source) });
  }
  mkdirSync(dirname(archive), { recursive: true });
  const temporary = `${archive}.${process.pid}`;
  writeFileSync(temporary, archiveOf(entries));
  renameSync(temporary, archive); // two tests may build it at the same time
  return archive;
}

/** Module files in the order in which they have to be loaded; built-in ones are left out. */
function moduleFiles(root: string, names: readonly string[]): readonly string[] {
  const paths = new Map<string, string>();
  for (const path of readdirSync(root, { recursive: true, encoding: 'utf8' })) {
    if (path.endsWith('.ko')) paths.set(moduleName(path), join(root, path));
  }
  const order: string[] = [];
  const visit = (name: string): void => {
    const path = paths.get(name);
    if (path === undefined || order.includes(path)) return;
    for (const needed of dependenciesOf(path)) visit(needed);
    order.push(path);
  };
  names.forEach(visit);
  return order;
}

/** By the module's own word: an unpacked kernel package has no modules.dep, depmod makes that. */
function dependenciesOf(path: string): readonly string[] {
  const text = readFileSync(path).toString('latin1');
  const list = /\0depends=([^\0]*)\0/.exec(text)?.[1] ?? '';
  return list === '' ? [] : list.split(',').map(moduleName);
}

function moduleName(path: string): string {
  return basename(path, '.ko').replaceAll('-', '_');
}

/** A program and the libraries that it loads, the loader included. */
function withLibraries(program: string): readonly string[] {
  const { stdout } = spawnSync('ldd', [program], { encoding: 'utf8' });
  const libraries = [...stdout.matchAll(/(?:=> |^\t)(\/\S+)/gm)].map((match) => match[1] ?? '');
  return [program, ...libraries];
}

function archiveOf(entries: readonly Entry[]): Buffer {
  const parts: Buffer[] = [];
  const folders = new Set<string>(['/']);
  let inode = 1;
  const addFolders = (path: string): void => {
    if (folders.has(path)) return;
    addFolders(dirname(path));
    folders.add(path);
    parts.push(recordOf({ path, mode: MODE.folder, data: new Uint8Array() }, inode++));
  };
  for (const entry of entries) {
    addFolders(dirname(entry.path));
    parts.push(recordOf(entry, inode++));
  }
  parts.push(recordOf({ path: '/TRAILER!!!', mode: 0, data: new Uint8Array() }, 0));
  return Buffer.concat(parts);
}

/** One record: 13 numbers of 8 hexadecimal digits, the name, the bytes; each padded to 4. */
function recordOf(entry: Entry, inode: number): Buffer {
  const name = `${entry.path.slice(1)}\0`;
  const links = 1;
  const numbers = [inode, entry.mode, 0, 0, links, 0, entry.data.length];
  numbers.push(0, 0, 0, 0, name.length, 0); // devices, the length of the name, no check sum
  const head = CPIO_MAGIC + numbers.map((each) => each.toString(16).padStart(8, '0')).join('');
  const header = Buffer.from(head + name, 'latin1');
  return Buffer.concat([header, padding(header.length), entry.data, padding(entry.data.length)]);
}

function padding(length: number): Buffer {
  return Buffer.alloc((CPIO_ALIGN - (length % CPIO_ALIGN)) % CPIO_ALIGN);
}
