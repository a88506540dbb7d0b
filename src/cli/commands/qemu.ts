/**
 * `vhost-user qemu`: QEMU with our devices, in one command.
 *
 * @module
 */
import { Argument, Option } from 'commander';
import type { Command } from 'commander';
import type { LogLevel } from '../../backend/index.ts';
import type { DeviceType } from '../config-schema.ts';
import { UsageError } from '../errors.ts';
import { LOG_FORMATS, LOG_LEVELS } from '../options.ts';
import type { LogFormat } from '../options.ts';

/** Monitors that `--for` knows. */
const MONITORS = ['qemu', 'cloud-hypervisor', 'crosvm', 'libkrun', 'libvirt'] as const;

/** What the command line says, by commander's names. */
interface QemuCommandOptions {
  readonly blk?: readonly string[];
  readonly fs?: readonly string[];
  readonly vsock?: readonly string[];
  readonly rng?: readonly string[];
  readonly console?: readonly string[];
  readonly config?: string;
  readonly qemu?: string;
  readonly socketDir?: string;
  readonly print?: boolean;
  readonly for?: (typeof MONITORS)[number];
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
}

const HELP = 'vhost-user qemu --help';

/** In the order in which they stand on QEMU's command line. */
const TYPES: readonly DeviceType[] = ['blk', 'fs', 'vsock', 'rng', 'console'];

/** Adds the command to the program. */
export function addQemuCommand(program: Command): Command {
  const command = program
    .command('qemu')
    .summary('run QEMU with devices')
    .description(
      'Serves devices and runs QEMU with them: makes the sockets, the memory that they share and ' +
        'the options of QEMU, and ends when QEMU ends, with its exit code. What comes after -- ' +
        "is QEMU's.",
    )
    .usage('[OPTIONS] [-- QEMU OPTIONS]')
    .addArgument(new Argument('[WORDS...]', "QEMU's own options, after --"))
    .showHelpAfterError(`Options of QEMU come after --. Try '${HELP}'.`);
  addDeviceOptions(command);
  addMonitorOptions(command);
  addLogOptions(command);
  return command
    .optionsGroup('Information:')
    .helpOption('-h, --help', 'show this help')
    .action(qemu);
}

function addDeviceOptions(command: Command): void {
  const device = (flags: string, text: string): Option =>
    new Option(flags, text).argParser(collected);
  command
    .optionsGroup("Devices (repeatable; settings of 'vhost-user run' may follow: ,name=value):")
    .addOption(device('--blk <IMAGE>', 'a disk, such as disk.img,read-only'))
    .addOption(device('--fs <FOLDER>', 'a shared folder, such as ~/src:src,cache=always'))
    .addOption(device('--vsock <CID>', "a vsock; CID is the guest's address, from 3 on"))
    .addOption(device('--rng [SOURCE]', 'random bytes of this host, or of a file').preset('host'))
    .addOption(
      device(
        '--console [END]',
        'a console at pty, pty:LINK, unix:PATH or tcp:[HOST:]PORT, for QEMU 10.2 and newer',
      ).preset('pty'),
    )
    .option('--config <FILE>', "the devices of a file of 'vhost-user run'");
}

function addMonitorOptions(command: Command): void {
  command
    .optionsGroup('QEMU:')
    .option('--qemu <PROGRAM>', 'name or path (default: the first here that has the devices)')
    .option('--socket-dir <FOLDER>', 'where the sockets are (default: a private folder)')
    .option('--print', 'only print what would be run, as a script for a shell')
    .addOption(
      new Option('--for <MONITOR>', 'what to print for (default: qemu)').choices(MONITORS),
    );
}

/** QEMU has the terminal, so less is said there than elsewhere. */
function addLogOptions(command: Command): void {
  const group = 'Log:';
  command
    .addOption(
      new Option('--log-level <LEVEL>', 'how much to log; info shows the command line of QEMU')
        .choices(LOG_LEVELS)
        .default('warn')
        .helpGroup(group),
    )
    .addOption(
      new Option('--log-format <FORMAT>', 'auto is text on a terminal, and JSON elsewhere')
        .choices(LOG_FORMATS)
        .default('auto')
        .helpGroup(group),
    );
}

function collected(text: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), text];
}

async function qemu(words: readonly string[], options: QemuCommandOptions): Promise<void> {
  const { config, qemu: program, socketDir } = options;
  if (options.for !== undefined && options.print !== true) {
    throw new UsageError(`--for ${options.for} goes with --print: only QEMU is run`, HELP);
  }
  const devices = TYPES.flatMap((type) => (options[type] ?? []).map((text) => ({ type, text })));
  const wishes = { devices, config, qemu: program, socketDir, words };
  // What serves is loaded now, so that wrong usage and help are quick.
  const { printMonitor, runQemu } = await import('../serve-qemu.ts');
  if (options.print === true) {
    await printMonitor(options.for ?? 'qemu', wishes);
    return;
  }
  const log = { level: options.logLevel, format: options.logFormat };
  process.exitCode = await runQemu(wishes, log);
}
