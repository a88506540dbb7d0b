/**
 * `vhost-user vsock-connect`: standard input and output of this process on a port of a guest, as
 * ssh's ProxyCommand and other programs want it.
 *
 * @module
 */
import { Option } from 'commander';
import type { Command } from 'commander';
import { LIMITS } from '../limits.ts';
import { wholeNumber } from '../options.ts';

/** What the command line says, by commander's names. */
interface ConnectCommandOptions {
  readonly wait?: number;
  readonly timeout?: number;
}

const MS = 1000;

/** Adds the command to the program. */
export function addVsockConnectCommand(program: Command): Command {
  return program
    .command('vsock-connect')
    .summary('connect to a port of a guest')
    .description(
      'Connects standard input and output to a port of a guest whose vsock is served with ' +
        '--uds-path, by this program or by another one that has the same convention. Ends when ' +
        'the guest has sent its last byte.',
    )
    .argument('<PATH>', 'what --uds-path says')
    .argument('<PORT>', 'the port in the guest', wholeNumber(LIMITS.vsockPort))
    .showHelpAfterError("Try 'vhost-user vsock-connect --help'.")
    .optionsGroup('Connecting:')
    .addOption(
      new Option(
        '--wait <SECONDS>',
        'try again for so long while nobody listens there yet (default: 0)',
      ).argParser(wholeNumber(LIMITS.seconds)),
    )
    .addOption(
      new Option(
        '--timeout <SECONDS>',
        'how long the guest may take to answer; 0 waits for ever (default: 10)',
      ).argParser(wholeNumber(LIMITS.seconds)),
    )
    .optionsGroup('Information:')
    .helpOption('-h, --help', 'show this help')
    .action(connect);
}

async function connect(path: string, port: number, options: ConnectCommandOptions): Promise<void> {
  const { wait = 0, timeout } = options;
  const { joinGuest } = await import('../vsock-connect.ts');
  process.exitCode = await joinGuest(path, port, {
    waitMs: wait * MS,
    ...(timeout !== undefined && { timeoutMs: timeout * MS }),
  });
}
