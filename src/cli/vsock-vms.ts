/**
 * Guests as vhost-device-vsock takes them: `--vm guest-cid=4,socket=…,uds-path=…`, and a file with
 * a list of `vms`. One table of keys reads both.
 *
 * @module
 */
import type { VsockForward, VsockListen } from '../devices/vsock/index.ts';
import { LIMITS, parseMode, parseSize } from './limits.ts';
import type { SocketSettings } from './socket-address.ts';
import { GUEST_CID } from './vsock-settings.ts';
import type { VsockChoices } from './vsock-settings.ts';
import {
  TextFault,
  number,
  parseForward,
  parseGroups,
  parseListen,
  parsePorts,
} from './vsock-text.ts';

/** A guest among others. */
export interface VsockVm {
  /** What the log calls it. */
  readonly name: string;
  readonly choices: VsockChoices;
  readonly socket: SocketSettings;
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

/** A guest of which not all keys have been read. */
interface Draft {
  readonly choices: Mutable<Omit<VsockChoices, 'forward' | 'listen'>>;
  readonly forward: VsockForward[];
  readonly listen: VsockListen[];
  readonly socket: Mutable<SocketSettings>;
  name?: string;
}

type ReadKey = (draft: Draft, text: string) => void;

/** Keys that may come several times. */
const REPEATABLE: readonly string[] = ['forward', 'listen'];

const socketPath: ReadKey = ({ socket }, text) => {
  if (socket.socketPath !== undefined)
    throw new TextFault('socket and socket-path are one setting');
  socket.socketPath = filled(text);
};

/** By its name, with dashes. */
const KEYS: Readonly<Record<string, ReadKey>> = {
  'guest-cid': ({ choices }, text) => {
    choices.guestCid = number(text, LIMITS.guestCid, `'${text}'`);
  },
  socket: socketPath,
  'socket-path': socketPath,
  'socket-mode': ({ socket }, text) => {
    socket.mode = mode(text);
  },
  'socket-group': ({ socket }, text) => {
    socket.group = filled(text);
  },
  fd: ({ socket }, text) => {
    socket.fd = number(text, LIMITS.fd, `'${text}'`);
  },
  'uds-path': ({ choices }, text) => {
    choices.udsPath = filled(text);
  },
  'uds-mode': ({ choices }, text) => {
    choices.udsMode = mode(text);
  },
  'uds-group': ({ choices }, text) => {
    choices.udsGroup = filled(text);
  },
  forward: ({ forward }, text) => {
    forward.push(parseForward(text));
  },
  listen: ({ listen }, text) => {
    listen.push(parseListen(text));
  },
  'forward-cid': ({ choices }, text) => {
    choices.forwardCid = number(text, LIMITS.vsockPort, `'${text}'`);
  },
  'forward-listen': ({ choices }, text) => {
    choices.forwardListen = parsePorts(text);
  },
  groups: ({ choices }, text) => {
    choices.groups = parseGroups(text);
  },
  'tx-buffer-size': ({ choices }, text) => {
    choices.txBufferSize = bufferSize(text);
  },
  'max-connections': ({ choices }, text) => {
    choices.maxConnections = number(text, LIMITS.connections, `'${text}'`);
  },
  'queue-size': ({ choices }, text) => {
    choices.queueSize = number(text, LIMITS.queueSize, `'${text}'`);
  },
  'poll-us': ({ choices }, text) => {
    choices.pollUs = number(text, LIMITS.pollUs, `'${text}'`);
  },
  seqpacket: ({ choices }, text) => {
    if (text !== 'true' && text !== 'false')
      throw new TextFault(`'${text}' is neither true nor false`);
    choices.seqpacket = text === 'true';
  },
  name: (draft, text) => {
    draft.name = filled(text);
  },
};

/** The keys of a guest. */
export const VM_KEYS: readonly string[] = Object.keys(KEYS);

/** Puts a guest together, key by key. */
export class VmReader {
  readonly #draft: Draft = { choices: {}, forward: [], listen: [], socket: {} };
  readonly #seen = new Set<string>();

  /** Reads the value of a key, in which `_` is as good as `-`. @throws TextFault */
  read(name: string, text: string): void {
    const key = name.replaceAll('_', '-');
    const readKey = Object.hasOwn(KEYS, key) ? KEYS[key] : undefined;
    if (readKey === undefined) {
      throw new TextFault(`there is no key '${name}'; there are ${VM_KEYS.join(', ')}`);
    }
    if (this.#seen.has(key) && !REPEATABLE.includes(key)) {
      throw new TextFault(`${key} is there twice`);
    }
    this.#seen.add(key);
    try {
      readKey(this.#draft, text);
    } catch (error) {
      if (!(error instanceof TextFault)) throw error;
      throw new TextFault(`${key}: ${error.message}`);
    }
  }

  /** The guest. @throws TextFault when it does not say where its front-end is met */
  finish(): VsockVm {
    const { choices, forward, listen, socket, name } = this.#draft;
    if ((socket.socketPath === undefined) === (socket.fd === undefined)) {
      const both = socket.fd === undefined ? 'there is none' : 'there are both';
      throw new TextFault(`one of socket and fd is needed, where QEMU connects, and ${both}`);
    }
    return {
      name: name ?? `vm${choices.guestCid ?? GUEST_CID}`,
      choices: { ...choices, forward, listen },
      socket,
    };
  }
}

/**
 * Reads `guest-cid=4,socket=/tmp/vhost4.sock,uds-path=/tmp/vm4.vsock`. A comma of a value is
 * written twice, as for QEMU.
 *
 * @throws TextFault
 */
export function parseVm(text: string): VsockVm {
  const reader = new VmReader();
  const parts = text.trim().replaceAll(',,', '\0').split(',');
  for (const part of parts.map((each) => each.replaceAll('\0', ','))) {
    const at = part.indexOf('=');
    if (at < 0)
      throw new TextFault(`'${part}' has no '=': settings are written KEY=VALUE,KEY=VALUE`);
    reader.read(part.slice(0, at).trim(), part.slice(at + 1).trim());
  }
  return reader.finish();
}

/** The size of a buffer: a number of bytes, or such as `64K`. @throws TextFault */
export function bufferSize(text: string): number {
  const bytes = parseSize(text);
  const { min, max } = LIMITS.txBuffer;
  if (bytes !== null && bytes >= min && bytes <= max) return bytes;
  throw new TextFault(
    `'${text}' is not within 4K and 16M: write a number of bytes, or such as 64K`,
  );
}

function filled(text: string): string {
  if (text === '') throw new TextFault('it is empty');
  return text;
}

function mode(text: string): number {
  const value = parseMode(text);
  if (value === null) throw new TextFault(`'${text}' is not octal, such as 660`);
  return value;
}
