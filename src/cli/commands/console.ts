/**
 * `vhost-user console`: a console of a guest, and serial ports.
 *
 * @module
 */
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import {
  CONSOLE_SIZE_RULE,
  ESCAPE_RULE,
  PORT_RULE,
  RESIZE_ORDERS,
  TCP_RULE,
  UNATTENDED,
  consoleFaults,
  endKeys,
  parseConsoleSize,
  parseEscape,
  parsePort,
  parseTcp,
  portNameFault,
} from '../console-settings.ts';
import type { ConsoleChoices, NamedPortChoices } from '../console-settings.ts';
import { UsageError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import {
  addInformationOptions,
  addLogOptions,
  addSandboxOptions,
  addSocketOptions,
  byteSize,
  octalMode,
  said,
  wholeNumber,
} from '../options.ts';
import type { LogOptions, SandboxOptions, SocketOptions } from '../options.ts';

/** What the command line says, by commander's names. */
export interface ConsoleCommandOptions
  extends Omit<ConsoleChoices, 'ports'>, SocketOptions, SandboxOptions, LogOptions {
  readonly port?: readonly NamedPortChoices[];
  readonly console?: readonly NamedPortChoices[];
}

const HELP = 'vhost-user console --help';

/** Adds the command to the program. */
export function addConsoleCommand(program: Command): Command {
  const command = program
    .command('console')
    .summary('serve a console and serial ports')
    .description(
      'Serves a console (/dev/hvc0) and serial ports of a virtual machine, over a vhost-user ' +
        'socket: at this terminal, a pseudo terminal, or a socket for several clients.',
    )
    .showHelpAfterError(`Try '${HELP}'.`);
  addEndOptions(command);
  addOutputOptions(command);
  addPortOptions(command);
  addSocketOptions(command);
  addSandboxOptions(command);
  addLogOptions(command);
  return addInformationOptions(command).action(serveConsole);
}

function addEndOptions(command: Command): void {
  command
    .optionsGroup('Console (one of these; this terminal without any of them):')
    .option('--stdio', 'standard input and output; a terminal becomes raw while a guest is there')
    .option('--pty [LINK]', 'a pseudo terminal, and LINK that leads to it')
    .option('--unix <PATH>', 'a Unix socket, for several clients')
    .addOption(
      new Option('--tcp <ADDRESS>', 'a TCP socket, for several clients: [HOST:]PORT').argParser(
        readBy(parseTcp, TCP_RULE),
      ),
    )
    .addOption(
      new Option('--escape <KEY>', "the key that leaves this terminal (default: '^]')").argParser(
        readBy(parseEscape, ESCAPE_RULE),
      ),
    )
    .addOption(
      new Option(
        '--size <SIZE>',
        'what the guest is told, where no terminal says: 120x40',
      ).argParser(readBy(parseConsoleSize, CONSOLE_SIZE_RULE)),
    )
    .addOption(
      new Option('--unix-mode <MODE>', 'permissions of the Unix socket, in octal').argParser(
        octalMode,
      ),
    )
    .option('--unix-group <GROUP>', 'group of the Unix socket, which may use it')
    .addOption(
      new Option('--max-clients <N>', 'clients of a socket at once (default: 16)').argParser(
        wholeNumber(LIMITS.clients),
      ),
    );
}

function addOutputOptions(command: Command): void {
  command
    .optionsGroup('Output:')
    .option('--log <FILE>', 'append all that the guest prints to a file')
    .addOption(
      new Option('--log-size <SIZE>', 'rotate that file when it has SIZE, such as 10M').argParser(
        byteSize,
      ),
    )
    .addOption(
      new Option('--log-keep <N>', 'how many older files to keep (default: 3)').argParser(
        wholeNumber(LIMITS.logKeep),
      ),
    )
    .addOption(
      new Option(
        '--unattended <HOW>',
        'while nobody is there: keep the newest output, let the guest wait, or discard ' +
          '(default: keep)',
      ).choices(UNATTENDED),
    )
    .addOption(
      new Option('--backlog <SIZE>', 'how much to keep (default: 64K)').argParser(byteSize),
    );
}

function addPortOptions(command: Command): void {
  command
    .optionsGroup('Further ports and queues:')
    .addOption(
      new Option(
        '--port <NAME=END>',
        'a serial port, /dev/virtio-ports/NAME, at pty[:LINK], unix:PATH or tcp:[HOST:]PORT; ' +
          'repeatable',
      ).argParser(collectedPort),
    )
    .addOption(
      new Option(
        '--console <NAME=END>',
        'a further console, /dev/hvc1 and so on; repeatable',
      ).argParser(collectedPort),
    )
    .addOption(
      new Option('--port-name <NAME>', 'a name for the first console').argParser((text) => {
        const fault = portNameFault(text);
        if (fault !== null) throw new InvalidArgumentError(`${said(fault)}.`);
        return text;
      }),
    )
    .addOption(
      new Option('--queue-size <N>', 'the longest queue, a power of two (default: 256)').argParser(
        wholeNumber(LIMITS.queueSize),
      ),
    )
    .addOption(
      new Option(
        '--resize-order <ORDER>',
        'what a message of a new size begins with: columns by the specification, rows for most ' +
          'releases of Linux (default: rows)',
      ).choices(RESIZE_ORDERS),
    );
}

function readBy<T>(read: (text: string) => T | null, rule: string): (text: string) => T {
  return (text) => {
    const value = read(text);
    if (value === null) throw new InvalidArgumentError(`${said(rule)} is needed.`);
    return value;
  };
}

function collectedPort(
  text: string,
  before: readonly NamedPortChoices[] | undefined,
): NamedPortChoices[] {
  return [...(before ?? []), readBy(parsePort, PORT_RULE)(text)];
}

async function serveConsole(options: ConsoleCommandOptions): Promise<void> {
  const { port = [], console: consoles = [], ...rest } = options;
  const ports = [...consoles.map((each) => ({ ...each, console: true })), ...port];
  const isElsewhere = endKeys(options).length > 0 || ports.some((each) => each.stdio === true);
  const choices: ConsoleChoices = { ...rest, ports, ...(!isElsewhere && { stdio: true }) };
  const [fault] = consoleFaults(choices);
  if (fault !== undefined) {
    const where = fault.port === undefined ? `--${fault.key}` : `port ${ports[fault.port]?.name}:`;
    throw new UsageError(`${where} ${fault.text}`, HELP);
  }
  // What serves is loaded now, so that wrong usage and help are quick.
  const { consoleNeeds, enterDeviceSandbox, socketNeeds } = await import('../enter-sandbox.ts');
  enterDeviceSandbox(options, [consoleNeeds(choices), socketNeeds(options)]);
  const { serveOneConsole } = await import('../serve-console.ts');
  process.exitCode = await serveOneConsole(choices, options, HELP);
}
