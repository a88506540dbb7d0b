/**
 * `vhost-user rng`: random bytes for a guest, with the options of vhost-device-rng.
 *
 * @module
 */
import { Option } from 'commander';
import type { Command } from 'commander';
import { UsageError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import {
  addInformationOptions,
  addLogOptions,
  addSandboxOptions,
  addSocketOptions,
  byteLimit,
  wholeNumber,
} from '../options.ts';
import type { LogOptions, SandboxOptions, SocketOptions } from '../options.ts';
import { shareFault } from '../rng-settings.ts';
import type { RngChoices } from '../rng-settings.ts';

/** What the command line says, by commander's names. */
export interface RngCommandOptions extends RngChoices, SocketOptions, SandboxOptions, LogOptions {
  readonly rngSource?: string;
  readonly socketCount?: number;
}

/** The program whose command lines are taken, and the name of a link to this one for them. */
export const VHOST_DEVICE_RNG = 'vhost-device-rng';

const HELP = 'vhost-user rng --help';

/** Adds the command to the program. */
export function addRngCommand(program: Command): Command {
  const command = program
    .command('rng')
    .summary('give random bytes')
    .description(
      'Gives random bytes of this host to a virtual machine as a virtio entropy device, over a ' +
        `vhost-user socket. Takes the options of ${VHOST_DEVICE_RNG}.`,
    )
    .showHelpAfterError(`Try '${HELP}'.`);
  addSourceOptions(command);
  addSocketOptions(command, '-s, --socket-path <PATH>');
  command.addOption(
    new Option(
      '-c, --socket-count <N>',
      'so many sockets, for as many guests: PATH0, PATH1 and so on',
    )
      .argParser(wholeNumber(LIMITS.socketCount))
      .conflicts('fd'),
  );
  addSandboxOptions(command);
  addLogOptions(command);
  return addInformationOptions(command).action(serveRng);
}

function addSourceOptions(command: Command): void {
  command
    .optionsGroup('Bytes:')
    .option(
      '-f, --file <PATH>',
      "a file, device or FIFO that they come from (default: this host's generator)",
    )
    .option('--rng-source <PATH>', 'the same as --file')
    .addOption(
      new Option(
        '-m, --max-bytes <SIZE>',
        'give at most so many in each period, such as 512 or 4K; all sockets share them',
      ).argParser(byteLimit),
    )
    .addOption(
      new Option('-p, --period <MS>', 'the period, in milliseconds (default: 65536)').argParser(
        wholeNumber(LIMITS.periodMs),
      ),
    );
}

async function serveRng(options: RngCommandOptions): Promise<void> {
  const choices = { ...options, file: sourcePath(options) };
  const fault = shareFault(options.maxBytes, options.socketCount ?? 1);
  if (fault !== null) throw new UsageError(`--max-bytes: ${fault}`, HELP);
  if (options.socketCount !== undefined && options.socketPath === undefined) {
    throw new UsageError('--socket-count needs --socket-path, the start of the paths', HELP);
  }
  // What serves is loaded now, so that wrong usage and help are quick.
  const { enterDeviceSandbox, rngNeeds, socketNeeds } = await import('../enter-sandbox.ts');
  enterDeviceSandbox(options, [rngNeeds(choices), socketNeeds(options)]);
  const { serveRngSockets } = await import('../serve-rng.ts');
  process.exitCode = await serveRngSockets(choices, HELP);
}

function sourcePath({ file, rngSource }: RngCommandOptions): string | undefined {
  if (file !== undefined && rngSource !== undefined && file !== rngSource) {
    throw new UsageError(`--file is ${file} and --rng-source is ${rngSource}: give one`, HELP);
  }
  const path = file ?? rngSource;
  if (path === '') throw new UsageError('which file? Its path is empty', HELP);
  return path;
}
