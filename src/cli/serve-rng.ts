/**
 * An entropy device as something to be served: from options of the command line, or from a
 * configuration file.
 *
 * @module
 */
import type { BackendAddress } from '../backend/index.ts';
import { openRng } from '../devices/rng/index.ts';
import type { RngDevice } from '../devices/rng/index.ts';
import { host } from '../sys/index.ts';
import type { RngCommandOptions } from './commands/rng.ts';
import { formatBytes, oneLine } from './format.ts';
import { qemuHost, qemuRngLines } from './qemu.ts';
import type { RngChoices } from './rng-settings.ts';
import { openLog, serve } from './serve.ts';
import type { Remark, ServeEntry } from './serve.ts';
import { InheritedSockets, commandSocket, resolveAddress } from './socket-address.ts';

/** Serves one device, or as many as there are to be sockets, and returns the exit code. */
export async function serveRngSockets(options: RngCommandOptions, help: string): Promise<number> {
  const { socketCount, socketPath } = options;
  const socket = commandSocket(options);
  const inherited = new InheritedSockets();
  const log = openLog(options.logLevel, options.logFormat);
  if (socketCount === undefined) {
    const address = resolveAddress(socket, inherited, help);
    return await serve([rngEntry('rng', options, address)], log);
  }
  const { maxBytes } = options;
  const choices: RngChoices = {
    ...options,
    // As vhost-device-rng does: the source is one, and its bytes are for all of them.
    maxBytes: maxBytes === undefined ? undefined : Math.floor(maxBytes / socketCount),
  };
  const entries = Array.from({ length: socketCount }, (_, i) => {
    const settings = { ...socket, socketPath: `${socketPath ?? ''}${i}` };
    return rngEntry(`rng${i}`, choices, resolveAddress(settings, inherited, help));
  });
  return await serve(entries, log);
}

/** A device to be served. */
export function rngEntry(name: string, choices: RngChoices, address: BackendAddress): ServeEntry {
  const { file, maxBytes, period } = choices;
  let device: RngDevice | null = null;
  return {
    name,
    address,
    remarks: remarksOn(choices),
    open: () => {
      device = openRng({
        ...(file !== undefined && { file }),
        ...(maxBytes !== undefined && { maxBytes }),
        ...(period !== undefined && { periodMs: period }),
      });
      return Promise.resolve(device);
    },
    describe: () => {
      const isRegular = device?.isFromRegularFile === true;
      const once = isRegular ? ', each byte of which is given once' : '';
      const source = file === undefined ? "this host's generator" : `${oneLine(file)}${once}`;
      return `${source}, ${limitText(maxBytes, device?.periodMs ?? 0)}`;
    },
    hint: () => Promise.resolve(attachHint(address)),
  };
}

function limitText(maxBytes: number | undefined, periodMs: number): string {
  if (maxBytes === undefined) return 'without a limit';
  return `at most ${formatBytes(maxBytes)} in ${periodMs} ms`;
}

function remarksOn({ maxBytes, period }: RngChoices): Remark[] {
  if (period === undefined || maxBytes !== undefined) return [];
  return [{ level: 'warn', text: 'a period without --max-bytes limits nothing' }];
}

function attachHint(address: BackendAddress): string[] {
  if (address.kind !== 'listen') return [];
  const { os, arch } = host();
  const lines = qemuRngLines(qemuHost(os, arch), address.path);
  return ['', 'Attach it to a guest:', `  ${lines.join(' \\\n    ')}`, ''];
}
