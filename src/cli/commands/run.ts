/**
 * `vhost-user run`: several devices of one configuration file in one process.
 *
 * @module
 */
import { Argument, Option } from 'commander';
import type { Command } from 'commander';
import { EXIT, UsageError } from '../errors.ts';
import { counted } from '../format.ts';
import { loadInTurn } from '../load-in-turn.ts';
import { LOG_FORMATS, LOG_LEVELS, addSandboxOptions } from '../options.ts';
import type { LogFormat, SandboxOptions } from '../options.ts';
import type { LogLevel } from '../../backend/index.ts';
import { print } from '../output.ts';

/** What the command line says, by commander's names. */
interface RunCommandOptions extends SandboxOptions {
  readonly check?: boolean;
  readonly printSchema?: boolean;
  readonly logLevel?: LogLevel;
  readonly logFormat?: LogFormat;
}

const HELP = 'vhost-user run --help';

/** Adds the command to the program. */
export function addRunCommand(program: Command): Command {
  const log = 'Log (stronger than what the file says):';
  const command = program
    .command('run')
    .summary('serve several devices of a configuration file')
    .description(
      'Serves the devices of a YAML (or JSON) file in one process. Relative paths in the file ' +
        'begin at its folder.',
    )
    .addArgument(new Argument('[CONFIG]', 'the configuration file'))
    .showHelpAfterError(`Try '${HELP}'.`)
    .optionsGroup('Configuration:')
    .option('--check', 'only check the file: exit code 0 when it is good')
    .option('--print-schema', 'print the JSON schema of the file, for editors');
  addSandboxOptions(command);
  return command
    .addOption(
      new Option('--log-level <LEVEL>', 'how much to log (default: info)')
        .choices(LOG_LEVELS)
        .helpGroup(log),
    )
    .addOption(
      new Option('--log-format <FORMAT>', 'auto is text on a terminal, and JSON elsewhere')
        .choices(LOG_FORMATS)
        .helpGroup(log),
    )
    .optionsGroup('Information:')
    .helpOption('-h, --help', 'show this help')
    .action(run);
}

async function run(path: string | undefined, options: RunCommandOptions): Promise<void> {
  if (options.printSchema === true) {
    const { configSchema } = await import('../config-schema.ts');
    print(`${JSON.stringify(configSchema(), null, 2)}\n`);
    return;
  }
  if (path === undefined) throw new UsageError('which configuration file? Give its path', HELP);
  await loadInTurn();
  const { loadConfig } = await import('../config.ts');
  const config = loadConfig(path);
  if (options.check === true) {
    print(`${path} is good: ${counted(config.devices.length, 'device')}\n`);
    process.exitCode = EXIT.OK;
    return;
  }
  const { configNeeds } = await import('../config-needs.ts');
  const { enterDeviceSandbox, fileNeeds } = await import('../enter-sandbox.ts');
  enterDeviceSandbox(options, [fileNeeds(path), ...configNeeds(config)]);
  const { serveConfig } = await import('../serve-config.ts');
  process.exitCode = await serveConfig(config, {
    level: options.logLevel ?? config.logLevel,
    format: options.logFormat ?? config.logFormat,
  });
}
