/**
 * The configuration file of `vhost-user run`: YAML, checked strictly, with faults that name their
 * line.
 *
 * Loaded only when there is a file, since its libraries take longer to load than all the rest.
 *
 * @module
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { LineCounter, isMap, isNode, isPair, isScalar, parseDocument } from 'yaml';
import type { Document } from 'yaml';
import { z } from 'zod';
import type { LogLevel } from '../backend/index.ts';
import type { BlkOptions } from '../devices/blk/index.ts';
import { VhostUserError, errorMessage } from '../util/index.ts';
import { UsageError } from './errors.ts';
import { LIMITS, keepsRule, parseMode, ruleText, serialFault } from './limits.ts';
import type { NumberRule } from './limits.ts';
import { LOG_FORMATS, LOG_LEVELS } from './options.ts';
import type { LogFormat } from './options.ts';
import type { SocketSettings } from './socket-address.ts';

/** A configuration, checked, with its defaults. */
export interface Config {
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  readonly devices: readonly BlkConfig[];
}

/** A disk of a configuration. */
export interface BlkConfig {
  /** What the log calls it. */
  readonly name: string;
  readonly options: BlkOptions;
  readonly socket: SocketSettings;
}

type Path = readonly PropertyKey[];

const ALIASES_MAX = 100;
const SOCKET_KEYS = ['socket-path', 'fd', 'activation'] as const;

function wholeNumber(rule: NumberRule): z.ZodNumber {
  const error = `must be ${ruleText(rule)}`;
  return z
    .number({ error })
    .min(rule.min, { error, abort: true })
    .max(rule.max, { error, abort: true })
    .refine((value) => keepsRule(value, rule), { error });
}

const text = z.string({ error: 'must be a text' }).min(1, { error: 'must not be empty' });
const flag = z.boolean({ error: 'must be true or false' });

const BLK = z.strictObject({
  type: z.literal('blk'),
  name: text.optional().describe('what the log calls it'),
  image: text.describe('a raw image file or a block device'),
  'read-only': flag.optional(),
  serial: text
    .superRefine((value, context) => {
      const fault = serialFault(value);
      if (fault !== null) context.addIssue({ code: 'custom', message: fault });
    })
    .optional(),
  direct: flag.optional(),
  engine: z.enum(['auto', 'io_uring', 'pread']).optional(),
  'block-size': wholeNumber(LIMITS.blockBytes).optional(),
  format: z.enum(['auto', 'raw']).optional(),
  discard: flag.optional(),
  lock: flag.optional(),
  'num-queues': wholeNumber(LIMITS.queueCount).optional(),
  'queue-size': wholeNumber(LIMITS.queueSize).optional(),
  threads: wholeNumber(LIMITS.threads).optional(),
  'poll-us': wholeNumber(LIMITS.pollUs).optional(),
  'socket-path': text.optional().describe('listen there for a front-end'),
  'socket-mode': z
    .string({ error: 'must be a text in quotes, such as "660": YAML reads 0660 as a number' })
    .refine((mode) => parseMode(mode) !== null, { error: 'must be octal, such as "660"' })
    .optional(),
  connect: flag.optional().describe('connect to a front-end that listens on socket-path'),
  fd: wholeNumber(LIMITS.fd).optional().describe('a socket left open by the parent process'),
  activation: text.optional().describe('the FileDescriptorName= of a systemd socket'),
});

const CONFIG = z.strictObject({
  'log-level': z.enum(LOG_LEVELS).optional(),
  'log-format': z.enum(LOG_FORMATS).optional(),
  devices: z
    .array(z.discriminatedUnion('type', [BLK]), { error: 'must be a list of devices' })
    .min(1, { error: 'must have at least one device' }),
});

type BlkInput = z.infer<typeof BLK>;

/** The JSON schema of the file, for editors. */
export function configSchema(): object {
  return z.toJSONSchema(CONFIG);
}

/** The keys that a disk may have. */
export function blkKeys(): string[] {
  return Object.keys(BLK.shape);
}

/**
 * Reads and checks a file.
 * @throws VhostUserError `ERR_VHU_CONFIG_FILE` when it cannot be read; UsageError naming every
 *   fault
 */
export function loadConfig(path: string): Config {
  let source: string;
  try {
    source = readFileSync(path, 'utf8');
  } catch (error) {
    throw new VhostUserError('ERR_VHU_CONFIG_FILE', `configuration: ${errorMessage(error)}`, {
      cause: error,
    });
  }
  return parseConfig(source, path);
}

/** Checks a text; `path` names it in faults, and its folder is where relative paths begin. */
export function parseConfig(source: string, path: string): Config {
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false });
  const faults = new Faults(path, document, lines);
  for (const error of document.errors) faults.addAt(error.pos[0], firstLine(error.message));
  faults.throwIfAny();
  const parsed = CONFIG.safeParse(valuesOf(document, faults));
  if (!parsed.success) {
    for (const issue of parsed.error.issues) addIssue(faults, issue);
    throw faults.error();
  }
  const config = parsed.data;
  config.devices.forEach((device, i) => checkDevice(device, ['devices', i], faults));
  checkPlaces(config.devices, faults);
  faults.throwIfAny();
  const folder = dirname(path);
  return {
    logLevel: config['log-level'] ?? 'info',
    logFormat: config['log-format'] ?? 'auto',
    devices: config.devices.map((device, i) => ({
      name: device.name ?? `blk${i}`,
      options: blkOptions(device, folder),
      socket: socketSettings(device, folder),
    })),
  };
}

/** The plain values. An alias that stands for more and more aliases would fill the memory. */
function valuesOf(document: Document.Parsed, faults: Faults): unknown {
  try {
    return document.toJS({ maxAliasCount: ALIASES_MAX });
  } catch (error) {
    faults.addAt(0, errorMessage(error));
    throw faults.error();
  }
}

/** What is wrong, in the order of the file. */
class Faults {
  readonly #path: string;
  readonly #document: Document.Parsed;
  readonly #lines: LineCounter;
  readonly #found: { readonly at: number; readonly text: string }[] = [];

  constructor(path: string, document: Document.Parsed, lines: LineCounter) {
    this.#path = path;
    this.#document = document;
    this.#lines = lines;
  }

  /** A fault of the value at a path; `key` when one of its keys is wrong. */
  add(path: Path, message: string, key?: string): void {
    const where = pathText(key === undefined ? path : [...path, key]);
    this.addAt(this.#offsetOf(path, key), where === '' ? message : `${where}: ${message}`);
  }

  addAt(offset: number, message: string): void {
    const { line, col } = this.#lines.linePos(offset);
    this.#found.push({ at: offset, text: `${this.#path}:${line || 1}:${col || 1}: ${message}` });
  }

  /** The value at a path, as it is written. */
  valueAt(path: Path): unknown {
    const node: unknown = this.#document.getIn(path, true);
    return isScalar(node) ? node.value : undefined;
  }

  throwIfAny(): void {
    if (this.#found.length > 0) throw this.error();
  }

  error(): UsageError {
    const sorted = this.#found.toSorted((a, b) => a.at - b.at).map(({ text: each }) => each);
    return new UsageError(['the configuration is wrong', ...sorted].join('\n'));
  }

  /** Where the value begins; for one that is not there, where its container begins. */
  #offsetOf(path: Path, key?: string): number {
    for (let length = path.length; length >= 0; length--) {
      const node: unknown = this.#document.getIn(path.slice(0, length), true);
      if (!isNode(node)) continue;
      if (key !== undefined && isMap(node)) {
        const pair = node.items.find((item) => isPair(item) && String(item.key) === key);
        if (isNode(pair?.key)) return pair.key.range?.[0] ?? 0;
      }
      return node.range?.[0] ?? 0;
    }
    return 0;
  }
}

function addIssue(faults: Faults, issue: z.core.$ZodIssue): void {
  const { path } = issue;
  const value = faults.valueAt(path);
  const not = value === undefined ? '' : `, not ${JSON.stringify(value)}`;
  if (issue.code === 'unrecognized_keys') {
    const known = path.length === 0 ? Object.keys(CONFIG.shape) : blkKeys();
    for (const key of issue.keys) faults.add(path, unknownKey(key, known), key);
  } else if (issue.code === 'invalid_value') {
    faults.add(path, `must be one of ${issue.values.map(String).join(', ')}${not}`);
  } else if (issue.code === 'invalid_union') {
    faults.add(path, `must be one of blk${not}`);
  } else if (issue.code === 'invalid_type' && value === undefined && isMissing(issue)) {
    faults.add(path, 'is missing');
  } else if (issue.code === 'invalid_type' && issue.expected === 'object') {
    faults.add(path, 'must be a map of settings');
  } else {
    faults.add(path, `${issue.message}${not}`);
  }
}

/** Zod says "received undefined" for a key that is not there, when it has no text of ours. */
function isMissing(issue: z.core.$ZodIssueInvalidType): boolean {
  return issue.expected !== 'object' && issue.path.length > 0 && issue.input === undefined;
}

function unknownKey(key: string, known: readonly string[]): string {
  const near = known.find((each) => distance(each, key) <= 2);
  return near === undefined
    ? `no such setting; there are ${known.join(', ')}`
    : `no such setting; did you mean ${near}?`;
}

/** What no schema says: settings that exclude or need each other. */
function checkDevice(device: BlkInput, path: Path, faults: Faults): void {
  const given = SOCKET_KEYS.filter((key) => device[key] !== undefined);
  if (given.length !== 1) {
    const found = given.length === 0 ? 'there is none' : `there are ${given.join(' and ')}`;
    faults.add(path, `needs one of ${SOCKET_KEYS.join(', ')}, and ${found}`);
  }
  const listens = device['socket-path'] !== undefined && device.connect !== true;
  if (device.connect === true && device['socket-path'] === undefined) {
    faults.add(path, 'needs socket-path, the path to connect to', 'connect');
  }
  if (device['socket-mode'] !== undefined && !listens) {
    faults.add(path, 'is for a socket-path to listen on', 'socket-mode');
  }
  const { threads = 1, 'num-queues': queues = 1 } = device;
  if (threads > queues) {
    const more = `so num-queues must be at least ${threads}`;
    faults.add(path, `a thread without a queue has no work, ${more}`, 'threads');
  }
}

/** No two devices at one socket, or with one name. */
function checkPlaces(devices: readonly BlkInput[], faults: Faults): void {
  for (const key of ['name', ...SOCKET_KEYS] as const) {
    const seen = new Map<string | number, number>();
    devices.forEach((device, i) => {
      const value = device[key];
      if (value === undefined) return;
      const first = seen.get(value);
      if (first === undefined) seen.set(value, i);
      else faults.add(['devices', i], `devices[${first}] has the same`, key);
    });
  }
}

function blkOptions(device: BlkInput, folder: string): BlkOptions {
  const { serial, direct, engine, format, discard, lock, threads } = device;
  const readOnly = device['read-only'];
  const blockBytes = device['block-size'];
  const queueCount = device['num-queues'];
  const queueSize = device['queue-size'];
  const pollUs = device['poll-us'];
  return {
    image: resolve(folder, device.image),
    ...(readOnly !== undefined && { readOnly }),
    ...(serial !== undefined && { serial }),
    ...(direct !== undefined && { direct }),
    ...(engine !== undefined && { engine }),
    ...(blockBytes !== undefined && { blockBytes }),
    ...(format !== undefined && { format }),
    ...(discard !== undefined && { discard }),
    ...(lock !== undefined && { lock }),
    ...(queueCount !== undefined && { queueCount }),
    ...(queueSize !== undefined && { queueSize }),
    ...(threads !== undefined && { threads }),
    ...(pollUs !== undefined && { pollUs }),
  };
}

function socketSettings(device: BlkInput, folder: string): SocketSettings {
  const path = device['socket-path'];
  const mode = device['socket-mode'];
  return {
    socketPath: path === undefined ? undefined : resolve(folder, path),
    fd: device.fd,
    activation: device.activation,
    connect: device.connect,
    mode: mode === undefined ? undefined : (parseMode(mode) ?? undefined),
  };
}

/** `devices[0].queue-size`. */
function pathText(path: Path): string {
  return path.reduce<string>((before, key) => {
    if (typeof key === 'number') return `${before}[${key}]`;
    return before === '' ? String(key) : `${before}.${String(key)}`;
  }, '');
}

function firstLine(message: string): string {
  return message.split('\n')[0] ?? message;
}

/** The edits (Levenshtein) from one word to another. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      const best = Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + same);
      next.push(best);
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
