/**
 * What a QEMU is and can, asked of the program itself and never guessed by its version: packagers
 * leave things out. Nothing is booted.
 *
 * @module
 */
import { guestArchOf } from './find.ts';
import { parseAccelerators, parseDevices, parseObjects, parseVersion } from './output.ts';
import type { QemuVersion } from './output.ts';
import { ask } from './run.ts';

/** How long one answer may take: a tenth of a second is usual, a busy machine needs more. */
const LIMIT_MS = 10_000;
const AT_ONCE_MAX = 4;

/** A QEMU and what it has said. */
export interface QemuProbe {
  readonly path: string;
  /** The architecture of its guests: `x86_64`; empty when its name does not say. */
  readonly guestArch: string;
  /** Null when it did not say one. */
  readonly version: QemuVersion | null;
  /** Names for `-device`, `-object` and `-accel`; sorted. */
  readonly devices: readonly string[];
  readonly objects: readonly string[];
  readonly accelerators: readonly string[];
  /** Why the answers above are not whole, as a sentence; null when they are. */
  readonly fault: string | null;
}

/** How QEMUs are asked. */
export interface ProbeOptions {
  /** How long one answer may take, in milliseconds; there are four. */
  readonly limitMs?: number;
  /** How many QEMUs are asked at a time. */
  readonly atOnce?: number;
  /** Called after each QEMU, with how many have answered. */
  readonly onProbed?: (done: number) => void;
}

/** What QEMU prints without a machine; its order of options does not matter. */
const NO_MACHINE = ['-machine', 'none', '-nodefaults', '-display', 'none'];

/** Asks one QEMU. Does not throw: what goes wrong is the probe's `fault`. */
export async function probeQemu(path: string, options: ProbeOptions = {}): Promise<QemuProbe> {
  const { limitMs = LIMIT_MS } = options;
  const guestArch = guestArchOf(path);
  const none = { devices: [], objects: [], accelerators: [] };
  const said = await ask(path, ['--version'], limitMs);
  const version = parseVersion(said.stdout);
  if (said.fault !== null) {
    return { path, guestArch, version, ...none, fault: `'--version' ${said.fault}` };
  }
  if (version === null) {
    return { path, guestArch, version, ...none, fault: "'--version' printed no version of QEMU" };
  }
  const lists: Record<'device' | 'object' | 'accel', string[]> = {
    device: [],
    object: [],
    accel: [],
  };
  const parsers = { device: parseDevices, object: parseObjects, accel: parseAccelerators };
  let fault: string | null = null;
  for (const option of ['device', 'object', 'accel'] as const) {
    const answer = await ask(path, [...NO_MACHINE, `-${option}`, 'help'], limitMs);
    // Older releases print lists on stderr; newer ones only warnings.
    lists[option] = parsers[option](answer.stdout + answer.stderr);
    const failed = answer.fault ?? (lists[option].length === 0 ? 'printed no names' : null);
    if (failed === null) continue;
    fault = `'-${option} help' ${failed}`;
    break; // one that hangs once is not waited for three times
  }
  const { device: devices, object: objects, accel: accelerators } = lists;
  return { path, guestArch, version, devices, objects, accelerators, fault };
}

/** Asks several QEMUs, a few at a time; the probes are in the order of the paths. */
export async function probeQemus(
  paths: readonly string[],
  options: ProbeOptions = {},
): Promise<QemuProbe[]> {
  const { atOnce = AT_ONCE_MAX, onProbed } = options;
  const probes: QemuProbe[] = [];
  let next = 0;
  let done = 0;
  const worker = async (): Promise<void> => {
    while (next < paths.length) {
      const index = next++;
      probes[index] = await probeQemu(paths[index] ?? '', options);
      onProbed?.(++done);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, paths.length) }, worker));
  return probes;
}

/** The devices of a QEMU that are vhost-user's, without the variants of the same device. */
export function vhostUserDevices(probe: QemuProbe): string[] {
  return probe.devices.filter(
    (name) => name.startsWith('vhost-user-') && !/-(non-)?transitional$/.test(name),
  );
}
