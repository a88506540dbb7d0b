/**
 * A console as something to be served: from options of the command line, or from a configuration
 * file.
 *
 * @module
 */
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import type { BackendAddress } from '../backend/index.ts';
import { openConsole } from '../devices/console/index.ts';
import type { ConsoleDevice, EndOptions } from '../devices/console/index.ts';
import { fdKind, host } from '../sys/index.ts';
import type { ConsoleCommandOptions } from './commands/console.ts';
import { NO_ESCAPE, consoleOptions, usesStdio } from './console-settings.ts';
import type { ConsoleChoices } from './console-settings.ts';
import { counted, oneLine } from './format.ts';
import { qemuConsoleLines, qemuHost } from './qemu.ts';
import { openLog, serve } from './serve.ts';
import type { ServeEntry } from './serve.ts';
import { InheritedSockets, commandSocket, resolveAddress } from './socket-address.ts';

const STDIN_FD = 0;
const STDOUT_FD = 1;

/** Serves one console and returns the exit code. */
export async function serveOneConsole(
  choices: ConsoleChoices,
  options: ConsoleCommandOptions,
  help: string,
): Promise<number> {
  const address = resolveAddress(commandSocket(options), new InheritedSockets(), help);
  const entry = consoleEntry('console', choices, address);
  const log = openLog(options.logLevel, options.logFormat, entry.ownsTerminal === true);
  return await serve([entry], log);
}

/** A console to be served. */
export function consoleEntry(
  name: string,
  choices: ConsoleChoices,
  address: BackendAddress,
): ServeEntry {
  let device: ConsoleDevice | null = null;
  const queueCount = 2 * (choices.ports?.length ?? 0) + 4;
  return {
    name,
    address,
    ownsTerminal: usesStdio(choices) && process.stdin.isTTY,
    open: async (end) => {
      device = await openConsole({ ...consoleOptions(choices, stdioEnd), onLeave: end });
      return device;
    },
    describe: () => {
      const ports = device?.describe().map(oneLine).join('; ') ?? '';
      return `${ports}; ${counted(queueCount, 'queue')}`;
    },
    hint: () => Promise.resolve(attachHint(address, queueCount)),
  };
}

/** This process's own input and output, whatever they are. */
function stdioEnd(escape: number | undefined): EndOptions {
  const { stdin } = process;
  const output = outputStream();
  if (!stdin.isTTY) return { kind: 'streams', input: stdin, output };
  const key = escape === undefined ? {} : { escape: escape === NO_ESCAPE ? null : escape };
  return { kind: 'terminal', input: stdin, output, fd: STDIN_FD, ...key };
}

/** Node writes to pipes and waits: whoever does not read would stop all devices of this process. */
function outputStream(): Writable {
  const kind = fdKind(STDOUT_FD);
  if (kind !== 'pipe' && kind !== 'socket') return process.stdout;
  return new Socket({ fd: STDOUT_FD, readable: false, writable: true });
}

function attachHint(address: BackendAddress, queueCount: number): string[] {
  if (address.kind !== 'listen') return [];
  const { os, arch } = host();
  const lines = qemuConsoleLines(qemuHost(os, arch), { socketPath: address.path, queueCount });
  return ['', 'Attach it to a guest:', `  ${lines.join(' \\\n    ')}`, ''];
}
