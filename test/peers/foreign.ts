/**
 * Guests of other architectures: what of them the installer has fetched, and how their QEMU is
 * started. All of it runs by emulation, whatever this host is.
 *
 * @module
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Qemu } from './setup.ts';

/** A machine of one architecture with a Linux for it. */
export interface ForeignGuest {
  /** As in the installer: the folder below `guests` in the cache. */
  readonly name: string;
  /** What the guest's `uname -m` says. */
  readonly machine: string;
  /** Whether its processor has the most significant byte first; what virtio-fs carries has, too. */
  readonly bigEndian: boolean;
  readonly pageBytes: number;
  readonly qemu: Qemu;
  /** Options of QEMU: the board and the processor. */
  readonly board: readonly [machine: string, cpu: string];
  /** The kernel's name of QEMU's first serial port. */
  readonly console: string;
  /** Shared folders are also offered as devices of the channel subsystem: `vhost-user-fs-ccw`. */
  readonly channels: boolean;
  /**
   * QEMU 11, else 10. It alone has a device by which a console attaches, the generic one, with one
   * interrupt, which has to be a pin's: s390x has no such, and no device for its channels.
   */
  readonly isNewer: boolean;
  /** Without libraries. */
  readonly busybox: string;
  readonly kernel: string;
  readonly modules: string;
}

type Facts = Omit<ForeignGuest, 'qemu' | 'busybox' | 'kernel' | 'modules'>;

/** The newer suite's folder: what QEMU 11 sees of this host is /tmp. */
const NEWER_SUITE = 'forky';

const KIB = 1024;
const LITTLE = { bigEndian: false, channels: false, isNewer: true, pageBytes: 4 * KIB };
/** Pointer authentication by its real algorithm takes half of an emulated processor's time. */
const ARM: Facts['board'] = ['virt', 'max,pauth-impdef=on'];

const GUESTS: readonly Facts[] = [
  {
    ...LITTLE,
    name: 'aarch64',
    machine: 'aarch64',
    board: ARM,
    console: 'ttyAMA0',
    isNewer: false,
  },
  {
    ...LITTLE,
    name: 'aarch64-16k',
    machine: 'aarch64',
    board: ARM,
    console: 'ttyAMA0',
    pageBytes: 16 * KIB,
  },
  { ...LITTLE, name: 'riscv64', machine: 'riscv64', board: ['virt', 'max'], console: 'ttyS0' },
  {
    name: 's390x',
    machine: 's390x',
    bigEndian: true,
    pageBytes: 4 * KIB,
    board: ['s390-ccw-virtio', 'max'],
    console: 'ttysclp0',
    channels: true,
    isNewer: false,
  },
];

/** Finds them in the cache folder; what is not there is added to `missing`. */
export function findForeignGuests(
  cache: string,
  tool: (name: string) => string,
  missing: string[],
): readonly ForeignGuest[] {
  return GUESTS.map((facts) => {
    const folder = join(cache, 'guests', facts.name);
    const [kernel, modules, busybox] = ['vmlinuz', 'modules', 'busybox'].map((name) =>
      join(folder, name),
    ) as [string, string, string];
    if (![kernel, modules, busybox].every((path) => existsSync(path))) {
      missing.push(`a kernel and busybox for ${facts.name}`);
    }
    const name = `qemu-system-${facts.machine}`;
    const suite = join(cache, NEWER_SUITE);
    const command = facts.isNewer ? ['chroot', suite, `/usr/bin/${name}`] : [tool(name)];
    if (facts.isNewer && !existsSync(join(suite, 'usr/bin', name)))
      missing.push(`QEMU 11's ${name}`);
    return { ...facts, qemu: { command, version: '', guestRoot: '' }, kernel, modules, busybox };
  });
}
