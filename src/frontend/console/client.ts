/**
 * A console device of any vhost-user back-end, for programs: its ports as streams.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import { FrontendSession } from '../session.ts';
import {
  CONSOLE_CONFIG,
  CONSOLE_CONTROL,
  CONSOLE_CONTROL_QUEUE,
  CONSOLE_EVENT,
  CONSOLE_FEATURE,
  consoleReceiveQueue,
} from './layout.ts';
import { ConsoleBufferQueue } from './pipe.ts';
import { ConsoleClientPort } from './port.ts';

const { SIZE, MULTIPORT, EMERG_WRITE } = CONSOLE_FEATURE;
const CONTROL_BUFFERS = { count: 16, bytes: 128 } as const;
const DEFAULTS = { queueSize: 64, bufferBytes: 4096, bufferCount: 16, waitMs: 10_000 } as const;
/** Ports beyond these are left alone. */
const PORTS_MAX = 64;

/** How a {@link ConsoleClient} is made. */
export interface ConsoleClientOptions {
  /** Entries of each queue's ring, a power of two; 64 by default. */
  readonly queueSize?: number;
  /** Buffers of each queue and their size; 16 of 4096 bytes by default. */
  readonly bufferCount?: number;
  readonly bufferBytes?: number;
  /** Features to accept, of SIZE, MULTIPORT and EMERG_WRITE; all by default. */
  readonly features?: bigint;
  /** Whether a RESIZE message has rows first, as Linux's driver reads it; true by default. */
  readonly rowsFirst?: boolean;
  /** See `FrontendSessionOptions`. */
  readonly protocolFeatures?: bigint;
  readonly replyTimeoutMs?: number;
  readonly connectWaitMs?: number;
  /** Something went wrong that does not end the session. */
  readonly onError?: (error: VhostUserError) => void;
  /** The session has ended: by an error (it still has to be closed), or null after `close`. */
  readonly onEnd?: (error: VhostUserError | null) => void;
}

/**
 * See the module.
 *
 * ```ts
 * const client = await ConsoleClient.connect('/tmp/console.sock');
 * const console0 = await client.port(0);
 * console0.write('login: ');
 * console0.on('data', (typed) => console.log(`somebody typed ${typed}`));
 * await client.close();
 * ```
 */
export class ConsoleClient {
  readonly session: FrontendSession;
  /** The ports that the device has told of, by number. */
  readonly ports: ReadonlyMap<number, ConsoleClientPort>;
  readonly #options: ConsoleClientOptions;
  readonly #ports = new Map<number, ConsoleClientPort>();
  readonly #unknown: ConsoleClientPort[] = []; // queues run, and the device has not told of them
  readonly #given = new Set<ConsoleClientPort>(); // those that somebody uses hear of errors
  readonly #messages: Uint8Array[] = []; // for the device, when there is room
  readonly #waiting = new Set<() => void>();
  #receive: ConsoleBufferQueue | null = null;
  #transmit: ConsoleBufferQueue | null = null;
  #config = { columns: 0, rows: 0, portCountMax: 1 };
  #closing: Promise<void> | null = null;

  private constructor(session: FrontendSession, options: ConsoleClientOptions) {
    this.session = session;
    this.#options = options;
    this.ports = this.#ports;
  }

  /**
   * Connects to a back-end that listens on `socketPath` and starts the device's queues.
   * @throws VhostUserError see `FrontendSession.open`
   */
  static async connect(
    socketPath: string,
    options: ConsoleClientOptions = {},
  ): Promise<ConsoleClient> {
    let client: ConsoleClient | null = null;
    const session = await FrontendSession.open({
      features: SIZE | MULTIPORT | EMERG_WRITE,
      memoryBytes: memoryBytes(options),
      ...options,
      socketPath,
      onConfigChange: () => void client?.refresh(),
      onEnd: (error) => client?.ended(error),
    });
    client = new ConsoleClient(session, options);
    try {
      await client.#start();
      return client;
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  /** Whether there are control messages, and so several ports. */
  get multiport(): boolean {
    return (this.session.features & MULTIPORT) !== 0n;
  }

  /** Ports that the device may have. */
  get portCountMax(): number {
    return this.#config.portCountMax;
  }

  /** The size of port 0 by the configuration space; 0 by 0 when the device does not know. */
  get size(): { readonly columns: number; readonly rows: number } {
    return this.#config;
  }

  /**
   * A port by number or name, once the device has told of it; it is open then. As any stream it
   * emits `error`, when the session ends by one.
   * @throws VhostUserError `ERR_VHU_CONSOLE_PORT` when there is none after `waitMs`
   */
  async port(which: number | string, waitMs: number = DEFAULTS.waitMs): Promise<ConsoleClientPort> {
    const endMs = performance.now() + waitMs;
    for (;;) {
      for (const port of this.#ports.values()) {
        if (port.id !== which && port.portName !== which) continue;
        if (!port.guestOpen) this.#setOpen(port, true);
        this.#given.add(port);
        return port;
      }
      const restMs = endMs - performance.now();
      if (restMs <= 0 || !this.session.connected) {
        const names = [...this.#ports.values()].map((port) => port.portName || String(port.id));
        const text = `console: no port ${String(which)}; there are: ${names.join(', ') || 'none'}`;
        throw new VhostUserError('ERR_VHU_CONSOLE_PORT', text);
      }
      await this.#change(restMs);
    }
  }

  /** Writes a character without a queue, as a guest does that cannot go on (section 5.3.4). */
  async emergencyWrite(byte: number): Promise<void> {
    await this.session.writeConfig(CONSOLE_CONFIG.emergWr, Uint8Array.of(byte, 0, 0, 0));
  }

  /** Reads the configuration space again, as happens when the device says that it has changed. */
  async refresh(): Promise<void> {
    try {
      await this.#readConfig();
    } catch (error) {
      if (this.session.connected) this.#options.onError?.(error as VhostUserError);
    }
  }

  /** Ends the session. What was written and not taken is lost: `end()` the ports before. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** @internal */
  ended(error: VhostUserError | null): void {
    for (const port of [...this.#ports.values(), ...this.#unknown]) {
      port.guestOpen = false; // nobody is there to be told
      port.destroy(this.#given.has(port) ? (error ?? undefined) : undefined);
    }
    for (const told of [...this.#waiting]) told();
    this.#options.onEnd?.(error);
  }

  async #close(): Promise<void> {
    for (const port of [...this.#ports.values(), ...this.#unknown]) {
      port.guestOpen = false;
      port.destroy();
    }
    await this.session.close();
  }

  async #start(): Promise<void> {
    const { session } = this;
    await this.#readConfig();
    const fits = Math.floor((session.queueCountMax - 2) / 2);
    const count = this.multiport ? Math.min(this.portCountMax, fits, PORTS_MAX) : 1;
    const size = this.#options.queueSize ?? DEFAULTS.queueSize;
    for (let id = 0; id < count; id++) this.#unknown.push(await this.#startPort(id));
    if (!this.multiport) {
      const [only] = this.#unknown.splice(0);
      if (only === undefined) return;
      Object.assign(only, { isConsole: true, guestOpen: true, hostOpen: true, ...this.size });
      this.#ports.set(only.id, only);
      only.begin();
      return;
    }
    const { receive, transmit } = CONSOLE_CONTROL_QUEUE;
    this.#receive = await ConsoleBufferQueue.start(session, receive, size, CONTROL_BUFFERS);
    this.#transmit = await ConsoleBufferQueue.start(session, transmit, size, CONTROL_BUFFERS);
    this.#receive.queue.watchCalls(() => this.#takeMessages());
    this.#transmit.queue.watchCalls(() => this.#sendMessages());
    this.#receive.offer();
    this.#takeMessages();
    this.send(0xffff_ffff, CONSOLE_EVENT.DEVICE_READY, 1);
  }

  async #startPort(id: number): Promise<ConsoleClientPort> {
    const { queueSize: size = DEFAULTS.queueSize } = this.#options;
    const buffers = buffersOf(this.#options);
    const index = consoleReceiveQueue(id);
    const receive = await ConsoleBufferQueue.start(this.session, index, size, buffers);
    const transmit = await ConsoleBufferQueue.start(this.session, index + 1, size, buffers);
    return new ConsoleClientPort(id, receive, transmit, {
      setOpen: (port, open) => this.#setOpen(port, open),
    });
  }

  async #readConfig(): Promise<void> {
    const bytes = await this.session.readConfig(0, CONSOLE_CONFIG.SIZE);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#config = {
      columns: view.getUint16(CONSOLE_CONFIG.cols, true),
      rows: view.getUint16(CONSOLE_CONFIG.rows, true),
      portCountMax: view.getUint32(CONSOLE_CONFIG.maxNrPorts, true),
    };
    if (this.multiport) return;
    const only = this.#ports.get(0);
    if (only !== undefined) this.#resize(only, this.#config.columns, this.#config.rows);
  }

  #setOpen(port: ConsoleClientPort, open: boolean): void {
    if (!this.multiport) return;
    port.guestOpen = open;
    this.send(port.id, CONSOLE_EVENT.PORT_OPEN, open ? 1 : 0);
  }

  /** Sends a control message of any kind; for tests of a device, too. */
  send(id: number, event: number, value: number): void {
    const bytes = new Uint8Array(CONSOLE_CONTROL.SIZE);
    const view = new DataView(bytes.buffer);
    view.setUint32(CONSOLE_CONTROL.id, id, true);
    view.setUint16(CONSOLE_CONTROL.event, event, true);
    view.setUint16(CONSOLE_CONTROL.value, value, true);
    this.#messages.push(bytes);
    this.#sendMessages();
  }

  #sendMessages(): void {
    const transmit = this.#transmit;
    if (transmit === null || !this.session.connected) return;
    do {
      transmit.reclaim();
      while (transmit.hasRoom) {
        const next = this.#messages.shift();
        if (next === undefined) break;
        transmit.send(next);
      }
    } while (transmit.queue.ring.enableInterrupts() && transmit.queue.ring.fault === null);
  }

  #takeMessages(): void {
    const receive = this.#receive;
    if (receive === null) return;
    const { ring } = receive.queue;
    do {
      for (let bytes = receive.receive(); bytes !== null; bytes = receive.receive()) {
        this.#take(bytes);
      }
      receive.offer();
    } while (ring.enableInterrupts() && ring.fault === null);
    const { fault } = ring;
    if (fault !== null) this.#options.onError?.(new VhostUserError(fault.code, fault.message));
    for (const told of [...this.#waiting]) told();
  }

  #take(bytes: Uint8Array): void {
    if (bytes.length < CONSOLE_CONTROL.SIZE) return;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const id = view.getUint32(CONSOLE_CONTROL.id, true);
    const event = view.getUint16(CONSOLE_CONTROL.event, true);
    const value = view.getUint16(CONSOLE_CONTROL.value, true);
    if (event === CONSOLE_EVENT.DEVICE_ADD) {
      this.#addPort(id);
      return;
    }
    const port = this.#ports.get(id);
    if (port === undefined) return;
    if (event === CONSOLE_EVENT.CONSOLE_PORT) {
      port.isConsole = true;
      if (!port.guestOpen) this.#setOpen(port, true); // as Linux's driver does
    } else if (event === CONSOLE_EVENT.PORT_NAME) {
      port.portName = Buffer.from(bytes.subarray(CONSOLE_CONTROL.SIZE)).toString();
    } else if (event === CONSOLE_EVENT.PORT_OPEN) {
      port.hostOpen = value !== 0;
      port.emit('host');
    } else if (event === CONSOLE_EVENT.RESIZE && bytes.length >= CONSOLE_CONTROL.SIZE + 4) {
      const first = view.getUint16(CONSOLE_CONTROL.SIZE, true);
      const second = view.getUint16(CONSOLE_CONTROL.SIZE + 2, true);
      if (this.#options.rowsFirst === false) this.#resize(port, first, second);
      else this.#resize(port, second, first);
    }
  }

  #addPort(id: number): void {
    const at = this.#unknown.findIndex((port) => port.id === id);
    const [port] = at < 0 ? [] : this.#unknown.splice(at, 1);
    if (port !== undefined) {
      this.#ports.set(id, port);
      port.begin();
    }
    this.send(id, CONSOLE_EVENT.PORT_READY, this.#ports.has(id) ? 1 : 0);
  }

  #resize(port: ConsoleClientPort, columns: number, rows: number): void {
    if (port.columns === columns && port.rows === rows) return;
    port.columns = columns;
    port.rows = rows;
    port.emit('resize');
  }

  #change(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const told = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(told);
        resolve();
      };
      const timer = setTimeout(told, limitMs);
      this.#waiting.add(told);
    });
  }
}

function buffersOf(options: ConsoleClientOptions): { count: number; bytes: number } {
  const { bufferCount: count = DEFAULTS.bufferCount, bufferBytes: bytes = DEFAULTS.bufferBytes } =
    options;
  return { count, bytes };
}

/** Room for all ports that there may be: it takes none before it is used. */
function memoryBytes(options: ConsoleClientOptions): number {
  const { count, bytes } = buffersOf(options);
  const ringBytes = 64 * (options.queueSize ?? DEFAULTS.queueSize) + 8192;
  return 2 * (PORTS_MAX + 1) * (count * bytes + ringBytes);
}
