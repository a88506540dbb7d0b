/**
 * A guest's vsock as something to be served: from options of the command line, or from a
 * configuration file.
 *
 * @module
 */
import type { BackendAddress } from '../backend/index.ts';
import { VsockNetwork, openVsock } from '../devices/vsock/index.ts';
import type { VsockListen } from '../devices/vsock/index.ts';
import { host } from '../sys/index.ts';
import type { VsockCommandOptions } from './commands/vsock.ts';
import { oneLine } from './format.ts';
import { qemuHost, qemuVsockLines } from './qemu.ts';
import { openLog, serve } from './serve.ts';
import type { ServeEntry } from './serve.ts';
import { InheritedSockets, commandSocket, resolveAddress } from './socket-address.ts';
import { GUEST_CID, forwardsOf, listensOf, vsockOptions } from './vsock-settings.ts';
import type { VsockChoices } from './vsock-settings.ts';
import { forwardText, listenText } from './vsock-text.ts';
import type { VsockVm } from './vsock-vms.ts';

/** Rules that are told in the log. */
const RULES_SHOWN_MAX = 4;

/** Serves one guest and returns the exit code. */
export async function serveGuest(options: VsockCommandOptions, help: string): Promise<number> {
  const address = resolveAddress(commandSocket(options), new InheritedSockets(), help);
  const entry = vsockEntry('vsock', options, address, new VsockNetwork());
  return await serve([entry], openLog(options.logLevel, options.logFormat));
}

/** Serves several guests, which reach each other, and returns the exit code. */
export async function serveGuests(
  vms: readonly VsockVm[],
  options: VsockCommandOptions,
  help: string,
): Promise<number> {
  const inherited = new InheritedSockets();
  const network = new VsockNetwork();
  const entries = vms.map(({ name, choices, socket }) => {
    return vsockEntry(name, choices, resolveAddress(socket, inherited, help), network);
  });
  return await serve(entries, openLog(options.logLevel, options.logFormat));
}

/** A guest's vsock to be served; guests of one network reach each other. */
export function vsockEntry(
  name: string,
  choices: VsockChoices,
  address: BackendAddress,
  network: VsockNetwork,
): ServeEntry {
  const options = vsockOptions(choices);
  let listening: readonly string[] = [];
  return {
    name,
    address,
    open: () => {
      const device = openVsock(options, network);
      ({ listening } = device);
      return Promise.resolve(device);
    },
    describe: () => describeGuest(choices, listening),
    hint: () => Promise.resolve(attachHint(address, choices)),
  };
}

/** `listening`: where the device listens in fact, the path of the hybrid convention first. */
function describeGuest(choices: VsockChoices, listening: readonly string[]): string {
  const { guestCid = GUEST_CID, udsPath, groups } = choices;
  const names = udsPath === undefined ? listening : listening.slice(1);
  const rules = [
    ...(udsPath === undefined ? [] : [udsPath]),
    ...forwardsOf(choices).map(forwardText),
    ...listensOf(choices).map((each, i) => listenText(withPort(each, names[i]))),
  ].map(oneLine);
  const more = rules.length - RULES_SHOWN_MAX;
  const shown = more > 1 ? [...rules.slice(0, RULES_SHOWN_MAX), `${more} more`] : rules;
  const named = groups === undefined ? [] : [`group ${groups.map(oneLine).join('+')}`];
  return [`guest CID ${guestCid}`, ...shown, ...named].join(', ');
}

/** A listener on any free port (0) with the port that it got: programs read it in the log. */
function withPort(listen: VsockListen, name: string | undefined): VsockListen {
  const { source } = listen;
  if (source.kind !== 'tcp' || source.port !== 0 || name === undefined) return listen;
  return { ...listen, source: { ...source, port: Number(name.slice(name.lastIndexOf(':') + 1)) } };
}

function attachHint(address: BackendAddress, choices: VsockChoices): string[] {
  if (address.kind !== 'listen') return [];
  const { os, arch } = host();
  const lines = qemuVsockLines(qemuHost(os, arch), { socketPath: address.path });
  const { udsPath } = choices;
  const reach =
    udsPath === undefined
      ? []
      : [
          'and reach port 22 of the guest from this host:',
          `  vhost-user vsock-connect ${udsPath} 22`,
          '',
        ];
  return ['', 'Attach it to a guest:', `  ${lines.join(' \\\n    ')}`, '', ...reach];
}
