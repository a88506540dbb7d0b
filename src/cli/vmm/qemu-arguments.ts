/**
 * What a user says to QEMU by himself, taken apart as far as our own options have to go with it:
 * the machine and its memory.
 *
 * @module
 */
import { UsageError } from '../errors.ts';
import { formatOptionText, lastValue, parseOptionText } from './option-text.ts';
import type { OptionPart } from './option-text.ts';

/** An option of QEMU's with its value, or a word that stands alone: the image of a disk. */
export interface QemuOption {
  /** Without dashes, and by its newer name: `machine` for `-M`; empty for a word alone. */
  readonly name: string;
  /** As they were written, one word or two. */
  readonly words: readonly string[];
  /** Null for an option that takes none. */
  readonly value: string | null;
}

/** What the user's options say of what is ours to say, too. */
export interface QemuArguments {
  /** Of all `-machine` and `-M`, in their order; the type has the key `type`. */
  readonly machine: readonly OptionPart[];
  /** Of all `-m`. */
  readonly memory: readonly OptionPart[];
  /** Null when the user does not say. */
  readonly memoryBytes: number | null;
  /** Where guest memory is to be, by `-mem-path`; null when it is not said. */
  readonly memoryPath: string | null;
  /** The user has made a memory backend of his own, and says what it is for. */
  readonly ownsMemory: boolean;
  readonly choosesAccelerator: boolean;
  readonly choosesCpu: boolean;
  /** Virtual processors; 1 unless `-smp` says otherwise. */
  readonly cpuCount: number;
  /** Identifiers that are taken. */
  readonly ids: ReadonlySet<string>;
  /** Everything else, as it was written and in its order. */
  readonly rest: readonly QemuOption[];
}

const HELP = 'vhost-user qemu --help';

/** Options that have no value (`qemu-options.hx` of QEMU 7.2 to 11.1: those without HAS_ARG). */
const ALONE: ReadonlySet<string> = new Set([
  ...['h', 'help', 'version', 'audio-help', 'snapshot', 'usb', 'nographic', 'full-screen'],
  ...['portrait', 'sdl', 'alt-grab', 'ctrl-grab', 'no-quit', 'no-frame', 'curses'],
  ...['win2k-hack', 'rtc-td-hack', 'no-fd-bootchk', 'no-acpi', 'no-hpet', 'mem-prealloc'],
  ...['preconfig', 'S', 's', 'enable-kvm', 'xen-attach', 'xen-domid-restrict', 'xen-create'],
  ...['no-reboot', 'no-shutdown', 'daemonize', 'only-migratable', 'nodefaults', 'singlestep'],
  ...['no-user-config', 'nodefconfig', 'enable-sync-profile', 'perfmap', 'jitdump'],
  ...['semihosting', 'old-param', 'async-teardown', 'no-kvm', 'one-insn-per-tb'],
]);

/** Names of the same option. */
const NEWER_NAMES: Readonly<Record<string, string>> = { M: 'machine', help: 'h' };

/** Megabytes, when no unit is said: `-m` alone is counted so. */
const MEMORY_UNITS: Readonly<Record<string, number>> = {
  ...{ b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40, p: 2 ** 50 },
  '': 2 ** 20,
};

/** QEMU rounds the size of memory up to a multiple of this. */
const MEMORY_ALIGN = 8192;

/** Takes the words apart that come after `--`. @throws UsageError for what cannot be with us */
export function readQemuArguments(words: readonly string[]): QemuArguments {
  const options = splitOptions(words);
  const all = (name: string): QemuOption[] => options.filter((each) => each.name === name);
  const parts = (name: string, key: string): OptionPart[] =>
    all(name).flatMap(({ value }) => parseOptionText(value ?? '', key));
  if (all('daemonize').length > 0) {
    throw new UsageError(
      '-daemonize: QEMU stays in the foreground here, since its devices end with it; ' +
        'let a service manager put the whole command into the background',
      HELP,
    );
  }
  const machine = parts('machine', 'type');
  const memory = parts('m', 'size');
  const size = lastValue(memory, 'size');
  const memoryPath = all('mem-path').at(-1)?.value ?? null;
  const ownsMemory = checkOwnMemory(options, machine, parts('numa', 'type'));
  const smp = parts('smp', 'cpus');
  return {
    machine,
    memory,
    memoryBytes: size === undefined ? null : memoryBytes(size),
    memoryPath,
    ownsMemory,
    choosesAccelerator:
      lastValue(machine, 'accel') !== undefined ||
      [...all('accel'), ...all('enable-kvm')].length > 0,
    choosesCpu: all('cpu').length > 0,
    cpuCount: cpuCount(smp),
    ids: idsOf(options),
    rest: options.filter(({ name }) => !isOurs(name, ownsMemory)),
  };
}

/** Whether we write the option ourselves, out of what the user has said. */
function isOurs(name: string, ownsMemory: boolean): boolean {
  return name === 'machine' || name === 'm' || (name === 'mem-path' && !ownsMemory);
}

/** The words as options, each with its value. */
export function splitOptions(words: readonly string[]): QemuOption[] {
  const options: QemuOption[] = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? '';
    if (!word.startsWith('-') || word === '-') {
      options.push({ name: '', words: [word], value: word });
      continue;
    }
    const plain = word.replace(/^--?/, '');
    const name = NEWER_NAMES[plain] ?? plain;
    const value = words[at + 1];
    if (ALONE.has(plain)) {
      options.push({ name, words: [word], value: null });
    } else if (value === undefined) {
      const why = 'nothing comes after it, and it is none of the options of QEMU without a value';
      throw new UsageError(`${word}: ${why}`, HELP);
    } else {
      options.push({ name, words: [word, value], value });
      at++;
    }
  }
  return options;
}

/** The options as words again. */
export function optionWords(options: readonly QemuOption[]): string[] {
  return options.flatMap(({ words }) => words);
}

/** The bytes that `-m` means. @throws UsageError when it is no size */
function memoryBytes(text: string): number {
  const [, digits = '', unit = ''] = /^(\d+(?:\.\d+)?)([bkmgtp]?)(?:i?b)?$/i.exec(text) ?? [];
  const bytes = Number(digits) * (MEMORY_UNITS[unit.toLowerCase()] ?? 0);
  const aligned = Math.ceil(bytes / MEMORY_ALIGN) * MEMORY_ALIGN;
  if (digits === '' || aligned === 0 || !Number.isSafeInteger(aligned)) {
    throw new UsageError(`-m ${text}: a size such as 2G is needed`, HELP);
  }
  return aligned;
}

/** A size as QEMU and people write it: `2G`, `1536M`. */
export function memoryText(bytes: number): string {
  for (const [unit, name] of [
    [2 ** 30, 'G'],
    [2 ** 20, 'M'],
    [2 ** 10, 'K'],
  ] as const) {
    if (bytes % unit === 0) return `${bytes / unit}${name}`;
  }
  return String(bytes);
}

/** Without a number of its own it is the product of what it says of sockets, cores and so on. */
function cpuCount(parts: readonly OptionPart[]): number {
  const whole = (key: string): number | null => {
    const value = Number(lastValue(parts, key));
    return Number.isInteger(value) && value > 0 ? value : null;
  };
  const topology = ['drawers', 'books', 'sockets', 'dies', 'clusters', 'modules', 'cores'];
  const product = [...topology, 'threads'].reduce((sum, key) => sum * (whole(key) ?? 1), 1);
  return whole('cpus') ?? product;
}

/** Whether the user says himself what guest memory is. @throws UsageError when it is not shared */
function checkOwnMemory(
  options: readonly QemuOption[],
  machine: readonly OptionPart[],
  numa: readonly OptionPart[],
): boolean {
  const nodes = numa.filter(({ key }) => key === 'memdev').map(({ value }) => value ?? '');
  const backend = lastValue(machine, 'memory-backend');
  const used = backend === undefined ? nodes : [...nodes, backend];
  const objects = options.filter(({ name }) => name === 'object').map(({ value }) => value ?? '');
  for (const object of objects.map(propertiesOf)) {
    const type = object.get('qom-type') ?? '';
    const id = object.get('id') ?? '';
    if (!used.includes(id) || !type.startsWith('memory-backend-')) continue;
    const fault = sharingFault(type, object.get('share'));
    if (fault !== null) throw new UsageError(`-object ${type},id=${id}: ${fault}`, HELP);
  }
  return used.length > 0;
}

/** What is wrong with a memory backend for devices of another process; null when nothing is. */
function sharingFault(type: string, share: string | undefined): string | null {
  if (type === 'memory-backend-ram') {
    return (
      'this memory has no descriptor that devices of another process could map: use ' +
      'memory-backend-memfd, memory-backend-shm or memory-backend-file with share=on'
    );
  }
  // These two are shared unless they are told not to be.
  const isShared = ['memory-backend-memfd', 'memory-backend-shm'].includes(type);
  if (['on', 'true', 'yes', 'y'].includes(share ?? (isShared ? 'on' : 'off'))) return null;
  return 'guest memory has to be shared with the devices: add share=on';
}

/** The properties of a value of `-object`, which may be JSON. */
function propertiesOf(value: string): Map<string, string> {
  if (!value.startsWith('{')) {
    const parts = parseOptionText(value, 'qom-type');
    return new Map(parts.map((part) => [part.key, part.value ?? 'on']));
  }
  try {
    const object = JSON.parse(value) as Record<string, unknown>;
    return new Map(Object.entries(object).map(([key, each]) => [key, jsonText(each)]));
  } catch {
    return new Map(); // QEMU says what is wrong with it.
  }
}

function jsonText(value: unknown): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function idsOf(options: readonly QemuOption[]): Set<string> {
  const values = options.filter(({ name }) => ['object', 'chardev', 'device'].includes(name));
  const ids = values.map(({ value }) => propertiesOf(value ?? '').get('id'));
  return new Set(ids.filter((id) => id !== undefined));
}

/** The value of `-machine`: the user's, with a type and a memory backend where he names none. */
export function machineText(
  machine: readonly OptionPart[],
  standardType: string,
  backendId: string | null,
): string {
  const type = { key: 'type', value: lastValue(machine, 'type') ?? standardType };
  const others = machine.filter(({ key }) => key !== 'type');
  const backend = backendId === null ? [] : [{ key: 'memory-backend', value: backendId }];
  return formatOptionText([type, ...others, ...backend], 'type');
}

/** The value of `-m`: the user's, with a size where he names none. */
export function memoryOptionText(memory: readonly OptionPart[], bytes: number): string {
  const size = { key: 'size', value: memoryText(bytes) };
  return formatOptionText([size, ...memory.filter(({ key }) => key !== 'size')], 'size');
}
