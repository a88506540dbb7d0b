/**
 * The console device: configuration space, features, and which queue is whose.
 *
 * It runs on the event loop: consoles are slow, and what is at their other ends are Node's streams.
 * Each end is watched by the loop itself, level-triggered, and read until nothing is left.
 *
 * @module
 */
import { COUNTER } from '../../backend/index.ts';
import type {
  DataPlane,
  DataPlaneContext,
  Device,
  DeviceLink,
  LocalDataPlane,
  LogLevel,
} from '../../backend/index.ts';
import { VhostUserError } from '../../util/index.ts';
import type { Virtqueue } from '../../virtqueue/index.ts';
import { ControlPlane } from './control.ts';
import { LogFile } from './ends/log-file.ts';
import { makeEnd } from './ends/make.ts';
import {
  CONFIG,
  CONTROL_QUEUE,
  VIRTIO_CONSOLE_F,
  VIRTIO_ID_CONSOLE,
  portOf,
  queueCountOf,
} from './layout.ts';
import { consoleSettings } from './options.ts';
import type { ConsoleOptions, ConsoleSettings } from './options.ts';
import { ConsolePort } from './port.ts';

const { SIZE, MULTIPORT, EMERG_WRITE } = VIRTIO_CONSOLE_F;

/** See the module. Made by `openConsole`; `startBackend` closes it. */
export class ConsoleDevice implements Device {
  readonly name = 'console';
  readonly deviceId: number = VIRTIO_ID_CONSOLE;
  readonly queueCount: number;
  readonly queueSizeMax: number;
  readonly features: bigint = SIZE | MULTIPORT | EMERG_WRITE;
  readonly dataPlane: LocalDataPlane;
  readonly #settings: ConsoleSettings;
  readonly #ports: readonly ConsolePort[];
  readonly #control: ControlPlane;
  readonly #opened: ConsolePort[] = [];
  readonly #lines: [LogLevel, string][] = []; // from before there was a log
  #link: DeviceLink | null = null;
  #context: DataPlaneContext | null = null;
  #multiport = false;
  #active = false;

  private constructor(options: ConsoleOptions) {
    const settings = consoleSettings(options);
    this.#settings = settings;
    const host = {
      flush: () => this.#context?.flush(),
      log: (level: LogLevel, text: string) => this.#log(level, text),
      countFault: () => this.#count(COUNTER.guestFaults, 1),
      countRequest: (toGuest: number, fromGuest: number) => {
        this.#count(COUNTER.requests, 1);
        this.#count(COUNTER.bytesRead, toGuest);
        this.#count(COUNTER.bytesWritten, fromGuest);
      },
      attachedChanged: (port: ConsolePort) => this.#control.attachedChanged(port),
      resized: (port: ConsolePort) => this.#resized(port),
      leave: () => settings.onLeave(),
    };
    this.#ports = settings.ports.map((port) => {
      const log = port.log === null ? null : new LogFile(port.log, host.log);
      return new ConsolePort(port, makeEnd(port.end), log, host);
    });
    this.#control = new ControlPlane(this.#ports, settings.resizeOrder, host);
    this.queueCount = queueCountOf(this.#ports.length);
    this.queueSizeMax = settings.queueSize;
    this.dataPlane = { kind: 'local', create: (context) => this.#plane(context) };
  }

  /** @internal see `openConsole` */
  static async open(options: ConsoleOptions): Promise<ConsoleDevice> {
    const device = new ConsoleDevice(options);
    try {
      for (const port of device.#ports) {
        device.#opened.push(port);
        await port.open();
      }
    } catch (error) {
      await device.close();
      throw error;
    }
    return device;
  }

  /** What each port is, for people. */
  describe(): string[] {
    return this.#ports.map((port) => port.describe());
  }

  /** The size that the guest is told, of port 0 or another console; at once. */
  setSize(columns: number, rows: number, port: number = 0): void {
    const found = this.#ports[port];
    const fits = [columns, rows].every((n) => Number.isInteger(n) && n >= 0 && n <= 0xffff);
    if (found === undefined || !fits) {
      throw new VhostUserError(
        'ERR_VHU_OPTION',
        `size ${String(columns)} by ${String(rows)} of port ${String(port)}: both are whole ` +
          `numbers up to 65535, and there are ${String(this.#ports.length)} ports`,
      );
    }
    found.columns = columns;
    found.rows = rows;
    this.#resized(found);
  }

  /** Opens log files anew, after another program has moved them away. */
  reopenLogs(): void {
    for (const port of this.#ports) port.reopen();
  }

  attach(link: DeviceLink): void {
    this.#link = link;
  }

  readConfig(): Uint8Array {
    const bytes = new Uint8Array(CONFIG.SIZE);
    const view = new DataView(bytes.buffer);
    view.setUint16(CONFIG.cols, this.#ports[0]?.columns ?? 0, true);
    view.setUint16(CONFIG.rows, this.#ports[0]?.rows ?? 0, true);
    view.setUint32(CONFIG.maxNrPorts, this.#ports.length, true);
    return bytes;
  }

  writeConfig(offset: number, bytes: Uint8Array, kind: 'driver' | 'migration'): void {
    if (kind === 'migration') return; // nothing in it is the driver's
    if (offset !== CONFIG.emergWr) {
      throw new VhostUserError(
        'ERR_VHU_CONFIG',
        `bytes ${String(offset)} to ${String(offset + bytes.length)}: a driver may only write ` +
          `"emerg_wr", byte ${String(CONFIG.emergWr)} and on`,
      );
    }
    this.#ports[0]?.emergencyWrite(bytes[0] ?? 0);
  }

  featuresNegotiated(features: bigint): void {
    this.#multiport = (features & MULTIPORT) !== 0n;
    this.#control.hasSize = (features & SIZE) !== 0n;
    this.#listen();
  }

  reset(): void {
    this.#control.reset();
    for (const port of this.#ports) port.reset();
    this.#listen();
  }

  disconnected(): void {
    this.#setActive(false);
    this.#multiport = false;
    for (const port of this.#ports) port.reset();
  }

  async close(): Promise<void> {
    await Promise.all(this.#opened.splice(0).map((port) => port.close()));
  }

  /** Without MULTIPORT there is one port, which the driver has open from the start. */
  #listen(): void {
    const first = this.#ports[0];
    if (!this.#multiport && first !== undefined) first.guestListens = true;
  }

  #plane(context: DataPlaneContext): DataPlane {
    this.#context = context;
    for (const [level, text] of this.#lines.splice(0)) context.log(level, text);
    return {
      full: (queue) => this.#full(queue.index),
      serve: (queue, budget) => this.#serve(queue, budget),
      queueStarted: (queue) => {
        this.#setActive(true);
        const isControl = queue.index === CONTROL_QUEUE.transmit;
        if (isControl && queue.savedState().availIndex !== 0) this.#control.resume();
      },
      queueStopping: (queue) => {
        const { index } = queue;
        if ((index & 1) === 1 && index !== CONTROL_QUEUE.transmit) {
          this.#ports[portOf(index)]?.stopTransmit(queue);
        }
      },
    };
  }

  #full(index: number): boolean {
    if (index === CONTROL_QUEUE.receive) return this.#control.receiveFull;
    if (index === CONTROL_QUEUE.transmit) return false;
    const port = this.#ports[portOf(index)] as ConsolePort;
    return (index & 1) === 0 ? port.receiveFull : port.transmitFull;
  }

  #serve(queue: Virtqueue, budget: number): number {
    const { index } = queue;
    if (index === CONTROL_QUEUE.receive) return this.#control.serveReceive(queue, budget);
    if (index === CONTROL_QUEUE.transmit) return this.#control.serveTransmit(queue, budget);
    const port = this.#ports[portOf(index)] as ConsolePort;
    return (index & 1) === 0 ? port.serveReceive(queue, budget) : port.serveTransmit(queue, budget);
  }

  #setActive(active: boolean): void {
    if (active === this.#active) return;
    this.#active = active;
    for (const port of this.#ports) port.setActive(active);
  }

  #resized(port: ConsolePort): void {
    this.#control.resized(port);
    if (port.id === 0) this.#link?.configChanged();
  }

  #log(level: LogLevel, text: string): void {
    if (this.#context === null) this.#lines.push([level, text]);
    else this.#context.log(level, text);
  }

  #count(slot: number, by: number): void {
    const counters = this.#context?.counters;
    if (counters !== undefined) counters[slot] = (counters[slot] as number) + by;
  }
}
