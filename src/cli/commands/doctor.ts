/**
 * `vhost-user doctor`: what works on this host, and what to do about the rest.
 *
 * @module
 */
import type { Command } from 'commander';

/** Adds the command to the program. */
export function addDoctorCommand(program: Command): Command {
  return program
    .command('doctor')
    .summary('say what works on this host, and what to do about the rest')
    .description(
      'Looks at this host and at each QEMU on it, and prints what works, what is slower, what is ' +
        'missing, and the one thing to do about it. Boots and changes nothing. Exit code 0: all ' +
        'that is needed works; 1: something that is needed is missing.',
    )
    .showHelpAfterError("Try 'vhost-user doctor --help'.")
    .helpOption('-h, --help', 'show this help')
    .action(async () => {
      const { doctor } = await import('../doctor.ts');
      process.exitCode = await doctor();
    });
}
