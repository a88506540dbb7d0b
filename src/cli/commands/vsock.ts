/**
 * `vhost-user vsock`: sockets between guests and this host, and between guests.
 *
 * @module
 */
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import type { VsockForward, VsockListen } from '../../devices/vsock/index.ts';
import { UsageError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import {
  addInformationOptions,
  addLogOptions,
  addSandboxOptions,
  addSocketOptions,
  octalMode,
  said,
  wholeNumber,
} from '../options.ts';
import type { LogOptions, SandboxOptions, SocketOptions } from '../options.ts';
import { pairFaults, reachFault, vsockFaults } from '../vsock-settings.ts';
import type { VsockChoices } from '../vsock-settings.ts';
import { TextFault, parseForward, parseGroups, parseListen, parsePorts } from '../vsock-text.ts';
import { bufferSize, parseVm } from '../vsock-vms.ts';
import type { VsockVm } from '../vsock-vms.ts';

/** What the command line says, by commander's names. */
export interface VsockCommandOptions
  extends VsockChoices, SocketOptions, SandboxOptions, LogOptions {
  readonly socket?: string;
  readonly vm?: readonly VsockVm[];
  readonly config?: string;
}

const HELP = 'vhost-user vsock --help';

/** What is said of one guest, and cannot be said beside --vm and --config. */
const OF_ONE_GUEST: readonly string[] = [
  ...['guestCid', 'udsPath', 'udsMode', 'udsGroup', 'forward', 'listen', 'forwardCid'],
  ...['forwardListen', 'groups', 'txBufferSize', 'maxConnections', 'queueSize', 'pollUs'],
  ...['socket', 'socketPath', 'socketMode', 'socketGroup', 'connect', 'fd'],
];

/** Adds the command to the program. */
export function addVsockCommand(program: Command): Command {
  const command = program
    .command('vsock')
    .summary('connect guests and this host by sockets')
    .description(
      'Lets programs of a virtual machine and of this host connect to each other by AF_VSOCK, ' +
        'over a vhost-user socket. Takes the options of vhost-device-vsock.',
    )
    .showHelpAfterError(`Try '${HELP}'.`);
  addGuestOptions(command);
  addPortOptions(command);
  addSocketOptions(command);
  command.addOption(
    new Option('--socket <PATH>', 'the same as --socket-path').conflicts(['socketPath', 'fd']),
  );
  addManyOptions(command);
  addQueueOptions(command);
  addSandboxOptions(command);
  addLogOptions(command);
  return addInformationOptions(command).action(serveVsock);
}

function addGuestOptions(command: Command): void {
  command
    .optionsGroup('Guest:')
    .addOption(
      new Option('--guest-cid <CID>', "the guest's address, from 3 on (default: 3)").argParser(
        wholeNumber(LIMITS.guestCid),
      ),
    )
    .addOption(
      new Option(
        '--groups <NAMES>',
        "guests of this process that share one reach each other; '+' between (default: default)",
      ).argParser(readBy(parseGroups)),
    )
    .option('--no-seqpacket', 'do not offer sockets that keep the borders of messages');
}

function addPortOptions(command: Command): void {
  command
    .optionsGroup('This host:')
    .option(
      '--uds-path <PATH>',
      "a Unix socket where programs say 'CONNECT port' to reach the guest; it reaches PATH_port",
    )
    .addOption(
      new Option('--uds-mode <MODE>', 'permissions of sockets made for programs').argParser(
        octalMode,
      ),
    )
    .option('--uds-group <GROUP>', 'group of these sockets, which may use them')
    .addOption(
      new Option(
        '--forward <RULE>',
        "guest:PORT=tcp:HOST:PORT, =unix:PATH or =vsock:CID:PORT; 'guest:*' is each; repeatable",
      ).argParser(collectedBy<VsockForward>(parseForward)),
    )
    .addOption(
      new Option(
        '--listen <RULE>',
        'tcp:HOST:PORT=guest:PORT, unix:PATH=guest:PORT or vsock:PORT=guest:PORT; repeatable',
      ).argParser(collectedBy<VsockListen>(parseListen)),
    )
    .addOption(
      new Option(
        '--forward-cid <CID>',
        "connections of the guest go to AF_VSOCK's CID; 1 is this host",
      ).argParser(wholeNumber(LIMITS.vsockPort)),
    )
    .addOption(
      new Option(
        '--forward-listen <PORTS>',
        "AF_VSOCK's ports of this host that lead to the guest, '+' between",
      ).argParser(readBy(parsePorts)),
    );
}

function addManyOptions(command: Command): void {
  command
    .optionsGroup('Several guests in one process:')
    .addOption(
      new Option(
        '--vm <SETTINGS>',
        'guest-cid=4,socket=PATH,uds-path=PATH and so on; once for each guest',
      )
        .argParser(collectedBy<VsockVm>(parseVm))
        .conflicts([...OF_ONE_GUEST, 'config']),
    )
    .addOption(
      new Option('--config <FILE>', "the same in YAML: a list 'vms' of such settings").conflicts([
        ...OF_ONE_GUEST,
      ]),
    );
}

function addQueueOptions(command: Command): void {
  command
    .optionsGroup('Queues and resources:')
    .addOption(
      new Option(
        '--tx-buffer-size <SIZE>',
        'bytes of a connection kept for a program that does not read (default: 256K)',
      ).argParser(readBy(bufferSize)),
    )
    .addOption(
      new Option('--max-connections <N>', 'connections at a time (default: 4096)').argParser(
        wholeNumber(LIMITS.connections),
      ),
    )
    .addOption(
      new Option('--queue-size <N>', 'the longest queue, a power of two (default: 1024)').argParser(
        wholeNumber(LIMITS.queueSize),
      ),
    )
    .addOption(
      new Option(
        '--poll-us <N>',
        'poll so many microseconds at most before sleeping (default: 64)',
      ).argParser(wholeNumber(LIMITS.pollUs)),
    );
}

/** A reader for `Option.argParser` out of one that throws a TextFault. */
function readBy<Value>(parse: (text: string) => Value): (text: string) => Value {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      if (!(error instanceof TextFault)) throw error;
      throw new InvalidArgumentError(`${said(error.message)}.`);
    }
  };
}

function collectedBy<Value>(
  parse: (text: string) => Value,
): (text: string, before: readonly Value[] | undefined) => Value[] {
  const read = readBy(parse);
  return (text, before) => [...(before ?? []), read(text)];
}

async function serveVsock(options: VsockCommandOptions): Promise<void> {
  const { vm, config } = options;
  if (config !== undefined) {
    const { loadVms } = await import('../vsock-file.ts');
    await serveMany(loadVms(config), options);
    return;
  }
  if (vm !== undefined) {
    checkVms(vm);
    await serveMany(vm, options);
    return;
  }
  const socketPath = options.socketPath ?? options.socket;
  const given = socketPath === undefined ? options : { ...options, socketPath };
  const [fault] = vsockFaults(options, socketPath);
  if (fault !== undefined) throw new UsageError(`--${fault.key} ${fault.text}`, HELP);
  const reach = reachFault(options, '--');
  if (reach !== null) throw new UsageError(reach, HELP);
  const { enterDeviceSandbox, socketNeeds, vsockNeeds } = await import('../enter-sandbox.ts');
  enterDeviceSandbox(options, [vsockNeeds(options), socketNeeds(given)]);
  const { serveGuest } = await import('../serve-vsock.ts');
  process.exitCode = await serveGuest(given, HELP);
}

async function serveMany(vms: readonly VsockVm[], options: VsockCommandOptions): Promise<void> {
  const { enterDeviceSandbox, fileNeeds, socketNeeds, vsockNeeds } =
    await import('../enter-sandbox.ts');
  const files = options.config === undefined ? [] : [fileNeeds(options.config)];
  const devices = vms.flatMap(({ choices, socket }) => [vsockNeeds(choices), socketNeeds(socket)]);
  enterDeviceSandbox(options, [...files, ...devices]);
  const { serveGuests } = await import('../serve-vsock.ts');
  process.exitCode = await serveGuests(vms, options, HELP);
}

function checkVms(vms: readonly VsockVm[]): void {
  for (const { name, choices, socket } of vms) {
    const [fault] = vsockFaults(choices, socket.socketPath);
    if (fault !== undefined)
      throw new UsageError(`--vm (${name}): ${fault.key} ${fault.text}`, HELP);
  }
  const [only] = vms;
  const reach = vms.length === 1 && only !== undefined ? reachFault(only.choices) : null;
  if (reach !== null) throw new UsageError(`--vm (${only?.name ?? ''}): ${reach}`, HELP);
  const [pair] = pairFaults(vms);
  if (pair === undefined) return;
  throw new UsageError(`--vm (${vms[pair.second]?.name ?? ''}): ${pair.key} ${pair.text}`, HELP);
}
