/**
 * Command-line options that several commands share, and how their texts are read.
 *
 * @module
 */
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { keepsRule, parseMode, ruleText, serialFault } from './limits.ts';
import type { NumberRule } from './limits.ts';

/** The levels of --log-level, least first. */
export const LOG_LEVELS: readonly ['debug', 'info', 'warn', 'error'] = [
  'debug',
  'info',
  'warn',
  'error',
];

/** What --log-format allows. */
export const LOG_FORMATS: readonly ['auto', 'text', 'json'] = ['auto', 'text', 'json'];

/** A value of {@link LOG_FORMATS}. */
export type LogFormat = (typeof LOG_FORMATS)[number];

/** A reader of whole numbers within bounds, for `Option.argParser`. */
export function wholeNumber(rule: NumberRule): (text: string) => number {
  return (text) => {
    const value = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
    if (!keepsRule(value, rule))
      throw new InvalidArgumentError(`${said(ruleText(rule))} is needed.`);
    return value;
  };
}

/** Reads --socket-mode. */
export function octalMode(text: string): number {
  const mode = parseMode(text);
  if (mode === null)
    throw new InvalidArgumentError('Permissions in octal are needed, such as 660.');
  return mode;
}

/** Reads --serial. */
export function serialNumber(text: string): string {
  const fault = serialFault(text);
  if (fault !== null) throw new InvalidArgumentError(`${said(fault)}.`);
  return text;
}

/** Adds --log-level and --log-format. */
export function addLogOptions(command: Command): Command {
  const group = 'Log:';
  return command
    .addOption(
      new Option('--log-level <LEVEL>', 'how much to log; debug shows every message')
        .choices(LOG_LEVELS)
        .default('info')
        .helpGroup(group),
    )
    .addOption(
      new Option('--log-format <FORMAT>', 'auto is text on a terminal, and JSON elsewhere')
        .choices(LOG_FORMATS)
        .default('auto')
        .helpGroup(group),
    );
}

function said(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
