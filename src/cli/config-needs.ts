/**
 * What the devices of a configuration need of this host.
 *
 * @module
 */
import type { SandboxNeeds } from '../sys/sandbox/index.ts';
import type { Config, DeviceConfig } from './config.ts';
import {
  blkNeeds,
  consoleNeeds,
  fsNeeds,
  rngNeeds,
  socketNeeds,
  vsockNeeds,
} from './sandbox-needs.ts';

/** Device by device. */
export function configNeeds({ devices }: Config): SandboxNeeds[] {
  return devices.flatMap((device) => [deviceNeeds(device), socketNeeds(device.socket)]);
}

function deviceNeeds(device: DeviceConfig): SandboxNeeds {
  switch (device.type) {
    case 'blk':
      return blkNeeds(device.options.image, device.options.readOnly === true);
    case 'fs':
      return fsNeeds(device.choices);
    case 'vsock':
      return vsockNeeds(device.choices);
    case 'rng':
      return rngNeeds(device.choices);
    case 'console':
      return consoleNeeds(device.choices);
  }
}
