/**
 * Whether guests run on the processor itself, or are translated (TCG), which is many times slower.
 *
 * @module
 */
import { readFileSync } from 'node:fs';
import type { QemuProbe } from '../qemu/index.ts';
import { ask } from '../qemu/index.ts';
import { remedy } from './finding.ts';
import type { Finding, Remedy } from './finding.ts';
import type { HostFacts } from './host.ts';
import { asRoot, ownGuestArch } from './install.ts';
import type { Sys } from './program.ts';

type Verdict = Pick<Finding, 'status' | 'detail' | 'remedy'>;

const TRANSLATED = 'guests are translated (tcg), which is many times slower';
const SYSCTL_LIMIT_MS = 10_000;

/** The finding; none where no QEMU is for guests of this architecture. */
export async function acceleratorFinding(
  qemus: readonly QemuProbe[],
  host: HostFacts,
  sys: Sys | null,
): Promise<Finding[]> {
  const own = ownGuestArch(host.arch);
  const named = new Set(
    qemus
      .filter(({ guestArch }) => ['', own].includes(guestArch))
      .flatMap(({ accelerators }) => accelerators),
  );
  if (named.size === 0) return [];
  const common = {
    id: 'accelerator',
    section: 'vmm',
    title: 'Acceleration',
    needed: false,
  } as const;
  if (named.has('kvm') && host.os === 'linux') {
    if (sys === null) return [];
    return [{ ...common, ...kvmVerdict(sys.tryKvm(), host, isVirtual()) }];
  }
  if (named.has('hvf') && host.os === 'darwin') {
    const { stdout } = await ask('/usr/sbin/sysctl', ['-n', 'kern.hv_support'], SYSCTL_LIMIT_MS);
    return [{ ...common, ...hvfVerdict(stdout.trim()) }];
  }
  if (named.has('nvmm') || named.has('whpx')) {
    const name = named.has('nvmm') ? 'nvmm' : 'whpx';
    return [{ ...common, status: 'works', detail: `QEMU has ${name}`, remedy: null }];
  }
  const detail = `QEMU has no accelerator here; ${TRANSLATED}`;
  const todo = host.os === 'linux' ? remedy('Use a QEMU that is built with KVM') : null;
  return [{ ...common, status: 'slower', detail, remedy: todo }];
}

/** What KVM has said; `isNested`: this host is a virtual machine itself. */
export function kvmVerdict(
  verdict: ReturnType<Sys['tryKvm']>,
  host: HostFacts,
  isNested: boolean,
): Verdict {
  if (verdict.kind === 'works') {
    const detail = 'kvm: /dev/kvm is open to this user, and makes machines';
    if (!isNested) return { status: 'works', detail, remedy: null };
    return {
      status: 'works',
      detail: `${detail}; this host is a virtual machine itself, where KVM may hang a guest`,
      remedy: remedy('If a guest stays silent with -accel kvm, try it with -accel tcg'),
    };
  }
  const slow = (why: string, todo: Remedy): Verdict => {
    return { status: 'slower', detail: `kvm: ${why}; ${TRANSLATED}`, remedy: todo };
  };
  if (verdict.kind === 'absent') {
    if (host.isContainer) {
      const todo = remedy('Give it to the container', 'docker run --device /dev/kvm ...');
      return slow('there is no /dev/kvm in this container', todo);
    }
    if (isNested) {
      const todo = remedy('Switch on nested virtualization in what runs this machine');
      return slow('there is no /dev/kvm, and this host is a virtual machine itself', todo);
    }
    const todo = remedy(
      "Switch on virtualization in the firmware (VT-x, AMD-V) and load the kernel's module",
      asRoot(host, 'modprobe -a kvm kvm_intel kvm_amd'),
    );
    return slow('there is no /dev/kvm', todo);
  }
  if (['EACCES', 'EPERM'].includes(verdict.errnoName)) {
    const todo = remedy('Join its group, and log in again', 'sudo usermod -aG kvm "$USER"');
    return slow('/dev/kvm is not open to this user', todo);
  }
  if (verdict.errnoName === 'EBUSY') {
    const todo = remedy('End the other monitor (VirtualBox, VMware), and try again');
    return slow('another monitor has the processor (EBUSY)', todo);
  }
  const todo = remedy('See what the kernel says of it', asRoot(host, 'dmesg | grep -i kvm'));
  return slow(`/dev/kvm answers with ${verdict.errnoName}`, todo);
}

function hvfVerdict(supported: string): Verdict {
  if (supported === '1') return { status: 'works', detail: 'hvf', remedy: null };
  const todo = remedy('Run on the Mac itself, and not in a virtual machine on it');
  return { status: 'slower', detail: `hvf: not to be had here; ${TRANSLATED}`, remedy: todo };
}

/** Linux on x86 tells by a flag of the processor. */
function isVirtual(): boolean {
  try {
    return /^flags\b.*\bhypervisor\b/m.test(readFileSync('/proc/cpuinfo', 'utf8'));
  } catch {
    return false;
  }
}
