/**
 * Where a connection of the guest to a port of the host goes.
 *
 * @module
 */
import { isIP } from 'node:net';
import type { SocketAddress } from '../../sys/index.ts';
import { VSOCK_CID } from './layout.ts';
import type { VsockForward, VsockTarget } from './options.ts';

/** An address to connect to; or a name that has to be looked up first. */
export type Target =
  | { readonly kind: 'address'; readonly address: SocketAddress }
  | { readonly kind: 'name'; readonly host: string; readonly port: number };

const TCP_PORT_MAX = 65_535;

/** See the module. */
export class Targets {
  readonly #exact = new Map<number, VsockTarget>();
  readonly #any: VsockTarget | null = null;
  readonly #udsPath: string;

  /** The first of the forwards that fits is taken, one that names the port before one for all. */
  constructor(forwards: readonly VsockForward[], udsPath: string) {
    this.#udsPath = udsPath;
    for (const { guestPort, target } of forwards) {
      if (guestPort === '*') this.#any ??= target;
      else if (!this.#exact.has(guestPort)) this.#exact.set(guestPort, target);
    }
  }

  /** The target of a port, or null when there is none. */
  find(port: number): Target | null {
    const target = this.#exact.get(port) ?? this.#any;
    if (target !== null) return place(target, port);
    if (this.#udsPath === '') return null;
    const path = `${this.#udsPath}_${String(port)}`;
    return { kind: 'address', address: { family: 'unix', path } };
  }
}

function place(target: VsockTarget, guestPort: number): Target | null {
  if (target.kind === 'unix') {
    return { kind: 'address', address: { family: 'unix', path: target.path } };
  }
  const port = target.port ?? guestPort;
  if (target.kind === 'vsock') {
    const { cid = VSOCK_CID.local } = target;
    return { kind: 'address', address: { family: 'vsock', cid, port } };
  }
  if (port > TCP_PORT_MAX || port === 0) return null;
  const { host } = target;
  if (isIP(host) === 0) return { kind: 'name', host, port };
  return { kind: 'address', address: { family: 'inet', host, port } };
}
