#!/usr/bin/env node
/**
 * The program `vhost-user`. Under the name `vhost-user-blk` (a link to it) it is `vhost-user blk`,
 * since the description files of QEMU's management software have no room for a word before the
 * options. Likewise `vhost-user-fs` and the other devices, and `virtiofsd`, `vhost-device-vsock`
 * and `vhost-device-rng`, which scripts call by that name.
 *
 * @module
 */
import { basename } from 'node:path';
import { CommanderError } from 'commander';
import type { Command } from 'commander';
import { CAPABILITIES, capabilitiesAnswer } from './capabilities.ts';
import { EXIT, errorText, exitCodeOf } from './errors.ts';
import { print } from './output.ts';
import { VHOST_DEVICE_RNG } from './commands/rng.ts';
import { PROGRAM, addExamples, programFor, takesValue } from './root.ts';
import { strayWordIn } from './usage-text.ts';
import { programVersion } from './version.ts';
import { VIRTIOFSD, fromVirtiofsd } from './virtiofsd.ts';

/** The name under which it takes the place of the one in Rust, by a link to it. */
const VHOST_DEVICE_VSOCK = 'vhost-device-vsock';

const args = argumentsOf(process.argv);
const debug = wantsDebug(args);
/** Once it is made. */
let program: Command | null = null;
// Stacks name the sources then. The maps of the bundled program take a while to read.
if (debug) process.setSourceMapsEnabled(true);

process.on('uncaughtException', fail).on('unhandledRejection', fail);

try {
  process.exitCode = EXIT.OK;
  await run(args);
} catch (error) {
  fail(error);
}
// Threads and sockets of a device that would not end must not keep the program.
process.exit();

async function run(words: readonly string[]): Promise<void> {
  const capabilities = capabilitiesAnswer(words);
  if (capabilities !== null) {
    print(capabilities);
    return;
  }
  if (asksVersion(words)) {
    print(`${PROGRAM} ${programVersion()}\n`);
    return;
  }
  program = await programFor(words);
  const isFs = words[0] === 'fs';
  const line = isFs ? fromVirtiofsd(words, takesValue(program, 'fs')) : words;
  const asksHelp = words.some((word) => ['-h', '--help', 'help'].includes(word));
  if (asksHelp) await addExamples(program);
  const unknown = asksHelp ? unknownCommand(program, words) : null;
  try {
    await program.parseAsync(unknown === null ? line : [unknown], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // The text is printed already; what was asked for (help) is no failure.
    process.exitCode = error.exitCode === 0 ? EXIT.OK : EXIT.USAGE;
  }
}

/** A command that is not there, whose help is asked for: for commander that of the program is. */
function unknownCommand(program: Command, words: readonly string[]): string | null {
  const [name = '-'] = words[0] === 'help' ? words.slice(1) : words;
  const isKnown = program.commands.some((each) => each.name() === name);
  return isKnown || name.startsWith('-') || name === 'help' ? null : name;
}

/** The words after the program, with the command that its name stands for. */
function argumentsOf(argv: readonly string[]): string[] {
  const name = basename(argv[1] ?? '').replace(`${PROGRAM}-`, '');
  const words = argv.slice(2);
  if (name === VIRTIOFSD) return ['fs', ...words];
  if (name === VHOST_DEVICE_VSOCK) return ['vsock', ...words];
  // It puts a number behind the path of a single socket, too.
  if (name === VHOST_DEVICE_RNG) return ['rng', '--socket-count=1', ...words];
  return Object.hasOwn(CAPABILITIES, name) ? [name, ...words] : words;
}

/** Also under the name of a device, as the programs whose place it takes have it. */
function asksVersion(words: readonly string[]): boolean {
  const rest = Object.hasOwn(CAPABILITIES, words[0] ?? '') ? words.slice(1) : words;
  return rest.length === 1 && ['--version', '-V'].includes(rest[0] ?? '');
}

function wantsDebug(words: readonly string[]): boolean {
  const at = words.indexOf('--log-level');
  return words.includes('--log-level=debug') || (at >= 0 && words[at + 1] === 'debug');
}

/** Ends the program with an error in words. */
function fail(error: unknown): never {
  try {
    // A status line may be there, without an end.
    const { isTTY } = process.stderr;
    const start = isTTY && process.env.TERM !== 'dumb' ? '\r\x1b[K' : '';
    process.stderr.write(start + errorText(PROGRAM, explained(error), debug));
  } catch {
    // Nobody is there to read it.
  }
  process.exit(exitCodeOf(error));
}

/** With what may be behind it: a word that was taken for something else than was meant. */
function explained(error: unknown): unknown {
  if (program === null || !(error instanceof Error)) return error;
  const hint = strayWordIn(error.message, { program, words: args });
  if (hint !== null) error.message += `\n(${hint})`;
  return error;
}
