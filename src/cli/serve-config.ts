/**
 * The devices of a configuration file, served.
 *
 * @module
 */
import { VsockNetwork } from '../devices/vsock/index.ts';
import type { LogLevel } from '../backend/index.ts';
import type { Config, DeviceConfig } from './config.ts';
import type { LogFormat } from './options.ts';
import { blkEntry } from './serve-blk.ts';
import { consoleEntry } from './serve-console.ts';
import { fsEntry } from './serve-fs.ts';
import { rngEntry } from './serve-rng.ts';
import { vsockEntry } from './serve-vsock.ts';
import { openLog, serve } from './serve.ts';
import type { ServeEntry } from './serve.ts';
import { InheritedSockets, resolveAddress } from './socket-address.ts';

/** Serves a configuration and returns the exit code. */
export async function serveConfig(
  config: Config,
  log: { readonly level: LogLevel; readonly format: LogFormat },
): Promise<number> {
  const entries = configEntries(config.devices, 'vhost-user run --help');
  const ownsTerminal = entries.some((entry) => entry.ownsTerminal === true);
  return await serve(entries, openLog(log.level, log.format, ownsTerminal));
}

/** The devices of a configuration as something to be served; its guests are in one network. */
export function configEntries(devices: readonly DeviceConfig[], help: string): ServeEntry[] {
  const inherited = new InheritedSockets();
  const network = new VsockNetwork();
  return devices.map((device) => {
    const address = resolveAddress(device.socket, inherited, help);
    switch (device.type) {
      case 'blk':
        return blkEntry(device.name, device.options, address);
      case 'fs':
        return fsEntry(device.name, device.choices, address);
      case 'vsock':
        return vsockEntry(device.name, device.choices, address, network);
      case 'rng':
        return rngEntry(device.name, device.choices, address);
      case 'console':
        return consoleEntry(device.name, device.choices, address);
    }
  });
}
