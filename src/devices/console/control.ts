/**
 * The control queues of a console with several ports (virtio 1.3, section 5.3.6.2): device and
 * driver tell each other which ports there are, what they are, and who has them open.
 *
 * What the driver still has to be told is kept as one bit for each kind of message and port, so a
 * driver that asks without end gets no list that grows.
 *
 * @module
 */
import type { LogLevel } from '../../backend/index.ts';
import type { Chain, Virtqueue } from '../../virtqueue/index.ts';
import { CONTROL, RESIZE_BYTES, VIRTIO_CONSOLE } from './layout.ts';
import { NAME_BYTES_MAX } from './options.ts';
import type { ResizeOrder } from './options.ts';
import type { ConsolePort } from './port.ts';

/** What is to be told of a port, in this order. */
const PENDING = { ADD: 1, CONSOLE: 2, NAME: 4, OPEN: 8, RESIZE: 16 } as const;

/** What the driver has said of a port. */
const UNKNOWN = 0;
const ADDED = 1; // we have told the driver of it
const READY = 2; // and the driver has it

/** What control messages need of the device. */
export interface ControlHost {
  flush(): void;
  log(level: LogLevel, text: string): void;
  countFault(): void;
}

/** See the module. */
export class ControlPlane {
  readonly #ports: readonly ConsolePort[];
  readonly #host: ControlHost;
  readonly #resizeOrder: ResizeOrder;
  readonly #pending: Uint8Array;
  readonly #state: Uint8Array;
  readonly #message = new Uint8Array(CONTROL.SIZE + NAME_BYTES_MAX);
  readonly #view: DataView = new DataView(this.#message.buffer);
  /** SIZE was negotiated. */
  hasSize = false;

  constructor(ports: readonly ConsolePort[], resizeOrder: ResizeOrder, host: ControlHost) {
    this.#ports = ports;
    this.#host = host;
    this.#resizeOrder = resizeOrder;
    this.#pending = new Uint8Array(ports.length);
    this.#state = new Uint8Array(ports.length);
  }

  /** The driver was reset: it knows nothing. */
  reset(): void {
    this.#pending.fill(0);
    this.#state.fill(UNKNOWN);
  }

  /**
   * The driver goes on with rings that it began with another process, or in another session: it
   * says nothing by itself. Ports that we add once more it has already, and says so; which of them
   * are open it does not tell, so they are taken to be.
   */
  resume(): void {
    if (this.#state.some((state) => state !== UNKNOWN)) return;
    this.#pending.fill(PENDING.ADD);
    for (const port of this.#ports) port.guestListens = true;
    this.#host.flush();
  }

  /** Whether there is nothing to tell. */
  get receiveFull(): boolean {
    return this.#nextPort() < 0;
  }

  /** Somebody came to a port's end, or nobody is there any more. */
  attachedChanged(port: ConsolePort): void {
    this.#tell(port, PENDING.OPEN);
  }

  /** A port has another size. */
  resized(port: ConsolePort): void {
    if (port.isConsole && this.hasSize) this.#tell(port, PENDING.RESIZE);
  }

  /** Gives messages to the driver; returns the chains taken. */
  serveReceive(queue: Virtqueue, budget: number): number {
    let taken = 0;
    for (; taken < budget; taken++) {
      const id = this.#nextPort();
      if (id < 0) break;
      const chain = queue.pop();
      if (chain === null) break;
      const length = this.#write(id);
      const fits = chain.writableBytes >= length;
      if (!fits) this.#host.countFault();
      const written = fits ? chain.copyToWritable(0, this.#message.subarray(0, length)) : 0;
      queue.push(chain, written);
    }
    return taken;
  }

  /** Takes messages of the driver; returns the chains taken. */
  serveTransmit(queue: Virtqueue, budget: number): number {
    let taken = 0;
    for (; taken < budget; taken++) {
      const chain = queue.pop();
      if (chain === null) break;
      if (!this.#take(chain)) this.#host.countFault();
      queue.push(chain, 0);
    }
    return taken;
  }

  /** Carries out one message; false when it means nothing. */
  #take(chain: Chain): boolean {
    if (chain.readableBytes < CONTROL.SIZE) return false;
    const id = chain.readableU32(CONTROL.id);
    const event = chain.readableU16(CONTROL.event);
    const value = chain.readableU16(CONTROL.value);
    if (event === VIRTIO_CONSOLE.DEVICE_READY) {
      this.#deviceReady(value);
      return true;
    }
    const port = this.#ports[id];
    if (port === undefined || this.#state[id] === UNKNOWN) return false;
    if (event === VIRTIO_CONSOLE.PORT_READY) this.#portReady(port, value);
    else if (event === VIRTIO_CONSOLE.PORT_OPEN) this.#portOpen(port, value);
    else return false;
    return true;
  }

  #deviceReady(value: number): void {
    this.reset();
    for (const port of this.#ports) port.reset();
    if (value === 1) this.#pending.fill(PENDING.ADD);
    else this.#host.log('warn', 'the guest could not initialise the device');
  }

  #portReady(port: ConsolePort, value: number): void {
    if (value !== 1) {
      this.#state[port.id] = ADDED;
      this.#host.log('warn', `the guest could not add port ${String(port.id)}`);
      return;
    }
    this.#state[port.id] = READY;
    let pending: number = PENDING.OPEN;
    if (port.isConsole) pending |= PENDING.CONSOLE;
    if (port.isConsole && this.hasSize && port.columns > 0) pending |= PENDING.RESIZE;
    if (port.name !== '') pending |= PENDING.NAME;
    this.#tell(port, pending);
  }

  #portOpen(port: ConsolePort, value: number): void {
    port.guestListens = value !== 0;
    this.#host.flush();
  }

  #tell(port: ConsolePort, pending: number): void {
    if (this.#state[port.id] !== READY) return;
    this.#pending[port.id] = (this.#pending[port.id] as number) | pending;
    this.#host.flush();
  }

  #nextPort(): number {
    for (let id = 0; id < this.#pending.length; id++) if (this.#pending[id] !== 0) return id;
    return -1;
  }

  /** Writes the next message of a port; returns its length. */
  #write(id: number): number {
    const pending = this.#pending[id] as number;
    const bit = pending & -pending; // the lowest one
    this.#pending[id] = pending & ~bit;
    const port = this.#ports[id] as ConsolePort;
    switch (bit) {
      case PENDING.ADD:
        this.#state[id] = ADDED;
        return this.#header(id, VIRTIO_CONSOLE.DEVICE_ADD, 1);
      case PENDING.CONSOLE:
        return this.#header(id, VIRTIO_CONSOLE.CONSOLE_PORT, 1);
      case PENDING.NAME: {
        const { written } = new TextEncoder().encodeInto(
          port.name,
          this.#message.subarray(CONTROL.SIZE),
        );
        return this.#header(id, VIRTIO_CONSOLE.PORT_NAME, 1) + written;
      }
      case PENDING.OPEN: {
        // A console is there whether somebody looks at it or not.
        const open = port.isConsole || port.attached;
        return this.#header(id, VIRTIO_CONSOLE.PORT_OPEN, open ? 1 : 0);
      }
      default:
        return this.#resize(id, port);
    }
  }

  #resize(id: number, port: ConsolePort): number {
    const length = this.#header(id, VIRTIO_CONSOLE.RESIZE, 0);
    const rowsFirst = this.#resizeOrder === 'rows';
    this.#view.setUint16(length, rowsFirst ? port.rows : port.columns, true);
    this.#view.setUint16(length + 2, rowsFirst ? port.columns : port.rows, true);
    return length + RESIZE_BYTES;
  }

  #header(id: number, event: number, value: number): number {
    this.#view.setUint32(CONTROL.id, id, true);
    this.#view.setUint16(CONTROL.event, event, true);
    this.#view.setUint16(CONTROL.value, value, true);
    return CONTROL.SIZE;
  }
}
