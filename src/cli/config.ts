/**
 * The configuration file of `vhost-user run`: YAML, checked strictly, with faults that name their
 * line.
 *
 * Loaded only when there is a file, since its libraries take longer to load than all the rest.
 *
 * @module
 */
import { dirname, resolve } from 'node:path';
import { LineCounter, parseDocument } from 'yaml';
import type { Document } from 'yaml';
import type { z } from 'zod';
import type { LogLevel } from '../backend/index.ts';
import type { BlkOptions } from '../devices/blk/index.ts';
import { errorMessage } from '../util/index.ts';
import { Faults } from './config-faults.ts';
import type { Path } from './config-faults.ts';
import { readConfigText } from './config-source.ts';
import type { DeviceInput } from './config-parts.ts';
import { checkShape, deviceTypes, settingsOf } from './config-schema.ts';
import type { AnyDeviceInput, BlkInput, ConfigInput, FsInput, RngInput } from './config-schema.ts';
import { consoleChoices } from './config-console.ts';
import type { ConsoleInput } from './config-console.ts';
import { vsockChoices } from './config-vsock.ts';
import type { VsockInput } from './config-vsock.ts';
import { END_KEYS, consoleFaults, endKeys, usesStdio } from './console-settings.ts';
import type { ConsoleChoices } from './console-settings.ts';
import { fsFaults } from './fs-settings.ts';
import type { FsChoices } from './fs-settings.ts';
import { parseByteLimit, parseMode, parseSize } from './limits.ts';
import { nearWord } from './near-word.ts';
import type { LogFormat } from './options.ts';
import type { RngChoices } from './rng-settings.ts';
import type { SocketSettings } from './socket-address.ts';
import { pairFaults, vsockFaults } from './vsock-settings.ts';
import type { VsockChoices } from './vsock-settings.ts';

/** A configuration, checked, with its defaults. */
export interface Config {
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  readonly devices: readonly DeviceConfig[];
}

/** A device of a configuration. */
export type DeviceConfig = BlkConfig | FsConfig | VsockConfig | RngConfig | ConsoleConfig;

/** A disk of a configuration. */
export interface BlkConfig {
  readonly type: 'blk';
  /** What the log calls it. */
  readonly name: string;
  readonly options: BlkOptions;
  readonly socket: SocketSettings;
}

/** A file system of a configuration. */
export interface FsConfig {
  readonly type: 'fs';
  /** What the log calls it. */
  readonly name: string;
  readonly choices: FsChoices;
  readonly socket: SocketSettings;
}

/** A vsock of a configuration. */
export interface VsockConfig {
  readonly type: 'vsock';
  /** What the log calls it. */
  readonly name: string;
  readonly choices: VsockChoices;
  readonly socket: SocketSettings;
}

/** An entropy device of a configuration. */
export interface RngConfig {
  readonly type: 'rng';
  /** What the log calls it. */
  readonly name: string;
  readonly choices: RngChoices;
  readonly socket: SocketSettings;
}

/** A console of a configuration. */
export interface ConsoleConfig {
  readonly type: 'console';
  /** What the log calls it. */
  readonly name: string;
  readonly choices: ConsoleChoices;
  readonly socket: SocketSettings;
}

const ALIASES_MAX = 100;
const SOCKET_KEYS = ['socket-path', 'fd', 'activation'] as const;
const FS_SOURCES = ['shared-dir', 'archive', 'memory'] as const;

/** What a configuration is for. */
export interface ConfigPurpose {
  /** Each device says where a front-end is met. Default: true; else this program may say so. */
  readonly needsSockets?: boolean;
  /** How faults name the devices, for a configuration that no file holds. */
  readonly titles?: readonly string[];
}

/**
 * Reads and checks a file.
 * @throws VhostUserError `ERR_VHU_CONFIG_FILE` when it cannot be read; UsageError naming every
 *   fault
 */
export function loadConfig(path: string, purpose: ConfigPurpose = {}): Config {
  return parseConfig(readConfigText(path), path, purpose);
}

/** Checks a text; `path` names it in faults, and its folder is where relative paths begin. */
export function parseConfig(source: string, path: string, purpose: ConfigPurpose = {}): Config {
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false });
  const faults = new Faults(path, document, lines, purpose.titles);
  for (const error of document.errors) faults.addAt(error.pos[0], firstLine(error.message));
  faults.throwIfAny();
  const shape = checkShape(valuesOf(document, faults));
  if ('issues' in shape) {
    for (const issue of shape.issues) addIssue(faults, issue);
    throw faults.error();
  }
  const { config } = shape;
  const { needsSockets = true } = purpose;
  config.devices.forEach((device, i) => {
    const place: Path = ['devices', i];
    if (needsSockets) checkSocket(device, place, faults);
    else checkOwnSocket(device, place, faults);
    checkDevice(device, place, faults);
  });
  checkPlaces(config.devices, faults);
  checkGuests(config.devices, faults);
  checkStdio(config.devices, faults);
  faults.throwIfAny();
  const folder = dirname(path);
  return {
    logLevel: config['log-level'] ?? 'info',
    logFormat: config['log-format'] ?? 'auto',
    devices: config.devices.map((device, i) => {
      const name = device.name ?? `${device.type}${i}`;
      const socket = socketSettings(device, folder);
      switch (device.type) {
        case 'blk':
          return { type: 'blk', name, options: blkOptions(device, folder), socket };
        case 'fs':
          return { type: 'fs', name, choices: fsChoices(device, folder), socket };
        case 'vsock':
          return { type: 'vsock', name, choices: vsockChoices(device, folder), socket };
        case 'rng':
          return { type: 'rng', name, choices: rngChoices(device, folder), socket };
        case 'console':
          return { type: 'console', name, choices: consoleChoices(device, folder), socket };
      }
    }),
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

function addIssue(faults: Faults, issue: z.core.$ZodIssue): void {
  const { path } = issue;
  const value = faults.valueAt(path);
  const not = value === undefined ? '' : `, not ${JSON.stringify(value)}`;
  if (issue.code === 'unrecognized_keys') {
    const type = faults.valueAt([...path, 'type']);
    const known = settingsOf(path.length === 0 ? undefined : String(type));
    for (const key of issue.keys) faults.add(path, unknownKey(key, known), key);
  } else if (issue.code === 'invalid_value') {
    faults.add(path, `must be one of ${issue.values.map(String).join(', ')}${not}`);
  } else if (issue.code === 'invalid_union' && path.at(-1) === 'type') {
    faults.add(path, `must be one of ${deviceTypes().join(', ')}${not}`);
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
  const near = nearWord(key, known);
  return near === null
    ? `no such setting; there are ${known.join(', ')}`
    : `no such setting; did you mean ${near}?`;
}

/** What no schema says: settings that exclude or need each other. */
function checkDevice(device: AnyDeviceInput, path: Path, faults: Faults): void {
  if (device.type === 'blk') checkBlk(device, path, faults);
  if (device.type === 'fs') checkFs(device, path, faults);
  if (device.type === 'vsock') checkVsock(device, path, faults);
  if (device.type === 'console') checkConsole(device, path, faults);
}

function checkSocket(device: DeviceInput, path: Path, faults: Faults): void {
  const given = SOCKET_KEYS.filter((key) => device[key] !== undefined);
  if (given.length !== 1) {
    const found = given.length === 0 ? 'there is none' : `there are ${given.join(' and ')}`;
    faults.add(path, `needs one of ${SOCKET_KEYS.join(', ')}, and ${found}`);
  }
  if (device.connect === true && device['socket-path'] === undefined) {
    faults.add(path, 'needs socket-path, the path to connect to', 'connect');
  }
  checkListening(device, path, faults);
}

/** A monitor is started that connects to what we listen on. */
function checkOwnSocket(device: DeviceInput, path: Path, faults: Faults): void {
  for (const key of ['fd', 'activation', 'connect'] as const) {
    if (device[key] === undefined || device[key] === false) continue;
    faults.add(path, 'cannot be here: QEMU connects to a socket-path, or to one of ours', key);
  }
  checkListening({ 'socket-path': 'ours', ...device }, path, faults);
}

function checkListening(device: DeviceInput, path: Path, faults: Faults): void {
  const listens = device['socket-path'] !== undefined && device.connect !== true;
  for (const key of ['socket-mode', 'socket-group'] as const) {
    if (device[key] !== undefined && !listens) {
      faults.add(path, 'is for a socket-path to listen on', key);
    }
  }
}

function checkBlk(device: BlkInput, path: Path, faults: Faults): void {
  const { threads = 1, 'num-queues': queues = 1 } = device;
  if (threads > queues) {
    const more = `so num-queues must be at least ${threads}`;
    faults.add(path, `a thread without a queue has no work, ${more}`, 'threads');
  }
}

function checkFs(device: FsInput, path: Path, faults: Faults): void {
  if (FS_SOURCES.every((key) => device[key] === undefined)) {
    faults.add(path, `needs one of ${FS_SOURCES.join(', ')}, and there is none`);
  }
  for (const { key, text } of fsFaults(fsChoices(device, ''))) faults.add(path, text, key);
}

function checkVsock(device: VsockInput, path: Path, faults: Faults): void {
  const found = vsockFaults(vsockChoices(device, ''), device['socket-path']);
  for (const { key, text } of found) faults.add(path, text, key);
}

function checkConsole(device: ConsoleInput, path: Path, faults: Faults): void {
  const choices = consoleChoices(device, '');
  if (endKeys(choices).length === 0 && choices.log === undefined) {
    faults.add(path, `needs one of ${END_KEYS.join(', ')} and log, and there is none`);
  }
  for (const { key, text, port } of consoleFaults(choices)) {
    faults.add(port === undefined ? path : [...path, 'ports', port], text, key);
  }
}

/** This process has one standard input. */
function checkStdio(devices: ConfigInput['devices'], faults: Faults): void {
  const users = devices.flatMap((device, i) =>
    device.type === 'console' && usesStdio(consoleChoices(device, '')) ? [i] : [],
  );
  for (const i of users.slice(1)) {
    const text = `devices[${users[0]}] has standard input and output already`;
    faults.add(['devices', i], text, 'stdio');
  }
}

/** Guests of one file reach each other by their CIDs, and listen on one host. */
function checkGuests(devices: ConfigInput['devices'], faults: Faults): void {
  const guests = devices.flatMap((device, i) =>
    device.type === 'vsock' ? [{ i, choices: vsockChoices(device, ''), socket: {} }] : [],
  );
  for (const { second, key, text } of pairFaults(guests)) {
    faults.add(['devices', guests[second]?.i ?? 0], text, key);
  }
}

/** No two devices at one socket, or with one name. */
function checkPlaces(devices: readonly DeviceInput[], faults: Faults): void {
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

/** The settings by the names that the options of the command have in a program. */
function fsChoices(device: FsInput, folder: string): FsChoices {
  const at = (path: string | undefined): string | undefined => {
    return path === undefined ? undefined : resolve(folder, path);
  };
  const { memory } = device;
  return {
    sharedDir: at(device['shared-dir']),
    archive: at(device.archive),
    memory: typeof memory === 'string' ? (parseSize(memory) ?? undefined) : memory,
    preload: at(device.preload),
    tag: device.tag,
    readonly: device.readonly,
    cache: device.cache,
    writeback: device.writeback,
    allowMmap: device['allow-mmap'],
    allowDirectIo: device['allow-direct-io'],
    readdirplus: device.readdirplus,
    sharedLocks: device['shared-locks'],
    preserveNoatime: device['preserve-noatime'],
    announceSubmounts: device['announce-submounts'],
    owner: device.owner,
    squashUid: device['squash-uid'],
    squashGid: device['squash-gid'],
    translateUid: device['translate-uid'],
    translateGid: device['translate-gid'],
    uidMap: device['uid-map'],
    gidMap: device['gid-map'],
    killprivV2: device['killpriv-v2'],
    xattr: device.xattr,
    xattrmap: device.xattrmap,
    posixAcl: device['posix-acl'],
    numRequestQueues: device['num-request-queues'],
    queueSize: device['queue-size'],
    pollUs: device['poll-us'],
    rlimitNofile: device['rlimit-nofile'],
  };
}

function rngChoices(device: RngInput, folder: string): RngChoices {
  const { file, period } = device;
  const maxBytes = device['max-bytes'];
  return {
    file: file === undefined ? undefined : resolve(folder, file),
    maxBytes: maxBytes === undefined ? undefined : (parseByteLimit(maxBytes) ?? undefined),
    period,
  };
}

function socketSettings(device: DeviceInput, folder: string): SocketSettings {
  const path = device['socket-path'];
  const mode = device['socket-mode'];
  return {
    socketPath: path === undefined ? undefined : resolve(folder, path),
    fd: device.fd,
    activation: device.activation,
    connect: device.connect,
    mode: mode === undefined ? undefined : (parseMode(mode) ?? undefined),
    group: device['socket-group'],
  };
}

function firstLine(message: string): string {
  return message.split('\n')[0] ?? message;
}
