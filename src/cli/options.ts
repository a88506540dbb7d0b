/**
 * Command-line options that several commands share, and how their texts are read.
 *
 * @module
 */
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import type { LogLevel } from '../backend/index.ts';
import { UsageError } from './errors.ts';
import { tagFault } from './fs-settings.ts';
import {
  LIMITS,
  SIZE_RULE,
  byteLimitFault,
  keepsRule,
  parseMode,
  parseByteLimit,
  parseSize,
  ruleText,
  serialFault,
} from './limits.ts';
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

/** What `--sandbox` allows. */
export const SANDBOX_MODES: readonly ['auto', 'required', 'namespace', 'landlock', 'none'] = [
  'auto',
  'required',
  'namespace',
  'landlock',
  'none',
];

/** The other sandbox of virtiofsd, in whose place ours is. */
export const VIRTIOFSD_SANDBOXES: readonly ['chroot'] = ['chroot'];

/** What `--seccomp` allows. */
export const SECCOMP_ACTIONS: readonly ['error', 'kill', 'trap', 'log', 'none'] = [
  'error',
  'kill',
  'trap',
  'log',
  'none',
];

/** What {@link addSandboxOptions} reads, by commander's names. */
export interface SandboxOptions {
  readonly sandbox?: (typeof SANDBOX_MODES | typeof VIRTIOFSD_SANDBOXES)[number];
  readonly seccomp?: (typeof SECCOMP_ACTIONS)[number];
}

/** What {@link addSocketOptions} reads, by commander's names. */
export interface SocketOptions {
  readonly socketPath?: string;
  readonly socketMode?: number;
  readonly socketGroup?: string;
  readonly connect?: boolean;
  readonly fd?: number;
}

/** What {@link addLogOptions} reads, by commander's names. */
export interface LogOptions {
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
}

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

/** Reads a size such as 512M; the units are powers of 1024. */
export function byteSize(text: string): number {
  const bytes = parseSize(text);
  if (bytes === null) throw new InvalidArgumentError(`${said(SIZE_RULE)} is needed.`);
  return bytes;
}

/** Reads the most bytes of a period. */
export function byteLimit(text: string): number {
  const fault = byteLimitFault(text);
  if (fault !== null) throw new InvalidArgumentError(`${said(fault)}.`);
  return parseByteLimit(text) ?? Number.MAX_SAFE_INTEGER;
}

/** Reads --tag. */
export function fsTag(text: string): string {
  const fault = tagFault(text);
  if (fault !== null) throw new InvalidArgumentError(`${said(fault)}.`);
  return text;
}

/** Collects the values of an option that may be given several times. */
export function collected(text: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), text];
}

/** Reads --serial. */
export function serialNumber(text: string): string {
  const fault = serialFault(text);
  if (fault !== null) throw new InvalidArgumentError(`${said(fault)}.`);
  return text;
}

/** Adds where the front-end is met; some commands have a short name for the path. */
export function addSocketOptions(command: Command, path: string = '--socket-path <PATH>'): void {
  command
    .optionsGroup('Socket (one of --socket-path, --fd, or activation by systemd or launchd):')
    .option(path, 'listen there for a front-end')
    .addOption(
      new Option('--socket-mode <MODE>', 'permissions of the socket, in octal (default: umask)')
        .argParser(octalMode)
        .conflicts(['fd', 'connect']),
    )
    .addOption(
      new Option(
        '--socket-group <GROUP>',
        'group of the socket, which may use it (mode 660 unless another is given)',
      ).conflicts(['fd', 'connect']),
    )
    .addOption(
      new Option(
        '--connect',
        'connect to a front-end that listens on PATH, again and again',
      ).conflicts('fd'),
    )
    .addOption(
      new Option('--fd <N>', 'a socket left open by the parent process, listening or connected')
        .argParser(wholeNumber(LIMITS.fd))
        .conflicts('socketPath'),
    );
}

/** Adds --print-capabilities and --help. */
export function addInformationOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--print-capabilities',
        'print what this program can do, as JSON, and exit',
      ).helpGroup('Information:'),
    )
    .optionsGroup('Information:')
    .helpOption('-h, --help', 'show this help');
}

/** Adds --sandbox and --seccomp; some commands take further names for the sandbox that there is. */
export function addSandboxOptions(command: Command, names: readonly string[] = []): void {
  command
    .optionsGroup('Sandbox:')
    .addOption(
      new Option(
        '--sandbox <MODE>',
        'give up all rights that are not needed: as far as this host can (auto, the default), ' +
          'or fail without (required), or with this of what shuts files off on Linux (namespace, ' +
          'landlock), or keep them (none)',
      ).choices([...SANDBOX_MODES, ...names]),
    )
    .addOption(
      new Option(
        '--seccomp <ACTION>',
        'what a system call that is shut does on Linux: fail (error, the default), end the ' +
          "program (kill, trap), or be made and go into the kernel's log (log); none: all are made",
      ).choices(SECCOMP_ACTIONS),
    )
    .hook('preAction', () => {
      const fault = sandboxFault(command.opts<SandboxOptions>());
      if (fault !== null) throw new UsageError(fault, `vhost-user ${command.name()} --help`);
    });
}

/** What is asked for and would not be done: it is refused, since somebody relies on it. */
function sandboxFault({ sandbox, seccomp = 'none' }: SandboxOptions): string | null {
  if (sandbox !== 'none' || seccomp === 'none') return null;
  return (
    `--seccomp ${seccomp} and --sandbox none: the filter is a part of the sandbox, so without it ` +
    'no call would be shut; give one of them'
  );
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

/** A text as the beginning of a sentence. */
export function said(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
