/**
 * A device as a word of the command line, `disk.img,read-only,num-queues=4`: first what it is made
 * from, then settings by the names that they have in a configuration file.
 *
 * @module
 */
import { existsSync } from 'node:fs';
import type { z } from 'zod';
import { UsageError } from '../errors.ts';
import { TAG_BYTES_MAX } from '../limits.ts';
import { deviceSchema } from '../config-schema.ts';
import type { DeviceType } from '../config-schema.ts';
import { lastValue, parseOptionText } from './option-text.ts';
import type { OptionPart } from './option-text.ts';

/** The setting that the first part of the text is. */
const FIRST: Readonly<Record<DeviceType, string>> = {
  blk: 'image',
  fs: 'shared-dir',
  vsock: 'guest-cid',
  rng: 'file',
  console: 'end',
};

/** The source of random bytes that no file is. */
const THIS_HOST = 'host';

/** Settings that say where a front-end is met: that is ours to say here. */
const NOT_HERE: readonly string[] = ['type', 'fd', 'activation', 'connect', 'ports'];

/** Settings of a vsock of which one says how guest and host reach each other. */
export const VSOCK_REACH: readonly string[] = ['uds-path', 'forward', 'listen', 'forward-cid'];

/** A device as a configuration file would have it. */
export type DeviceValues = Readonly<Record<string, unknown>> & { readonly type: DeviceType };

/** Reads a device. @throws UsageError that names the option and the part that is wrong */
export function parseDeviceText(type: DeviceType, text: string): DeviceValues {
  const parts = parseOptionText(text, FIRST[type]);
  const values: Record<string, unknown> = { ...standardValues(type) };
  for (const part of type === 'fs' ? withTag(parts) : parts) {
    if (type === 'console' && part.key === 'end') Object.assign(values, consoleEnd(part.value));
    else if (type === 'rng' && part.key === 'file' && part.value === THIS_HOST) continue;
    else addSetting(values, type, part);
  }
  return { ...values, type };
}

/** What a device has that is given without any text. */
function standardValues(type: DeviceType): Readonly<Record<string, unknown>> {
  return type === 'console' ? { pty: true } : {};
}

function addSetting(values: Record<string, unknown>, type: DeviceType, part: OptionPart): void {
  const { shape } = deviceSchema(type);
  const [key, value] = positive(part, shape);
  const schema = shape[key] as z.ZodType | undefined;
  if (NOT_HERE.includes(key) || schema === undefined) {
    const names = Object.keys(shape).filter((each) => !NOT_HERE.includes(each));
    const why = NOT_HERE.includes(key) ? 'cannot be set here' : 'there is no such setting';
    throw new UsageError(`--${type} …,${key}: ${why}; there are ${names.join(', ')}`, HELP);
  }
  if (part.value === null && typeof readValue(schema, value) !== 'boolean') {
    throw new UsageError(`--${type} …,${key}: it needs a value: ${key}=…`, HELP);
  }
  const read = readValue(schema, value);
  const before = values[key];
  // A setting that is a list is given once for each of its values.
  const isList = Array.isArray(read) && Array.isArray(before);
  values[key] = isList ? before.concat(read) : read;
}

const HELP = 'vhost-user qemu --help';

/** `no-discard` is `discard=off`, and a name alone is `NAME=on`. */
function positive({ key, value }: OptionPart, shape: z.ZodRawShape): [string, string] {
  if (value === null && !(key in shape) && key.startsWith('no-')) return [key.slice(3), 'off'];
  return [key, value ?? 'on'];
}

/**
 * The value that a setting takes: a text, a number, a switch, or one value of a list. What it does
 * not take in any form stays a text, and is a fault when all settings are checked.
 */
function readValue(schema: z.ZodType, text: string): unknown {
  const flags: Readonly<Record<string, boolean>> = {
    ...{ on: true, yes: true, true: true },
    ...{ off: false, no: false, false: false },
  };
  const flag = flags[text];
  const number = /^[0-9]+$/.test(text) ? [Number(text)] : [];
  // A switch comes first where both are taken: `pty` is one, or the path of a link.
  const forms: unknown[] = [...(flag === undefined ? [] : [flag]), ...number, text, [text]];
  const taken = forms.find((form) => schema.safeParse(form).success);
  return taken ?? number[0] ?? text;
}

/** `~/src:src` is a folder and its tag, unless there is a folder of that whole name. */
function withTag(parts: readonly OptionPart[]): OptionPart[] {
  const folder = lastValue(parts, 'shared-dir');
  const [, path = '', tag = ''] = /^(.+):([^:/]+)$/s.exec(folder ?? '') ?? [];
  if (folder === undefined || tag === '' || lastValue(parts, 'tag') !== undefined)
    return [...parts];
  if (existsSync(folder) || Buffer.byteLength(tag) > TAG_BYTES_MAX) return [...parts];
  const others = parts.filter(({ key }) => key !== 'shared-dir');
  return [{ key: 'shared-dir', value: path }, { key: 'tag', value: tag }, ...others];
}

/** `pty`, `pty:LINK`, `unix:PATH` and `tcp:[HOST:]PORT`, as with --port of `vhost-user console`. */
function consoleEnd(text: string | null): Readonly<Record<string, unknown>> {
  const [, kind = '', rest] = /^([a-z]+)(?::(.+))?$/s.exec(text ?? '') ?? [];
  if (kind === 'pty') return { pty: rest ?? true };
  if (kind === 'unix' && rest !== undefined) return { pty: undefined, unix: rest };
  if (kind === 'tcp' && rest !== undefined) return { pty: undefined, tcp: rest };
  if (kind === 'stdio') {
    throw new UsageError(
      "--console stdio: this terminal is QEMU's; use pty, unix:PATH or tcp:PORT, or start " +
        "'vhost-user console' in a terminal of its own",
      HELP,
    );
  }
  throw new UsageError(
    `--console ${String(text)}: where does it lead? Give pty, pty:LINK, unix:PATH or ` +
      'tcp:[HOST:]PORT',
    HELP,
  );
}
