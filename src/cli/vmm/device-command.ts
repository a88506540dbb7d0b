/**
 * The command that serves a device: the other way round than reading one.
 *
 * @module
 */
import { buildProgram } from '../program.ts';
import type { DeviceValues } from './device-text.ts';

/** What a command takes without an option. */
const ARGUMENTS: readonly string[] = ['image', 'shared-dir'];

/** The words of `vhost-user TYPE …` for settings by their names in a configuration file. */
export function deviceCommand(values: DeviceValues): string[] {
  const flags = flagsOf(values.type);
  const options: string[] = [];
  const given: string[] = [];
  for (const [key, value] of Object.entries(values)) {
    if (key === 'type' || key === 'name' || value === undefined) continue;
    if (typeof value === 'string' && ARGUMENTS.includes(key)) given.push(plain(value));
    else options.push(...optionWords(key, value, flags));
  }
  return ['vhost-user', values.type, ...given, ...options];
}

function optionWords(key: string, value: unknown, flags: ReadonlySet<string>): string[] {
  if (Array.isArray(value)) return value.flatMap((each) => optionWords(key, each, flags));
  // What is on, or off, without an option has none.
  if (value === true) return flags.has(`--${key}`) ? [`--${key}`] : [];
  if (value === false) return flags.has(`--no-${key}`) ? [`--no-${key}`] : [];
  const text = typeof value === 'number' ? String(value) : (value as string);
  return text.startsWith('-') ? [`--${key}=${text}`] : [`--${key}`, text];
}

function flagsOf(type: string): ReadonlySet<string> {
  const command = buildProgram().commands.find((each) => each.name() === type);
  return new Set((command?.options ?? []).flatMap(({ long }) => long ?? []));
}

/** A path that begins with a dash is no option. */
function plain(path: string): string {
  return path.startsWith('-') ? `./${path}` : path;
}
