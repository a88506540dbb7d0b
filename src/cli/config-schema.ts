/**
 * What a configuration file may say, as schemas of zod: one for each type of device.
 *
 * @module
 */
import type { z as Zod } from 'zod';
import type { LogLevel } from '../backend/index.ts';
import { NAME, SOCKET, checkedText, flag, text, wholeNumber } from './config-parts.ts';
import type { DeviceInput } from './config-parts.ts';
import { CONSOLE } from './config-console.ts';
import type { ConsoleInput } from './config-console.ts';
import { VSOCK } from './config-vsock.ts';
import type { VsockInput } from './config-vsock.ts';
import { ACL_MODES, CACHE_MODES, OWNERS, tagFault } from './fs-settings.ts';
import type { FsChoices } from './fs-settings.ts';
import { LIMITS, SIZE_RULE, byteLimitFault, parseSize, serialFault } from './limits.ts';
import { LOG_FORMATS, LOG_LEVELS } from './options.ts';
import type { LogFormat } from './options.ts';
import { z } from './zod.ts';

/** A disk, as the file has it. */
export interface BlkInput extends DeviceInput {
  readonly type: 'blk';
  readonly image: string;
  readonly 'read-only'?: boolean | undefined;
  readonly serial?: string | undefined;
  readonly direct?: boolean | undefined;
  readonly engine?: 'auto' | 'io_uring' | 'pread' | undefined;
  readonly 'block-size'?: number | undefined;
  readonly format?: 'auto' | 'raw' | undefined;
  readonly discard?: boolean | undefined;
  readonly lock?: boolean | undefined;
  readonly 'num-queues'?: number | undefined;
  readonly 'queue-size'?: number | undefined;
  readonly threads?: number | undefined;
  readonly 'poll-us'?: number | undefined;
}

/** The option of a name of commander's. */
type Kebab<S extends string> = S extends `${infer First}${infer Rest}`
  ? `${First extends Lowercase<First> ? First : `-${Lowercase<First>}`}${Kebab<Rest>}`
  : S;

/** What can be chosen for a file system, by the names of the options. */
type FsSettings = {
  readonly [Name in keyof Omit<FsChoices, 'memory'> as Kebab<Name>]: FsChoices[Name];
};

/** A file system, as the file has it. */
export interface FsInput extends DeviceInput, FsSettings {
  readonly type: 'fs';
  readonly memory?: string | true | undefined;
}

/** An entropy device, as the file has it. */
export interface RngInput extends DeviceInput {
  readonly type: 'rng';
  readonly file?: string | undefined;
  readonly 'max-bytes'?: string | number | undefined;
  readonly period?: number | undefined;
}

/** A device, as the file has it. */
export type AnyDeviceInput = BlkInput | FsInput | VsockInput | RngInput | ConsoleInput;

/** The file. */
export interface ConfigInput {
  readonly 'log-level'?: LogLevel | undefined;
  readonly 'log-format'?: LogFormat | undefined;
  readonly devices: readonly AnyDeviceInput[];
}

/** Rules of a map. */
const rules = z.array(text, { error: 'must be a list of rules' }).optional();

/** A size such as 512M. */
const size = z
  .string()
  .refine((value) => parseSize(value) !== null, { error: `must be true, or ${SIZE_RULE}` });

/** A disk. */
const BLK = z.strictObject({
  type: z.literal('blk'),
  name: NAME,
  image: text.describe('a raw image file or a block device'),
  'read-only': flag.optional(),
  serial: checkedText(serialFault),
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
  ...SOCKET,
});

/** A file system: `shared-dir`, `archive` or `memory` says which. */
const FS = z.strictObject({
  type: z.literal('fs'),
  name: NAME,
  'shared-dir': text.optional().describe('a folder of this host'),
  archive: text.optional().describe('a .tar, .tar.gz or .zip, read-only'),
  memory: z
    .union([z.literal(true), size], { error: `must be true, or ${SIZE_RULE}` })
    .optional()
    .describe('a file system in memory: true, or how large it may become'),
  preload: text.optional().describe('a folder or an archive that the memory is filled with'),
  tag: checkedText(tagFault).describe('what the guest mounts'),
  readonly: flag.optional(),
  cache: z.enum(CACHE_MODES).optional(),
  writeback: flag.optional(),
  'allow-mmap': flag.optional(),
  'allow-direct-io': flag.optional(),
  readdirplus: flag.optional(),
  'shared-locks': flag.optional(),
  'preserve-noatime': flag.optional(),
  'announce-submounts': flag.optional(),
  owner: z.enum(OWNERS).optional(),
  'squash-uid': wholeNumber(LIMITS.id).optional(),
  'squash-gid': wholeNumber(LIMITS.id).optional(),
  'translate-uid': rules,
  'translate-gid': rules,
  'uid-map': rules,
  'gid-map': rules,
  'killpriv-v2': flag.optional(),
  xattr: flag.optional(),
  xattrmap: text.optional(),
  'posix-acl': z.enum(ACL_MODES).optional(),
  'num-request-queues': wholeNumber(LIMITS.requestQueueCount).optional(),
  'queue-size': wholeNumber(LIMITS.queueSize).optional(),
  'poll-us': wholeNumber(LIMITS.pollUs).optional(),
  'rlimit-nofile': wholeNumber(LIMITS.openFiles).optional(),
  ...SOCKET,
});

/** A limit of bytes in each period. */
const byteLimit = z
  .union([z.number(), z.string()], { error: 'must be a number of bytes, or a size such as 4K' })
  .superRefine((value, context) => {
    const message = byteLimitFault(value);
    if (message !== null) context.addIssue({ code: 'custom', message });
  });

/** An entropy device. */
const RNG = z.strictObject({
  type: z.literal('rng'),
  name: NAME,
  file: text.optional().describe('a file, device or FIFO that the bytes come from'),
  'max-bytes': byteLimit.optional().describe('at most so many bytes in each period'),
  period: wholeNumber(LIMITS.periodMs).optional().describe('in milliseconds'),
  ...SOCKET,
});

/** The file. */
const CONFIG = z.strictObject({
  'log-level': z.enum(LOG_LEVELS).optional(),
  'log-format': z.enum(LOG_FORMATS).optional(),
  devices: z
    .array(z.discriminatedUnion('type', [BLK, FS, VSOCK, RNG, CONSOLE]), {
      error: 'must be a list of devices',
    })
    .min(1, { error: 'must have at least one device' }),
});

/** A type of device. */
export type DeviceType = AnyDeviceInput['type'];

/** The types of devices, each with its settings. */
const DEVICES: Readonly<Record<DeviceType, Zod.ZodObject>> = {
  blk: BLK,
  fs: FS,
  vsock: VSOCK,
  rng: RNG,
  console: CONSOLE,
};

/** The settings of a type of device. */
export function deviceSchema(type: DeviceType): Zod.ZodObject {
  return DEVICES[type];
}

/** The JSON schema of the file, for editors. */
export function configSchema(): object {
  return z.toJSONSchema(CONFIG);
}

/** The settings that a device of a type may have; without a type, those of the file. */
export function settingsOf(type?: string): string[] {
  const schema = type === undefined ? CONFIG : DEVICES[type as DeviceType];
  return Object.keys((schema as Zod.ZodObject | undefined)?.shape ?? {});
}

/** The types of devices. */
export function deviceTypes(): string[] {
  return Object.keys(DEVICES);
}

/** What a file says, or what is wrong with it. */
export type Shape =
  { readonly config: ConfigInput } | { readonly issues: readonly Zod.core.$ZodIssue[] };

/** Checks the shape of the values of a file. */
export function checkShape(values: unknown): Shape {
  const parsed = CONFIG.safeParse(values);
  return parsed.success ? { config: parsed.data } : { issues: parsed.error.issues };
}
