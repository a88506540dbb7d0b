/**
 * `vhost-user doctor`: what works on this host, and what to do about the rest.
 *
 * @module
 */
import { Option } from 'commander';
import type { Command } from 'commander';
import { collected } from '../options.ts';

/** What the command line says, by commander's names. */
export interface DoctorCommandOptions {
  readonly json?: boolean;
  readonly report?: string;
  readonly qemu?: readonly string[];
}

/** Adds the command to the program. */
export function addDoctorCommand(program: Command): Command {
  return program
    .command('doctor')
    .summary('say what works on this host, and what to do about the rest')
    .description(
      'Looks at this host and at each QEMU on it, and prints what works, what is slower, what is ' +
        'missing, and the one thing to do about it. Boots and changes nothing. Exit code 0: all ' +
        'that is needed works, and a monitor is there to attach devices; 1: something that is ' +
        'needed does not work.',
    )
    .showHelpAfterError("Try 'vhost-user doctor --help'.")
    .addOption(
      new Option(
        '--qemu <PATH>',
        'look at this QEMU, and not for those in PATH and other usual folders; repeatable',
      ).argParser(collected),
    )
    .option('--json', 'print all that was found as JSON')
    .option(
      '--report <FILE>',
      'write a page for a bug report, too, without the names of host, user and home folder',
    )
    .helpOption('-h, --help', 'show this help')
    .action(async (options: DoctorCommandOptions) => {
      const { doctor } = await import('../doctor.ts');
      process.exitCode = await doctor(options);
    });
}
