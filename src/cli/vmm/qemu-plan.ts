/**
 * The command line of a QEMU for devices that are served, on the host at hand, together with what
 * the user says himself.
 *
 * @module
 */
import type { QemuProbe } from '../../qemu/index.ts';
import { UsageError } from '../errors.ts';
import type { Attachment } from './attachment.ts';
import { commaTwice, lastValue } from './option-text.ts';
import { machineText, memoryOptionText, memoryText } from './qemu-arguments.ts';
import type { QemuArguments } from './qemu-arguments.ts';
import { chardevText, deviceText } from './qemu-devices.ts';
import { chooseDevice, chooseMemory } from './qemu-fitness.ts';

/** What of a host matters to QEMU. */
export interface QemuHostFacts {
  /** As the `sys` layer names it. */
  readonly os: string;
  readonly arch: string;
  /** Whether this user may open /dev/kvm. */
  readonly mayUseKvm: boolean;
}

/** Options that belong together, with a remark for people. */
export interface OptionGroup {
  readonly title: string;
  /** Each is an option with its value. */
  readonly options: readonly (readonly string[])[];
}

/** A command line of QEMU's. */
export interface QemuPlan {
  readonly program: string;
  readonly groups: readonly OptionGroup[];
}

/** Guest memory when the user says none; QEMU's own default of 128 MiB boots hardly anything. */
const MEMORY_BYTES = 2 ** 30;

/** The architecture of guests that QEMU calls what the `sys` layer calls otherwise. */
const GUEST_ARCH: Readonly<Record<string, string>> = {
  x64: 'x86_64',
  arm64: 'aarch64',
  ppc64: 'ppc64',
  loong64: 'loongarch64',
};

/** A machine with PCI express, or the channels of s390x, for each architecture of guests. */
export const MACHINES: Readonly<Record<string, string>> = {
  x86_64: 'q35',
  i386: 'q35',
  aarch64: 'virt',
  arm: 'virt',
  riscv64: 'virt',
  riscv32: 'virt',
  loongarch64: 'virt',
  s390x: 's390-ccw-virtio',
  ppc64: 'pseries',
};

/** The architecture of guests that this host runs without emulation. */
export function hostGuestArch(arch: string): string {
  return GUEST_ARCH[arch] ?? arch;
}

/** Makes the command line. @throws UsageError, VhostUserError `ERR_VHU_QEMU` when there is none */
export function planQemu(
  qemu: QemuProbe,
  host: QemuHostFacts,
  attachments: readonly Attachment[],
  user: QemuArguments,
): QemuPlan {
  const guestArch = qemu.guestArch === '' ? hostGuestArch(host.arch) : qemu.guestArch;
  const machineType = standardMachine(guestArch, user);
  const { ids } = user;
  const memoryId = user.ownsMemory ? null : freeId('mem', ids);
  const accelerators = user.choosesAccelerator ? [] : accelerator(qemu, host, guestArch);
  const groups: OptionGroup[] = [
    {
      title: 'The machine',
      options: [
        ['-machine', machineText(user.machine, machineType, memoryId)],
        ...accelerators.map((name) => ['-accel', name]),
        // The default of some machines is a processor of the last century.
        ...(user.choosesCpu ? [] : [['-cpu', 'max']]),
      ],
    },
    {
      title: 'Its memory, which the devices map',
      options: memoryOptions(qemu, host, user, memoryId),
    },
    ...attachments.map((attachment): OptionGroup => {
      const id = freeId(attachment.id, ids);
      const name = chooseDevice(qemu, attachment.type, guestArch === 's390x');
      return {
        title: titleOf(attachment),
        options: [
          ['-chardev', chardevText(id, attachment.socketPath)],
          ['-device', deviceText(attachment, id, name)],
        ],
      };
    }),
  ];
  const own = user.rest.map(({ words }) => words);
  if (own.length > 0) groups.push({ title: 'Your own options', options: own });
  return { program: qemu.path, groups };
}

/** All words of a command line, the program first. */
export function planWords(plan: QemuPlan): string[] {
  return [plan.program, ...plan.groups.flatMap(({ options }) => options.flat())];
}

/** What a device is called in comments. */
export function titleOf(attachment: Attachment): string {
  return attachment.type === 'fs' ? `${attachment.id}, tag ${attachment.tag}` : attachment.id;
}

/** Guest memory, in bytes. */
export function plannedMemoryBytes(user: QemuArguments): number {
  return user.memoryBytes ?? MEMORY_BYTES;
}

function standardMachine(guestArch: string, user: QemuArguments): string {
  const chosen = lastValue(user.machine, 'type');
  const type = chosen ?? MACHINES[guestArch];
  if (type === undefined) {
    throw new UsageError(
      `which machine? For guests of ${guestArch} give one that has PCI, by -- -machine NAME`,
    );
  }
  const hasPci = ['on', 'true', 'yes', 'y'].includes(lastValue(user.machine, 'pcie') ?? '');
  if (type === 'microvm' && !hasPci) {
    throw new UsageError(
      "the devices are on PCI, and the machine 'microvm' has none: give -machine microvm,pcie=on",
    );
  }
  return type;
}

function memoryOptions(
  qemu: QemuProbe,
  host: QemuHostFacts,
  user: QemuArguments,
  memoryId: string | null,
): string[][] {
  const bytes = plannedMemoryBytes(user);
  const size = ['-m', memoryOptionText(user.memory, bytes)];
  // Whoever has memory of his own knows how large it is.
  if (memoryId === null) return user.memory.length > 0 ? [size] : [];
  const { memoryPath } = user;
  const type = memoryPath === null ? chooseMemory(qemu, host.os) : 'memory-backend-file';
  const path = memoryPath === null ? [] : [`mem-path=${commaTwice(memoryPath)}`];
  const properties = [`id=${memoryId}`, `size=${memoryText(bytes)}`, ...path, 'share=on'];
  return [size, ['-object', [type, ...properties].join(',')]];
}

/** The fastest first; QEMU takes the next one when one cannot be had. */
function accelerator(qemu: QemuProbe, host: QemuHostFacts, guestArch: string): string[] {
  const isSame = guestArch === hostGuestArch(host.arch);
  const has = (name: string): boolean => qemu.accelerators.includes(name);
  const fast: string[] = [];
  if (isSame && host.os === 'linux' && has('kvm') && host.mayUseKvm) fast.push('kvm');
  if (isSame && host.os === 'darwin' && has('hvf')) fast.push('hvf');
  return has('tcg') || fast.length === 0 ? [...fast, 'tcg'] : fast;
}

/** The first of `blk0`, `blk0-1`, `blk0-2` and so on that the user has not taken. */
function freeId(id: string, taken: ReadonlySet<string>): string {
  let free = id;
  for (let i = 1; taken.has(free); i++) free = `${id}-${i}`;
  return free;
}
