/**
 * What is to be said of the QEMUs of a host: whether each has vhost-user, shared memory, and none
 * of the faults that its release is known for.
 *
 * @module
 */
import { PIPES_FAULT, isAtLeast, pipesFitness, vhostUserDevices } from '../qemu/index.ts';
import type { QemuProbe } from '../qemu/index.ts';
import { remedy } from './finding.ts';
import type { Finding, Remedy, Status } from './finding.ts';
import type { HostFacts } from './host.ts';
import { buildQemu, installQemu, ownGuestArch } from './install.ts';

/** QEMU's device for one that it has no other name for (10.2 and later). */
const GENERIC = 'vhost-user-test-device';

/** By our names: which devices of QEMU attach it, on a bus that it is followed by. */
export const ATTACHED_BY: Readonly<Record<string, readonly string[]>> = {
  blk: ['vhost-user-blk', GENERIC],
  fs: ['vhost-user-fs', GENERIC],
  vsock: ['vhost-user-vsock', GENERIC],
  rng: ['vhost-user-rng', GENERIC],
  console: [GENERIC],
};

/** How the probe says that the file is gone. */
const NOT_THERE = 'could not be started: ENOENT';

/** PCI, channel I/O of s390x, and the bus of machines without either. */
const BUSES = ['-pci', '-ccw', '-device', ''];

/** A QEMU with what is to be said of it. */
export interface JudgedQemu {
  readonly probe: QemuProbe;
  readonly status: Status;
  readonly detail: string;
  readonly remedy: Remedy | null;
  /** Our devices that it attaches, by our names; empty unless it works. */
  readonly attaches: readonly string[];
}

/** Our devices that a QEMU has a device for. */
export function attachableBy(probe: QemuProbe): string[] {
  const has = (name: string): boolean => BUSES.some((bus) => probe.devices.includes(name + bus));
  return Object.entries(ATTACHED_BY).flatMap(([device, names]) =>
    names.some(has) ? [device] : [],
  );
}

/**
 * Judges a QEMU.
 *
 * @param pipes whether QEMU has to do without eventfd on this host
 */
export function judgeQemu(probe: QemuProbe, host: HostFacts, pipes: boolean): JudgedQemu {
  const { path, version, fault } = probe;
  const about = describe(probe);
  const fails = (status: Status, why: string, todo: Remedy): JudgedQemu => {
    const detail = version === null ? why : `${about}; ${why}`;
    return { probe, status, detail, remedy: todo, attaches: [] };
  };
  if (fault?.includes(NOT_THERE) === true) {
    const todo = remedy('Name one that is there, or leave --qemu out: those in PATH are found');
    return fails('missing', 'there is no such file', todo);
  }
  if (fault !== null || version === null) {
    const todo = remedy('See what it says, and install it anew', `${path} -device help | head`);
    return fails('unknown', `it does not answer as QEMU does: ${fault ?? ''}`, todo);
  }
  const attaches = attachableBy(probe);
  if (attaches.length === 0) {
    const todo = host.os === 'linux' ? installQemu(host) : buildQemu(host);
    return fails('missing', 'it was built without vhost-user', todo);
  }
  const fitness = pipes ? pipesFitness(version) : 'works';
  if (fitness === 'fails') {
    const what = 'QEMU 11.1 starts no vhost-user device on a host without eventfd';
    const why = `${what} ("${PIPES_FAULT}")`;
    return fails('missing', why, buildQemu(host));
  }
  if (!hasSharedMemory(probe, host)) {
    const old = !isAtLeast(version, 9, 1);
    const why = old
      ? 'before 9.1 it has no memory that it can share on this host (memory-backend-shm)'
      : 'it was built without memory that can be shared (memory-backend-shm)';
    return fails('missing', why, host.os === 'linux' ? installQemu(host) : buildQemu(host));
  }
  if (fitness === 'unknown') {
    const why =
      'whether it starts a vhost-user device on a host without eventfd is not known to us: ' +
      `QEMU 10.0 does, 11.1 does not ("${PIPES_FAULT}"), and no other from 11.0 on was tried`;
    return fails('unknown', why, tryFirst(buildQemu(host)));
  }
  return { probe, status: 'works', detail: about, remedy: null, attaches };
}

/** What to do about something that may work. */
function tryFirst({ text, commands }: Remedy): Remedy {
  const otherwise = text.charAt(0).toLowerCase() + text.slice(1);
  return remedy(`Try it with a guest; if its devices do not start, ${otherwise}`, ...commands);
}

/** memory-backend-file shares too, but needs a tmpfs that only Linux has in a known place. */
function hasSharedMemory({ objects }: QemuProbe, host: HostFacts): boolean {
  const has = (kind: string): boolean => objects.includes(`memory-backend-${kind}`);
  return has('shm') || has('memfd') || (host.os === 'linux' && has('file'));
}

function describe(probe: QemuProbe): string {
  const { version, objects, accelerators } = probe;
  if (version === null) return '';
  const packaging = version.packaging === '' ? '' : ` (${version.packaging})`;
  const parts = [`${version.text}${packaging}`];
  const devices = shortNames(vhostUserDevices(probe));
  if (devices.length > 0) parts.push(`vhost-user devices ${devices.join(', ')}`);
  const backends = ['memfd', 'shm', 'file'].filter((kind) =>
    objects.includes(`memory-backend-${kind}`),
  );
  if (backends.length > 0) parts.push(`shared memory ${backends.join(', ')}`);
  if (accelerators.length > 0) parts.push(`accelerators ${accelerators.join(', ')}`);
  return parts.join('; ');
}

/** `blk` of `vhost-user-blk` and `vhost-user-blk-pci`. */
function shortNames(devices: readonly string[]): string[] {
  const short = devices.map((name) =>
    name.replace(/^vhost-user-/, '').replace(/-(pci|ccw|device)$/, ''),
  );
  // `test-device` is a name of its own, which ends like a bus.
  return [...new Set(short.map((name) => (name === 'test' ? 'test-device' : name)))];
}

/** The findings about QEMUs: each one of this architecture, and the others by what they share. */
export function qemuFindings(judged: readonly JudgedQemu[], host: HostFacts): Finding[] {
  const own = ownGuestArch(host.arch);
  const isOwn = ({ probe }: JudgedQemu): boolean => ['', own].includes(probe.guestArch);
  const findings = judged.filter(isOwn).map((each) => finding(each, [each]));
  const groups = new Map<string, JudgedQemu[]>();
  for (const each of judged.filter((one) => !isOwn(one))) {
    const { version } = each.probe;
    const key = [each.status, version?.text, version?.packaging, each.attaches].join();
    groups.set(key, [...(groups.get(key) ?? []), each]);
  }
  for (const group of groups.values()) {
    const [first] = group;
    if (first !== undefined) findings.push(finding(first, group));
  }
  return findings;
}

function finding(first: JudgedQemu, group: readonly JudgedQemu[]): Finding {
  const { probe, status, detail } = first;
  const [path, ...others] = group.map((each) => each.probe.path);
  const archs = group.map((each) => each.probe.guestArch).filter((arch) => arch !== '');
  const also = others.length === 0 ? '' : `; likewise for guests of ${archs.slice(1).join(', ')}`;
  return {
    id: `qemu:${path ?? ''}`,
    section: 'vmm',
    title: ['QEMU', archs[0] ?? ''].join(' ').trim(),
    status,
    needed: false, // One that works is enough: that is a finding of its own.
    detail: `${probe.path}: ${detail}${also}`,
    remedy: first.remedy,
  };
}
