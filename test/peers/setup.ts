/**
 * The peers of the end-to-end tests: QEMU in two versions, a guest kernel and root file system,
 * libblkio, virtiofsd, vhost-device-vsock and the tools of a guest. What is missing is installed
 * where that may be done (Debian, as root), and named with the way to install it everywhere else.
 *
 * @module
 */
import { existsSync, readFileSync, readdirSync, realpathSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { ROOT } from '../support/repository.ts';
import { findForeignGuests } from './foreign.ts';
import type { ForeignGuest } from './foreign.ts';
import { probeProgram, startProgram } from './process.ts';

/** Installs what the tests need on Debian 12. */
export const INSTALLER: string = join(ROOT, 'test/peers/install-debian.sh');
const GUEST_ROOT = 'guest.ext4';
const MOUNT_POINTS = ['dev', 'proc', 'sys', 'tmp', 'dev/shm'];

/** A QEMU program: how to start it, and its version as it says itself. */
export interface Qemu {
  readonly command: readonly string[];
  readonly version: string;
  /** The image of a guest's root file system (ext4, raw), by the path that this QEMU sees. */
  readonly guestRoot: string;
}

/** Everything that the end-to-end tests start, found and ready. */
export interface Peers {
  /** The folder that the installer filled; other things may be cached in it as well. */
  readonly cache: string;
  /** QEMU 10 of this host. */
  readonly qemu10: Qemu;
  readonly storageDaemon: readonly string[];
  /** QEMU 11, in a folder with its own Debian: it sees only what is in /tmp. */
  readonly qemu11: Qemu;
  /** qemu-img with the driver virtio-blk-vhost-user (libblkio); it sees only what is in /tmp. */
  readonly qemuImg: readonly string[];
  /** The same for single requests. */
  readonly qemuIo: readonly string[];
  /** The reference of a shared folder; unlike QEMU 11 it sees all of this host. */
  readonly virtiofsd: readonly string[];
  /** The reference of vsock; it sees all of this host. */
  readonly vsockDevice: readonly string[];
  /** The kernel's own test of vsock, for a guest. */
  readonly vsockTest: string;
  /** A C compiler, for the programs of a guest that are in `test/guest`. */
  readonly compiler: string;
  /** A kernel image for a guest and the folder of its modules. */
  readonly kernel: string;
  readonly modules: string;
  readonly busybox: string;
  readonly fio: string;
  readonly strace: string;
  readonly mkfs: string;
  readonly fsck: string;
  readonly debugfs: string;
  /** For the Homebrew recipe. */
  readonly ruby: string;
  /** Guests of other architectures. */
  readonly foreign: readonly ForeignGuest[];
  /** Validates a domain of libvirt's, whose path comes after it. */
  readonly validateDomain: readonly string[];
}

/** What a look for the peers gave. */
export interface PeerSearch {
  /** There when nothing is missing. */
  readonly peers?: Peers;
  /** What is missing, each as a phrase for people. */
  readonly missing: readonly string[];
}

/** What apt does not install goes here: VHOST_USER_TEST_CACHE, or a folder of the user. */
export function peerCache(): string {
  return process.env.VHOST_USER_TEST_CACHE ?? join(homedir(), '.cache', 'vhost-user-test');
}

/** Looks for the peers on this host, quickly, and changes nothing. */
export function findPeers(): PeerSearch {
  const cache = peerCache();
  const missing: string[] = [];
  const tool = (name: string): string => {
    const path = which(name);
    if (path === undefined) missing.push(name);
    return path ?? name;
  };
  const qemu10 = findHostQemu(cache, tool('qemu-system-x86_64'), missing);
  const newer = findNewerSuite(join(cache, 'forky'), missing);
  const kernel = join(cache, 'kernel', 'vmlinuz');
  const modules = join(cache, 'kernel', 'modules');
  if (!existsSync(kernel) || !existsSync(modules)) missing.push('a guest kernel with its modules');
  if (!existsSync(qemu10.guestRoot)) missing.push("a guest's root file system");
  // Only asked what it can, by the tests of `vhost-user doctor`.
  if (!existsSync(join(cache, 'qemu-7.2'))) missing.push("QEMU 7.2 in the set-up step's folder");
  const vsockTest = join(cache, 'vsock', 'vsock_test');
  if (!existsSync(vsockTest)) missing.push("the kernel's own test of vsock");
  const peers: Peers = {
    cache,
    qemu10,
    storageDaemon: [tool('qemu-storage-daemon')],
    ...newer,
    kernel,
    modules,
    busybox: findStaticBusybox(missing),
    vsockTest,
    compiler: tool('cc'),
    fio: tool('fio'),
    strace: tool('strace'),
    mkfs: tool('mkfs.ext4'),
    fsck: tool('e2fsck'),
    debugfs: tool('debugfs'),
    ruby: tool('ruby'),
    foreign: findForeignGuests(cache, tool, missing),
    validateDomain: findSchema(join(cache, 'libvirt/usr'), missing),
  };
  tool('setpriv');
  return missing.length === 0 ? { peers, missing } : { missing };
}

/**
 * The peers, after installing what is missing where that may be done: on Debian 12, as root, and
 * unless VHOST_USER_TEST_INSTALL=0. `progress` is given lines for people.
 */
export async function ensurePeers(
  progress: (line: string) => void = (line) => void process.stderr.write(`${line}\n`),
): Promise<PeerSearch> {
  const before = findPeers();
  if (before.peers !== undefined || !mayInstall()) return before;
  progress(`setup: missing: ${before.missing.join(', ')}`);
  const installer = startProgram(['bash', INSTALLER, peerCache()], { onLine: progress });
  const { code } = await installer.ended;
  const after = findPeers();
  if (code === 0 || after.peers !== undefined) return after;
  return { missing: [...after.missing, `the installer failed, see ${peerCache()}/setup.log`] };
}

/** One sentence that says what is missing and what to do about it on this host. */
export function missingPeers(search: PeerSearch): string {
  const what = `missing: ${search.missing.join(', ')}`;
  const installer = `test/peers/install-debian.sh ${peerCache()}`;
  if (!existsSync('/etc/debian_version')) {
    return (
      `${what}; install QEMU 10 and 11 (with libblkio), virtiofsd, vhost-device-vsock, fio, ` +
      `e2fsprogs, busybox and strace on a Debian 12 machine, container or VM by ${installer}`
    );
  }
  return isRoot() ? `${what}; run ${installer}` : `${what}; run ${installer} and the tests as root`;
}

/** xmllint brings the library that it needs with it. */
function findSchema(root: string, missing: string[]): string[] {
  const schema = join(root, 'share/libvirt/schemas/domain.rng');
  const program = join(root, 'bin/xmllint');
  if (!existsSync(schema) || !existsSync(program)) missing.push("the schema of libvirt's domains");
  const libraries = join(root, 'lib/x86_64-linux-gnu');
  return ['env', `LD_LIBRARY_PATH=${libraries}`, program, '--noout', '--relaxng', schema];
}

function findHostQemu(cache: string, path: string, missing: string[]): Qemu {
  const version = qemuVersion([path]);
  const major = Number.parseInt(version, 10);
  if (version !== '' && major !== 10) missing.push(`QEMU 10 (found ${version})`);
  return { command: [path], version, guestRoot: join(cache, GUEST_ROOT) };
}

function findNewerSuite(
  root: string,
  missing: string[],
): Pick<Peers, 'qemu11' | 'qemuImg' | 'qemuIo' | 'virtiofsd' | 'vsockDevice'> {
  const prefix = ['chroot', root];
  const program = (name: string): string[] => [...prefix, `/usr/bin/${name}`];
  const guestRoot = `/${GUEST_ROOT}`;
  const qemu11 = { command: program('qemu-system-x86_64'), version: '', guestRoot };
  const virtiofsd = withOwnLoader(root, '/usr/libexec/virtiofsd');
  const vsockDevice = withOwnLoader(root, '/usr/bin/vhost-device-vsock');
  const images = { qemuImg: program('qemu-img'), qemuIo: program('qemu-io') };
  const found = { qemu11, ...images, virtiofsd, vsockDevice };
  if (!existsSync(join(root, '/usr/bin/qemu-img'))) {
    missing.push('QEMU 11 and qemu-img with libblkio');
    return found;
  }
  if (!isRoot()) {
    missing.push('the rights of root, which QEMU 11 in its folder needs');
    return found;
  }
  const unmounted = unmountedPoints(root);
  if (unmounted.length > 0) {
    missing.push(`mounts of ${unmounted.join(', ')} in ${root}`);
    return found;
  }
  const version = qemuVersion(qemu11.command);
  if (Number.parseInt(version, 10) < 11) missing.push(`QEMU 11 (found ${version})`);
  if (!hasBlockModule(root)) missing.push('the block driver virtio-blk-vhost-user of qemu-img');
  if (!existsSync(join(root, '/usr/libexec/virtiofsd'))) missing.push('virtiofsd');
  if (!existsSync(join(root, '/usr/bin/vhost-device-vsock'))) missing.push('vhost-device-vsock');
  if (!existsSync(join(root, guestRoot))) missing.push("a guest's root file system for QEMU 11");
  return { ...found, qemu11: { ...qemu11, version } };
}

/** As virtiofsd, which makes a user namespace: a program in a chroot may not. */
function withOwnLoader(root: string, program: string): string[] {
  const loader = join(root, 'lib64/ld-linux-x86-64.so.2');
  return [loader, '--library-path', join(root, 'usr/lib/x86_64-linux-gnu'), join(root, program)];
}

/** The mounts do not outlive a restart of the machine; the installer makes them again. */
function unmountedPoints(root: string): readonly string[] {
  if (!existsSync('/proc/self/mounts')) return MOUNT_POINTS;
  const folder = realpathSync(root);
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  const points = new Set(mounts.map((line) => line.split(' ')[1]));
  return MOUNT_POINTS.filter((point) => !points.has(join(folder, point)));
}

function hasBlockModule(root: string): boolean {
  const folder = join(root, 'usr/lib/x86_64-linux-gnu/qemu');
  return existsSync(folder) && readdirSync(folder).some((name) => name.includes('blkio'));
}

function qemuVersion(command: readonly string[]): string {
  const text = probeProgram([...command, '--version']) ?? '';
  return /version (\d+\.\d+\.\d+)/.exec(text)?.[1] ?? '';
}

/** The guest has no libraries for busybox, so it must be the static one. */
function findStaticBusybox(missing: string[]): string {
  const path = which('busybox');
  if (path !== undefined && probeProgram(['ldd', path]) === undefined) return path;
  missing.push('busybox-static');
  return 'busybox';
}

function which(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** Whether the installer may run here: Debian 12 on x64, as root, and nobody forbids it. */
export function mayInstall(): boolean {
  if (process.env.VHOST_USER_TEST_INSTALL === '0' || !isRoot()) return false;
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  return release.includes('VERSION_CODENAME=bookworm') && process.arch === 'x64';
}

function isRoot(): boolean {
  return process.geteuid?.() === 0;
}
