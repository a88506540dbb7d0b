/**
 * A disk as something to be served: from options of the command line, or from a configuration file.
 *
 * @module
 */
import type { BackendAddress } from '../backend/index.ts';
import { openBlk } from '../devices/blk/index.ts';
import type { BlkDevice, BlkOptions } from '../devices/blk/index.ts';
import { host } from '../sys/index.ts';
import type { BlkCommandOptions } from './commands/blk.ts';
import { counted, formatBytes } from './format.ts';
import { qemuBlkLines, qemuHost } from './qemu.ts';
import { openLog, serve } from './serve.ts';
import type { ServeEntry } from './serve.ts';
import { InheritedSockets, commandSocket, resolveAddress } from './socket-address.ts';

/** Serves one disk and returns the exit code. */
export async function serveOneBlk(
  image: string,
  options: BlkCommandOptions,
  help: string,
): Promise<number> {
  const address = resolveAddress(commandSocket(options), new InheritedSockets(), help);
  const entry = blkEntry('blk', blkOptions(image, options), address);
  const log = openLog(options.logLevel, options.logFormat);
  return await serve([entry], log);
}

/** A disk to be served. */
export function blkEntry(name: string, options: BlkOptions, address: BackendAddress): ServeEntry {
  let device: BlkDevice | null = null;
  const queueCount = options.queueCount ?? 1;
  return {
    name,
    address,
    open: () => {
      device = openBlk(options);
      return Promise.resolve(device);
    },
    describe: () => {
      const size = device === null ? '' : `, ${formatBytes(device.sizeBytes)}`;
      const access = options.readOnly === true ? 'read-only' : 'read-write';
      return `${options.image}${size}, ${access}, ${counted(queueCount, 'queue')}`;
    },
    hint: () => Promise.resolve(attachHint(address, queueCount)),
  };
}

function attachHint(address: BackendAddress, queueCount: number): string[] {
  if (address.kind !== 'listen') return [];
  const { os, arch } = host();
  const lines = qemuBlkLines(qemuHost(os, arch), { socketPath: address.path, queueCount });
  return ['', 'Attach it to a guest:', `  ${lines.join(' \\\n    ')}`, ''];
}

function blkOptions(image: string, options: BlkCommandOptions): BlkOptions {
  const { readOnly, serial, direct, engine, blockSize, format, discard, lock } = options;
  const { numQueues, queueSize, threads, pollUs } = options;
  return {
    image,
    discard,
    lock,
    ...(readOnly !== undefined && { readOnly }),
    ...(serial !== undefined && { serial }),
    ...(direct !== undefined && { direct }),
    ...(engine !== undefined && { engine }),
    ...(format !== undefined && { format }),
    ...(blockSize !== undefined && { blockBytes: blockSize }),
    ...(numQueues !== undefined && { queueCount: numQueues }),
    ...(queueSize !== undefined && { queueSize }),
    ...(threads !== undefined && { threads }),
    ...(pollUs !== undefined && { pollUs }),
  };
}
