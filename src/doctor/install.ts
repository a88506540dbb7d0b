/**
 * How QEMU with vhost-user comes to a host, by the host's own means.
 *
 * @module
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { remedy } from './finding.ts';
import type { Remedy } from './finding.ts';
import type { HostFacts } from './host.ts';

/** The architecture's name in those of QEMU's programs, by Node's name for it. */
const GUEST_ARCHS: Readonly<Record<string, string>> = {
  x64: 'x86_64',
  ia32: 'i386',
  arm64: 'aarch64',
  arm: 'arm',
  riscv64: 'riscv64',
  ppc64: 'ppc64',
  s390x: 's390x',
  loong64: 'loongarch64',
};

/** Debian's packages have several programs each. */
const DEBIAN_PACKAGES: Readonly<Record<string, string>> = {
  x86_64: 'x86',
  i386: 'x86',
  aarch64: 'arm',
  arm: 'arm',
  s390x: 's390x',
  ppc64: 'ppc',
};

/** Homebrew's recipe of this package, which builds a QEMU with vhost-user beside Homebrew's own. */
const RECIPE = 'share/homebrew/qemu-vhost-user.rb';
/** How far up the package's folder may be: from dist/program/chunks, or build/src/doctor. */
const LEVELS_MAX = 4;

/** The architecture of guests that run fast here: `x86_64`. */
export function ownGuestArch(arch: string): string {
  return GUEST_ARCHS[arch] ?? arch;
}

/** The command that gets QEMU, when the host's packages have one with vhost-user. */
export function installQemu(host: HostFacts): Remedy {
  const guest = ownGuestArch(host.arch);
  switch (host.packager) {
    case 'apt':
      return remedy(`Install it${aptHint(host)}`, asRoot(host, aptLine(host, guest)));
    case 'dnf':
      // RHEL and its kin have one QEMU, qemu-kvm, and it is not in PATH.
      return remedy('Install it', asRoot(host, 'dnf install qemu-kvm'));
    case 'apk':
      return remedy('Install it', asRoot(host, `apk add qemu-system-${guest}`));
    case 'pacman':
      return remedy('Install it', asRoot(host, 'pacman -S qemu-base'));
    case 'zypper':
      return remedy('Install it', asRoot(host, `zypper install ${susePackage(guest)}`));
    case 'brew':
      return brewQemu();
    case 'pkg':
    case 'pkg_add':
      return buildQemu(host);
    case null:
      return remedy(`Install qemu-system-${guest}, version 9.1 or later`);
  }
}

/** The commands that build a QEMU with vhost-user, where packages leave it out. */
export function buildQemu(host: HostFacts): Remedy {
  if (host.packager === 'brew') return brewQemu();
  const guest = ownGuestArch(host.arch);
  const fetcher = host.packager === 'pkg' ? 'fetch' : host.os === 'openbsd' ? 'ftp' : 'curl -LO';
  const make = host.os === 'linux' ? 'make' : 'gmake';
  // The tar of OpenBSD knows nothing of xz.
  const unpack = host.os === 'openbsd' ? 'xz -dc qemu-10.2.0.tar.xz | tar xf -' : TAR_XZ;
  return remedy(
    'Build QEMU 10.2 with --enable-vhost-user, since the packages of QEMU here leave it out',
    ...buildTools(host),
    `${fetcher} https://download.qemu.org/qemu-10.2.0.tar.xz`,
    `${unpack} && cd qemu-10.2.0`,
    `./configure --target-list=${guest}-softmmu --enable-vhost-user`,
    `${make} -j4 && ${asRoot(host, `${make} install`)}`,
  );
}

const TAR_XZ = 'tar xf qemu-10.2.0.tar.xz';

/** Homebrew's own qemu has no vhost-user; a recipe has to be in a tap, here the user's own. */
function brewQemu(): Remedy {
  return remedy(
    "Let Homebrew build QEMU 10.2 with vhost-user by this package's recipe: it stands beside " +
      "Homebrew's own, and this program finds it (docs/macos.md)",
    'brew tap-new "$USER/local"',
    `cp "${recipePath()}" "$(brew --repository "$USER/local")/Formula/"`,
    'brew install --build-from-source "$USER/local/qemu-vhost-user"',
  );
}

/** Where the recipe is; as it is in a package that is installed for all, if it is not found. */
function recipePath(): string {
  for (let level = 1, up = '..'; level <= LEVELS_MAX; level++, up += '/..') {
    const path = fileURLToPath(new URL(`${up}/${RECIPE}`, import.meta.url));
    if (existsSync(path)) return path;
  }
  return `$(npm root -g)/vhost-user/${RECIPE}`;
}

/** A command as it is typed by this user: OpenBSD has doas, the others sudo. */
export function asRoot(host: HostFacts, command: string): string {
  if (host.isRoot) return command;
  return `${host.os === 'openbsd' ? 'doas' : 'sudo'} ${command}`;
}

function buildTools(host: HostFacts): string[] {
  const tools = 'ninja pkgconf glib pixman bash gmake python3';
  if (host.packager === 'pkg') return [asRoot(host, `pkg install ${tools}`)];
  const names = 'ninja glib2 bash gmake python%3 xz';
  if (host.packager === 'pkg_add') return [asRoot(host, `pkg_add ${names}`)];
  return [];
}

function aptLine(host: HostFacts, guest: string): string {
  const name = `qemu-system-${DEBIAN_PACKAGES[guest] ?? 'misc'}`;
  return `apt install ${isBookworm(host) ? '-t bookworm-backports ' : ''}${name}`;
}

function aptHint(host: HostFacts): string {
  return isBookworm(host) ? ' from backports (QEMU 10.0; its own is 7.2)' : '';
}

function isBookworm({ codename, family }: HostFacts): boolean {
  return codename === 'bookworm' && family[0] === 'debian';
}

function susePackage(guest: string): string {
  if (guest === 'x86_64' || guest === 'i386') return 'qemu-x86';
  return guest === 'aarch64' || guest === 'arm' ? 'qemu-arm' : 'qemu-extra';
}
