/**
 * A vsock as an operator asks for it: what the options of the command, the values of `--vm` and the
 * settings of configuration files have in common.
 *
 * @module
 */
import { resolve } from 'node:path';
import type { VsockForward, VsockListen, VsockOptions } from '../devices/vsock/index.ts';
import { groupId } from './groups.ts';
import type { SocketSettings } from './socket-address.ts';
import { listenText } from './vsock-text.ts';

/** The guest that vhost-device-vsock serves when it is told no other. */
export const GUEST_CID = 3;

/** The group of guests that are told no other, as in vhost-device-vsock. */
export const GROUP = 'default';

/** All that can be chosen, by commander's names. */
export interface VsockChoices {
  readonly guestCid?: number | undefined;
  readonly udsPath?: string | undefined;
  readonly udsMode?: number | undefined;
  readonly udsGroup?: string | undefined;
  readonly forward?: readonly VsockForward[] | undefined;
  readonly listen?: readonly VsockListen[] | undefined;
  readonly forwardCid?: number | undefined;
  readonly forwardListen?: readonly number[] | undefined;
  readonly groups?: readonly string[] | undefined;
  readonly txBufferSize?: number | undefined;
  readonly maxConnections?: number | undefined;
  readonly queueSize?: number | undefined;
  readonly pollUs?: number | undefined;
  readonly seqpacket?: boolean | undefined;
}

/** Something that does not go together: the option without its dashes, and why. */
export interface VsockFault {
  readonly key: string;
  readonly text: string;
}

/** What does not go together in one guest's choices. */
export function vsockFaults(choices: VsockChoices, socketPath: string | undefined): VsockFault[] {
  const faults: VsockFault[] = [];
  const { udsPath, forwardCid, forwardListen, udsMode, udsGroup } = choices;
  if (udsPath !== undefined && forwardCid !== undefined) {
    const text =
      'takes every connection of the guest, so that uds-path would get none: give one of them, ' +
      'or single ports by forward';
    faults.push({ key: 'forward-cid', text });
  }
  if (forwardListen !== undefined && forwardCid === undefined) {
    const text = 'goes with forward-cid: write listen vsock:PORT=guest:PORT without it';
    faults.push({ key: 'forward-listen', text });
  }
  if (
    udsPath !== undefined &&
    socketPath !== undefined &&
    resolve(udsPath) === resolve(socketPath)
  ) {
    const text =
      'is the socket for the front-end, too: programs of this host need one of their own, such ' +
      `as ${udsPath}.vsock`;
    faults.push({ key: 'uds-path', text });
  }
  const makesFiles =
    udsPath !== undefined || (choices.listen ?? []).some(({ source }) => source.kind === 'unix');
  for (const [key, value] of [
    ['uds-mode', udsMode],
    ['uds-group', udsGroup],
  ] as const) {
    if (value !== undefined && !makesFiles) {
      faults.push({ key, text: 'is for the sockets of uds-path and listen, and there are none' });
    }
  }
  const ports = (choices.forward ?? []).map(({ guestPort }) => String(guestPort));
  const port = ports.find((each, i) => ports.indexOf(each) < i);
  if (port !== undefined) faults.push({ key: 'forward', text: `guest:${port} is there twice` });
  const listens = placesOf(choices);
  const twice = listens.find((each, i) => listens.indexOf(each) < i);
  if (twice !== undefined) faults.push({ key: 'listen', text: `${twice} is there twice` });
  return faults;
}

/** Where a guest listens, in words; a port that is any free one is another each time. */
function placesOf(choices: VsockChoices): string[] {
  return listensOf(choices)
    .filter(({ source }) => source.kind !== 'tcp' || source.port !== 0)
    .map((each) => listenText(each).replace(/=[^=]*$/, ''));
}

/** Whether anything but another guest can be reached; what to say when nothing can. */
export function reachFault(choices: VsockChoices, dashes: string = ''): string | null {
  const { udsPath, forward = [], listen = [], forwardCid } = choices;
  if (udsPath !== undefined || forwardCid !== undefined) return null;
  if (forward.length + listen.length > 0) return null;
  return (
    `how do guest and host reach each other? Give ${dashes}uds-path PATH for programs of this ` +
    `host, or ports by ${dashes}forward guest:PORT=tcp:HOST:PORT and ` +
    `${dashes}listen tcp:HOST:PORT=guest:PORT`
  );
}

/** Two guests of one process that do not go together: which, what of the second, and why. */
export interface PairFault extends VsockFault {
  readonly first: number;
  readonly second: number;
}

/** What two guests may not have in common; where one listens twice is a fault, too. */
export function pairFaults(
  vms: readonly { readonly choices: VsockChoices; readonly socket: SocketSettings }[],
): PairFault[] {
  const faults: PairFault[] = [];
  const taken = new Map<string, number>();
  vms.forEach(({ choices: vm, socket }, second) => {
    const places: [key: string, text: string][] = [['guest-cid', String(vm.guestCid ?? GUEST_CID)]];
    if (socket.socketPath !== undefined) places.push(['socket', resolve(socket.socketPath)]);
    if (vm.udsPath !== undefined) places.push(['uds-path', resolve(vm.udsPath)]);
    for (const place of placesOf(vm)) places.push(['listen', place]);
    for (const [key, text] of places) {
      const first = taken.get(`${key} ${text}`) ?? second;
      if (first < second) faults.push({ key, text: `${text} is another guest's`, first, second });
      else taken.set(`${key} ${text}`, second);
    }
  });
  return faults;
}

/** The options of the device. @throws UsageError for a group of this host that does not exist */
export function vsockOptions(choices: VsockChoices): VsockOptions {
  const { udsPath, udsMode, udsGroup, groups, txBufferSize, maxConnections } = choices;
  const { queueSize, pollUs, seqpacket } = choices;
  // Whoever names a group wants it to use the socket, as for the front-end's.
  const socketMode = udsMode ?? (udsGroup === undefined ? undefined : GROUP_MODE);
  return {
    guestCid: choices.guestCid ?? GUEST_CID,
    forwards: forwardsOf(choices),
    listens: listensOf(choices),
    groups: groups ?? [GROUP],
    ...(udsPath !== undefined && { udsPath }),
    ...(socketMode !== undefined && { socketMode }),
    ...(udsGroup !== undefined && { socketGroup: groupId(udsGroup) }),
    ...(txBufferSize !== undefined && { txBufferBytes: txBufferSize }),
    ...(maxConnections !== undefined && { connectionsMax: maxConnections }),
    ...(queueSize !== undefined && { queueSize }),
    ...(pollUs !== undefined && { pollUs }),
    // True where the host has it.
    ...(seqpacket === false && { seqpacket }),
  };
}

const GROUP_MODE = 0o660;

/** Where connections of the guest go: single ports first. */
export function forwardsOf({ forward = [], forwardCid }: VsockChoices): VsockForward[] {
  const single = forward.filter(({ guestPort }) => guestPort !== '*');
  const all = forward.filter(({ guestPort }) => guestPort === '*');
  if (forwardCid === undefined) return [...single, ...all];
  return [...single, ...all, { guestPort: '*', target: { kind: 'vsock', cid: forwardCid } }];
}

/** Where connections to the guest come from. */
export function listensOf({ listen = [], forwardListen = [] }: VsockChoices): VsockListen[] {
  const ports = forwardListen.map((port): VsockListen => {
    return { source: { kind: 'vsock', port }, guestPort: port };
  });
  return [...listen, ...ports];
}

/** The same choices with paths that begin at a folder. */
export function inFolder(choices: VsockChoices, folder: string): VsockChoices {
  const { udsPath, forward, listen } = choices;
  return {
    ...choices,
    udsPath: udsPath === undefined ? undefined : resolve(folder, udsPath),
    forward: forward?.map((each) => {
      if (each.target.kind !== 'unix') return each;
      return { ...each, target: { ...each.target, path: resolve(folder, each.target.path) } };
    }),
    listen: listen?.map((each) => {
      if (each.source.kind !== 'unix') return each;
      return { ...each, source: { ...each.source, path: resolve(folder, each.source.path) } };
    }),
  };
}
