/**
 * The devices of `vhost-user qemu`: from its options, and from a configuration file, each with a
 * socket.
 *
 * @module
 */
import { join } from 'node:path';
import { loadConfig, parseConfig } from './config.ts';
import type { DeviceConfig } from './config.ts';
import type { DeviceType } from './config-schema.ts';
import { LIMITS } from './limits.ts';
import { attachmentOf } from './vmm/attachment.ts';
import type { Attachment } from './vmm/attachment.ts';
import { deviceCommand } from './vmm/device-command.ts';
import { VSOCK_REACH, parseDeviceText } from './vmm/device-text.ts';
import type { DeviceValues } from './vmm/device-text.ts';
import type { ServerCommand } from './vmm/shell-script.ts';

/** What is asked for. */
export interface DeviceWishes {
  /** By type, each as a text; in the order in which a guest is to find them. */
  readonly texts: readonly { readonly type: DeviceType; readonly text: string }[];
  /** A configuration file with further devices. */
  readonly config: string | undefined;
  /** Virtual processors: a disk has a queue for each, unless it says otherwise. */
  readonly cpuCount: number;
  /** Where sockets are that have no path of their own. */
  readonly folder: string;
}

/** A device with its socket. */
export interface QemuDevice {
  readonly config: DeviceConfig;
  readonly attachment: Attachment;
  /** The command that serves it alone; null for one of a file. */
  readonly command: ServerCommand | null;
  /** Where programs of this host reach the guest, when that was ours to choose. */
  readonly udsPath: string | null;
}

/** Makes the devices. @throws UsageError naming every fault; VhostUserError for a missing file */
export function qemuDevices(wishes: DeviceWishes): QemuDevice[] {
  const { texts, config, folder } = wishes;
  const names = new Names();
  const own = texts.map(({ type, text }) => {
    const id = names.next(type);
    const values = withStandards(parseDeviceText(type, text), id, wishes);
    return { id, values, title: `--${type}${text === '' ? '' : ` ${text}`}` };
  });
  const titles = own.map(({ title }) => title);
  const source = JSON.stringify({ devices: own.map(({ values }) => values) });
  const configs =
    own.length === 0
      ? []
      : parseConfig(source, 'command line', { needsSockets: false, titles }).devices;
  const ours = configs.map((each, i): QemuDevice => {
    const { id = '', values } = own[i] ?? {};
    const path = each.socket.socketPath ?? '';
    return {
      config: each,
      attachment: attachmentOf(each, id, path),
      command: values === undefined ? null : serverOf(values, id, path),
      udsPath:
        values !== undefined && isStandardUds(values, id, folder) ? udsPath(folder, id) : null,
    };
  });
  const file = config === undefined ? [] : loadConfig(config, { needsSockets: false }).devices;
  return [...ours, ...file.map((each) => fileDevice(each, names.next(each.type), folder))];
}

/** The last sockets' names are of this form, for `SocketFolder` to know how long they become. */
function socketPath(folder: string, id: string): string {
  return join(folder, `${id}.sock`);
}

function udsPath(folder: string, id: string): string {
  return join(folder, `${id}.vsock`);
}

function fileDevice(device: DeviceConfig, id: string, folder: string): QemuDevice {
  const path = device.socket.socketPath ?? socketPath(folder, id);
  const config = { ...device, socket: { ...device.socket, socketPath: path } };
  return { config, attachment: attachmentOf(config, id, path), command: null, udsPath: null };
}

/** `blk0`, `blk1`, `fs0`: a guest finds devices of a type in this order. */
class Names {
  readonly #counts = new Map<DeviceType, number>();

  next(type: DeviceType): string {
    const count = this.#counts.get(type) ?? 0;
    this.#counts.set(type, count + 1);
    return `${type}${count}`;
  }
}

/** What the device has that nobody has said: a name, a socket, queues, a way to the guest. */
function withStandards(values: DeviceValues, id: string, wishes: DeviceWishes): DeviceValues {
  const { folder, cpuCount } = wishes;
  const isAlone = values.type === 'vsock' && VSOCK_REACH.every((key) => values[key] === undefined);
  const queues = Math.min(cpuCount, LIMITS.queueCount.max);
  return {
    name: id,
    'socket-path': socketPath(folder, id),
    ...(values.type === 'blk' && queues > 1 && { 'num-queues': queues }),
    ...(isAlone && { 'uds-path': udsPath(folder, id) }),
    ...values,
  };
}

function isStandardUds(values: DeviceValues, id: string, folder: string): boolean {
  return values['uds-path'] === udsPath(folder, id);
}

function serverOf(values: DeviceValues, title: string, path: string): ServerCommand {
  return { title, words: deviceCommand(values), socketPaths: [path] };
}
