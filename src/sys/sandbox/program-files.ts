/**
 * The files of the host that Node reads when it starts, and those that this program is made of.
 *
 * @module
 */
import { readFileSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Libraries of the name service, which the C library loads when a name is looked up. */
const FOR_NAMES = [
  ...['/etc/resolv.conf', '/etc/hosts', '/etc/nsswitch.conf', '/etc/host.conf', '/etc/gai.conf'],
  ...['/etc/services', '/run/systemd/resolve', '/run/NetworkManager', '/run/resolvconf'],
  ...['/lib', '/lib64', '/usr/lib', '/usr/lib64'],
];

/** None of them is a secret: any user may read them. */
const FOR_NODE = [
  ...['/etc/ld.so.cache', '/etc/ld.so.preload', '/etc/ld-musl-x86_64.path'],
  '/etc/ld-musl-aarch64.path',
  ...['/etc/ssl/openssl.cnf', '/etc/pki/tls/openssl.cnf', '/etc/localtime'],
  ...['/proc/meminfo', '/proc/cpuinfo', '/proc/stat', '/proc/version_signature'],
  ...['/proc/sys/vm/overcommit_memory', '/proc/self/cgroup', '/proc/self/maps'],
  '/proc/self/uid_map',
  ...['/sys/fs/cgroup', '/sys/devices/system/cpu', '/sys/kernel/mm/transparent_hugepage'],
  ...['/dev/urandom', '/etc/group'],
];

/** Variables of the environment with the paths of such files. */
const NAMED_BY = ['OPENSSL_CONF', 'NODE_EXTRA_CA_CERTS', 'NODE_ICU_DATA', 'SSL_CERT_FILE'];

/** What of them is to be readable. */
export function systemReads(looksUpNames: boolean): string[] {
  const named = NAMED_BY.map((name) => process.env[name] ?? '').filter((path) => path !== '');
  return [...FOR_NODE, ...(looksUpNames ? FOR_NAMES : []), ...named];
}

/** Paths of files; the loader is among them. */
export interface LoadedFiles {
  readonly files: readonly string[];
  readonly loader: readonly string[];
}

/**
 * The files that are mapped into this process: Node, the libraries that it was linked with, and
 * what the environment has put before them. The next start needs the same ones, and of these the
 * loader has to be executable. Null where /proc is not mounted, which alone tells.
 */
export function loadedFiles(): LoadedFiles | null {
  // Asked once: in another mount namespace the kernel has other names for what is mapped already.
  return (loaded ??= findLoadedFiles());
}

/** Of musl it is the C library itself, and may have that name: what `ld-musl` is a link to. */
const LOADER = /\/(?:(?:ld-|ld\.|libc\.musl-)[^/]*|libc\.so)$/;

let loaded: LoadedFiles | null = null;

function findLoadedFiles(): LoadedFiles | null {
  const maps = mapsOfThisProcess();
  if (maps === null) return null;
  const files = new Set<string>();
  for (const line of maps.split('\n')) {
    // address permissions offset device inode path
    const at = line.indexOf('/');
    if (at > 0 && !line.endsWith(' (deleted)'))
      files.add(Buffer.from(line.slice(at), 'latin1').toString());
  }
  const loader = [...files].filter((path) => LOADER.test(path));
  return { files: [...files], loader };
}

/**
 * The names by which the loader has found the libraries, which may be links to those files: the
 * next start looks for the same ones.
 */
export function loadedNames(): string[] {
  const { report } = process as { report: NodeJS.ProcessReport & { excludeNetwork?: boolean } };
  report.excludeNetwork = true; // name servers would be asked
  const { sharedObjects } = report.getReport() as { sharedObjects?: unknown };
  const names = Array.isArray(sharedObjects) ? (sharedObjects as unknown[]) : [];
  return names.filter((name): name is string => typeof name === 'string' && name.startsWith('/'));
}

function mapsOfThisProcess(): string | null {
  try {
    return readFileSync('/proc/self/maps', 'latin1');
  } catch {
    return null;
  }
}

/** The folders of this package and of those that it uses, and the file that was started. */
export function programFiles(moduleUrls: readonly string[]): string[] {
  const files = moduleUrls.map((url) => real(new URL(url)) ?? '').filter((path) => path !== '');
  const started = real(process.argv[1] ?? '');
  return [...new Set([...files.map(packageFolder), ...(started === null ? [] : [started])])];
}

/** All that was installed together, or else the folder of the package. */
function packageFolder(file: string): string {
  const parts = file.split('/');
  const at = parts.indexOf('node_modules');
  if (at > 0) return parts.slice(0, at + 1).join('/');
  for (let folder = dirname(file); folder !== dirname(folder); folder = dirname(folder)) {
    if (real(join(folder, 'package.json')) !== null) return folder;
  }
  return dirname(file);
}

function real(path: string | URL): string | null {
  try {
    return realpathSync(path);
  } catch {
    return null;
  }
}
