/**
 * The host's side of connections while they are being made, whoever makes them.
 *
 * @module
 */
import { ERRNO } from '../../sys/index.ts';
import type { DataPlaneContext } from '../../backend/index.ts';
import { Accepting } from './accepting.ts';
import { FLAG, STATE } from './connections.ts';
import { Dialling } from './dialling.ts';
import type { Flows } from './flows.ts';
import type { LimitedLog } from './limited-log.ts';
import type { VsockControl, VsockPlaneOptions } from './plan.ts';

const EMSGSIZE = -(ERRNO.EMSGSIZE as number);
const ENOBUFS = -(ERRNO.ENOBUFS as number);
const ENOMEM = -(ERRNO.ENOMEM as number);

/** See the module. */
export class HostSide {
  readonly #flows: Flows;
  readonly #log: LimitedLog;
  /** What the guest begins. */
  readonly dialling: Dialling;
  /** What the host begins. */
  readonly accepting: Accepting;

  constructor(
    flows: Flows,
    context: DataPlaneContext,
    options: VsockPlaneOptions,
    log: LimitedLog,
  ) {
    this.#flows = flows;
    this.#log = log;
    this.dialling = new Dialling(flows, context, options, log);
    this.accepting = new Accepting(flows, context, options, log);
  }

  /** The device tells something. */
  told(message: Exclude<VsockControl, { kind: 'gone' }>): void {
    if (message.kind === 'call') this.accepting.called(message.call);
    else this.dialling.resolved(message);
  }

  /** Something happened to the host's side of a connection that is not established. */
  onSetUp(slot: number, events: number): void {
    const state = this.#flows.table.state[slot];
    if (state === STATE.greeting) this.accepting.greet(slot);
    else if (state === STATE.connecting) this.dialling.onSetUp(slot, events);
  }

  /** An established connection failed on the host's side. */
  failed(slot: number, errno: number): void {
    const { table } = this.#flows;
    // AF_VSOCK says ENOMEM to a message that its program has too small a buffer for.
    if (errno === EMSGSIZE || (errno === ENOMEM && table.has(slot, FLAG.hostVsock))) {
      this.#log.once(
        'warn',
        'message',
        `guest port ${String(table.guestPort[slot])}, port ${String(table.peerPort[slot])}: a ` +
          'message is longer than the other side takes at once: the connection is reset',
      );
    }
    if (errno === ENOBUFS && table.has(slot, FLAG.hostVsock)) {
      this.#log.once(
        'warn',
        'torn message',
        `guest port ${String(table.guestPort[slot])}, port ${String(table.peerPort[slot])}: ` +
          "this host's AF_VSOCK took a part of a message, since its program is behind with " +
          'reading: the connection is reset; a Unix socket keeps messages whole',
      );
    }
    this.#flows.ends.reset(slot);
  }

  /** A connection has come to its end. */
  released(slot: number): void {
    this.dialling.released(slot);
    this.accepting.released(slot);
  }

  /** Stops listening, and frees what it holds; the listeners' fds are the main thread's. */
  close(): void {
    this.dialling.close();
    this.accepting.close();
  }
}
