/**
 * The devices of a configuration file, served.
 *
 * @module
 */
import type { LogLevel } from '../backend/index.ts';
import type { Config } from './config.ts';
import type { LogFormat } from './options.ts';
import { blkEntry } from './serve-blk.ts';
import { fsEntry } from './serve-fs.ts';
import { openLog, serve } from './serve.ts';
import { InheritedSockets, resolveAddress } from './socket-address.ts';

/** Serves a configuration and returns the exit code. */
export async function serveConfig(
  config: Config,
  log: { readonly level: LogLevel; readonly format: LogFormat },
): Promise<number> {
  const inherited = new InheritedSockets();
  const entries = config.devices.map((device) => {
    const address = resolveAddress(device.socket, inherited, 'vhost-user run --help');
    return device.type === 'blk'
      ? blkEntry(device.name, device.options, address)
      : fsEntry(device.name, device.choices, address);
  });
  return await serve(entries, openLog(log.level, log.format));
}
