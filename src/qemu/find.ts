/**
 * Where the QEMUs of a host are.
 *
 * @module
 */
import { accessSync, constants, readdirSync, realpathSync, statSync } from 'node:fs';
import type { Dirent } from 'node:fs';
import { basename, delimiter, join } from 'node:path';

/** Folders that package managers use and that need not be in PATH. */
const FURTHER_FOLDERS: readonly string[] = [
  '/usr/bin',
  '/usr/local/bin', // Homebrew on Intel, FreeBSD, OpenBSD
  '/opt/homebrew/bin', // Homebrew on Apple silicon
  '/opt/homebrew/opt/qemu-vhost-user/bin', // share/homebrew's, which is in no PATH
  '/usr/local/opt/qemu-vhost-user/bin',
  '/opt/local/bin', // MacPorts
  '/usr/pkg/bin', // pkgsrc
  '/usr/libexec', // qemu-kvm of RHEL and its kin
];

/** `qemu-system-ARCH`, and the name that RHEL has for the one of its own machines. */
const NAME = /^qemu-(?:system-([a-z0-9_]+)|kvm)$/;

/** The architecture of guests that a QEMU is for, by its name; empty when the name does not say. */
export function guestArchOf(path: string): string {
  return NAME.exec(basename(path))?.[1] ?? '';
}

/** The folders of a PATH, and those that a QEMU may be in besides. */
export function qemuFolders(path: string): string[] {
  const named = path.split(delimiter).filter((folder) => folder !== '');
  return [...new Set([...named, ...FURTHER_FOLDERS])];
}

/**
 * The QEMUs in some folders, each once however many names and links it has; in the order of the
 * folders, so that the first of an architecture is the one that a shell starts.
 */
export function findQemus(folders: readonly string[]): string[] {
  const seen = new Set<string>();
  const found: string[] = [];
  for (const path of folders.flatMap(qemusIn)) {
    const identity = identityOf(path);
    if (seen.has(identity)) continue;
    seen.add(identity);
    found.push(path);
  }
  return found;
}

function qemusIn(folder: string): string[] {
  try {
    const entries = readdirSync(folder, { withFileTypes: true });
    // A link may have a name that says less: Fedora's qemu-kvm is qemu-system-x86_64.
    const rank = (entry: Dirent): string => `${Number(entry.isSymbolicLink())}${entry.name}`;
    return entries
      .filter(({ name }) => NAME.test(name))
      .sort((a, b) => (rank(a) < rank(b) ? -1 : 1))
      .map(({ name }) => join(folder, name))
      .filter(isProgram);
  } catch {
    return []; // PATH may name folders that are not there, or not ours to read.
  }
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** A link to one program that is many (snap) stays what its own name says. */
function identityOf(path: string): string {
  const target = realpathSync(path);
  return NAME.test(basename(target)) ? target : `${target} as ${basename(path)}`;
}
