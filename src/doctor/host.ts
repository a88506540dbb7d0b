/**
 * What this host is, for the remedies that fit it; found without native calls, since those may be
 * what is broken.
 *
 * @module
 */
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { THIS_HOST } from '../abi/index.ts';

/** The programs that install packages and that we know the names of. */
export type Packager = 'apt' | 'dnf' | 'apk' | 'pacman' | 'zypper' | 'brew' | 'pkg' | 'pkg_add';

/** Facts about this host. */
export interface HostFacts {
  readonly os: string;
  readonly arch: string;
  /** For people: `Linux`. */
  readonly name: string;
  /** Of the kernel. */
  readonly release: string;
  /** `Debian GNU/Linux 12 (bookworm)`; empty where there is no such thing. */
  readonly distribution: string;
  /** The distribution and those that it comes from: `ubuntu`, `debian`. */
  readonly family: readonly string[];
  /** `bookworm`; empty when it has no name. */
  readonly codename: string;
  readonly packager: Packager | null;
  /** Docker, Podman or the like, as far as they show. */
  readonly isContainer: boolean;
  readonly isRoot: boolean;
  readonly node: string;
}

const NAMES: Readonly<Record<string, string>> = {
  linux: 'Linux',
  darwin: 'macOS',
  freebsd: 'FreeBSD',
  openbsd: 'OpenBSD',
  netbsd: 'NetBSD',
  win32: 'Windows',
};

const BY_SYSTEM: Readonly<Record<string, Packager>> = {
  darwin: 'brew',
  freebsd: 'pkg',
  openbsd: 'pkg_add',
};

const BY_FAMILY: readonly (readonly [family: string, packager: Packager])[] = [
  ['debian', 'apt'],
  ['fedora', 'dnf'],
  ['rhel', 'dnf'],
  ['alpine', 'apk'],
  ['arch', 'pacman'],
  ['suse', 'zypper'],
  ['opensuse', 'zypper'],
];

/** The facts; `osRelease` is the text of os-release(5), which is empty where there is none. */
export function hostFacts(osRelease: string = readOsRelease()): HostFacts {
  const { os, arch } = THIS_HOST;
  const text = os === 'linux' ? osRelease : '';
  const family = [field(text, 'ID'), ...field(text, 'ID_LIKE').split(' ')].filter(Boolean);
  const known = BY_FAMILY.find(([name]) => family.includes(name))?.[1];
  return {
    os,
    arch,
    name: NAMES[os] ?? os,
    release: release(),
    distribution: field(text, 'PRETTY_NAME'),
    family,
    codename: field(text, 'VERSION_CODENAME'),
    packager: BY_SYSTEM[os] ?? known ?? null,
    isContainer: ['/.dockerenv', '/run/.containerenv'].some(existsSync),
    isRoot: process.geteuid?.() === 0,
    node: process.versions.node,
  };
}

function readOsRelease(): string {
  for (const path of ['/etc/os-release', '/usr/lib/os-release']) {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      // The other one, or another system.
    }
  }
  return '';
}

/** A value of os-release(5), without its quotes. */
function field(text: string, name: string): string {
  const value = new RegExp(`^${name}=(.*)$`, 'm').exec(text)?.[1] ?? '';
  return value.trim().replace(/^(["'])(.*)\1$/, '$2');
}
