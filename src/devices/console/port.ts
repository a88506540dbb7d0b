/**
 * One port: the guest's two queues on one side, an end of this host and a log file on the other.
 *
 * Nothing is lost and nothing changes its order. Input waits here, and then in its source, until
 * the guest has buffers for it; output waits in the ring once the buffer here is full. A chain is
 * taken only when something can be done with it, so a ring that is stopped has nothing in flight.
 *
 * @module
 */
import type { LogLevel } from '../../backend/index.ts';
import type { Chain, Virtqueue } from '../../virtqueue/index.ts';
import type { ConsoleEnd } from './ends/end.ts';
import type { LogFile } from './ends/log-file.ts';
import { InputQueue } from './input.ts';
import type { PortSettings } from './options.ts';
import { OutputBuffer } from './output.ts';

/** Output that may wait here, at least. */
const OUTPUT_BYTES = 256 * 1024;
/** Room that is left for emergency writes, which cannot wait. */
const EMERGENCY_BYTES = 1024;
/** No chain is taken for less room than that. */
const ROOM_MIN_BYTES = 4096;
/** The most that is handed to an end, or to the log, at once. */
const PIECE_BYTES_MAX = 64 * 1024;
/** Input from which on the source is asked to wait, and below which it may go on. */
const INPUT_HIGH_BYTES = 64 * 1024;
const INPUT_LOW_BYTES = 16 * 1024;
/** The rest of one chain that is kept when its ring is stopped: more than any driver sends. */
const REST_BYTES_MAX = 1024 * 1024;
const CLOSE_WAIT_MS = 500;

/** What a port needs of its device. */
export interface PortHost {
  /** Rings are to be looked at again. */
  flush(): void;
  /** Whoever is at the end has come or gone. */
  attachedChanged(port: ConsolePort): void;
  resized(port: ConsolePort): void;
  leave(): void;
  log(level: LogLevel, text: string): void;
  countFault(): void;
  countRequest(toGuestBytes: number, fromGuestBytes: number): void;
}

/** See the module. */
export class ConsolePort {
  readonly id: number;
  readonly name: string;
  readonly isConsole: boolean;
  /** The size in characters; 0 and 0 when it is not known. */
  columns: number;
  rows: number;
  /** Input may go to the guest: its driver has opened the port, or knows nothing of ports. */
  guestListens = false;
  /** Output that could not be kept, in bytes. */
  lostBytes = 0;
  readonly #settings: PortSettings;
  readonly #end: ConsoleEnd;
  readonly #log: LogFile | null;
  readonly #host: PortHost;
  readonly #input = new InputQueue();
  readonly #output: OutputBuffer;
  #paused = false; // the end was asked to wait
  #sending = false;
  #logging = false;
  #chain: Chain | null = null; // of the transmit queue, not yet copied to its end
  #chainOffset = 0;
  #rest: Uint8Array | null = null; // of a chain whose ring was stopped
  #restOffset = 0;

  constructor(settings: PortSettings, end: ConsoleEnd, log: LogFile | null, host: PortHost) {
    this.id = settings.id;
    this.name = settings.name;
    this.isConsole = settings.console;
    this.columns = settings.size?.columns ?? 0;
    this.rows = settings.size?.rows ?? 0;
    this.#settings = settings;
    this.#end = end;
    this.#log = log;
    this.#host = host;
    this.#output = new OutputBuffer(Math.max(OUTPUT_BYTES, 2 * settings.backlogBytes));
  }

  /** For people: `console: pty /dev/pts/3`. */
  describe(): string {
    const what = this.name === '' ? 'console' : this.name;
    const log = this.#log === null ? '' : `, log ${this.#log.path}`;
    return `${what}: ${this.#end.describe()}${log}`;
  }

  /** Whether somebody is at the end. */
  get attached(): boolean {
    return this.#end.attached;
  }

  /** Opens the end. @throws VhostUserError when that cannot be done */
  async open(): Promise<void> {
    this.#log?.open();
    await this.#end.open({
      input: (bytes) => this.#takeInput(bytes),
      attachedChanged: () => {
        this.#host.attachedChanged(this);
        this.#pump();
        this.#host.flush();
      },
      resized: (columns, rows) => {
        if (columns === this.columns && rows === this.rows) return;
        this.columns = columns;
        this.rows = rows;
        this.#host.resized(this);
      },
      leave: () => this.#host.leave(),
      log: (level, text) =>
        this.#host.log(level, this.name === '' ? text : `${this.name}: ${text}`),
    });
  }

  /** A guest has come, or has gone. */
  setActive(active: boolean): void {
    this.#end.setActive?.(active);
  }

  /** Looks again at what it has open: the log file is opened anew. */
  reopen(): void {
    this.#log?.reopen();
  }

  /** The driver was reset. What waits goes on to the next one. */
  reset(): void {
    this.guestListens = false;
  }

  /** Whether the receive queue has to wait: there is nothing for it. */
  get receiveFull(): boolean {
    return !this.guestListens || this.#input.lengthBytes === 0;
  }

  /** Whether the transmit queue has to wait: there is no room. */
  get transmitFull(): boolean {
    return this.#room() < ROOM_MIN_BYTES || this.#rest !== null;
  }

  /** Gives input to the guest; returns the chains taken. */
  serveReceive(queue: Virtqueue, budget: number): number {
    let taken = 0;
    while (taken < budget && !this.receiveFull) {
      const chain = queue.pop();
      if (chain === null) break;
      taken++;
      if (chain.writableBytes === 0) this.#host.countFault();
      const bytes = this.#input.moveTo(chain);
      queue.push(chain, bytes);
      this.#host.countRequest(bytes, 0);
    }
    if (this.#paused && this.#input.lengthBytes < INPUT_LOW_BYTES) {
      this.#paused = false;
      this.#end.resume();
    }
    return taken;
  }

  /** Takes output of the guest, as far as there is room; returns the chains taken. */
  serveTransmit(queue: Virtqueue, budget: number): number {
    let taken = 0;
    this.#takeRest();
    while (taken < budget && this.#rest === null) {
      if (this.#chain === null) {
        if (this.#room() < ROOM_MIN_BYTES) break;
        this.#chain = queue.pop();
        if (this.#chain === null) break;
        this.#chainOffset = 0;
        taken++;
        if (this.#chain.readableBytes === 0) this.#host.countFault();
      }
      if (!this.#copyChain(this.#chain)) break;
      this.#host.countRequest(0, this.#chain.readableBytes);
      queue.push(this.#chain, 0);
      this.#chain = null;
    }
    this.#pump();
    return taken;
  }

  /** The transmit queue is being stopped: what is left of the chain at hand is kept. */
  stopTransmit(queue: Virtqueue): void {
    const chain = this.#chain;
    if (chain === null) return;
    this.#chain = null;
    const rest = chain.readableBytes - this.#chainOffset;
    if (rest <= REST_BYTES_MAX) {
      this.#rest = new Uint8Array(rest);
      this.#restOffset = 0;
      chain.copyFromReadable(this.#chainOffset, this.#rest);
    } else {
      this.#lose(rest);
    }
    queue.push(chain, 0);
  }

  /** A byte that the driver wrote to the configuration space (section 5.3.4). */
  emergencyWrite(byte: number): void {
    this.#forget();
    if (this.#output.free > 0) this.#output.appendBytes(Uint8Array.of(byte));
    else this.#lose(1);
    this.#pump();
  }

  /** Gives those who are attached a moment to take what waits, and closes everything. */
  async close(): Promise<void> {
    const endMs = performance.now() + CLOSE_WAIT_MS;
    for (;;) {
      this.#takeRest();
      this.#pump();
      const sent = !this.attached || this.#output.sent === this.#output.written;
      const logged = this.#log === null || this.#output.logged === this.#output.written;
      if ((sent && logged && this.#rest === null) || performance.now() > endMs) break;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    await this.#end.close();
    this.#log?.close();
  }

  #takeInput(bytes: Uint8Array): void {
    this.#input.push(bytes);
    if (!this.#paused && this.#input.lengthBytes >= INPUT_HIGH_BYTES) {
      this.#paused = true;
      this.#end.pause();
    }
    this.#host.flush();
  }

  /** Copies what is left of a chain; false when there is no room for all. */
  #copyChain(chain: Chain): boolean {
    while (this.#chainOffset < chain.readableBytes) {
      const count = Math.min(chain.readableBytes - this.#chainOffset, this.#room());
      if (count <= 0) return false;
      this.#output.append(chain, this.#chainOffset, count);
      this.#chainOffset += count;
    }
    return true;
  }

  #takeRest(): void {
    const rest = this.#rest;
    if (rest === null) return;
    while (this.#restOffset < rest.length) {
      const count = Math.min(rest.length - this.#restOffset, this.#room());
      if (count <= 0) return;
      this.#output.appendBytes(rest.subarray(this.#restOffset, this.#restOffset + count));
      this.#restOffset += count;
    }
    this.#rest = null;
  }

  /** Room for chains, after what need not be kept is forgotten. */
  #room(): number {
    this.#forget();
    return this.#output.free - EMERGENCY_BYTES;
  }

  /** Nobody is there, and none of it is on its way: output becomes older, and is forgotten. */
  #forget(): void {
    const output = this.#output;
    if (this.#log === null) output.logged = output.written;
    if (this.#sending || this.#end.attached) return;
    const { unattended, backlogBytes } = this.#settings;
    if (unattended === 'wait') return;
    const kept = unattended === 'keep' ? backlogBytes : 0;
    output.sent = Math.max(output.sent, output.written - kept);
  }

  #pump(): void {
    this.#pumpEnd();
    this.#pumpLog();
  }

  #pumpEnd(): void {
    const output = this.#output;
    if (this.#sending || !this.#end.attached || output.sent === output.written) return;
    const piece = output.piece(output.sent, PIECE_BYTES_MAX);
    this.#sending = true;
    this.#end.write(piece, () => {
      this.#sending = false;
      output.sent += piece.length;
      this.#takeRest();
      this.#host.flush();
      this.#pumpEnd();
    });
  }

  #pumpLog(): void {
    const output = this.#output;
    if (this.#log === null || this.#logging || output.logged === output.written) return;
    const piece = output.piece(output.logged, PIECE_BYTES_MAX);
    this.#logging = true;
    this.#log.write(piece, () => {
      this.#logging = false;
      output.logged += piece.length;
      this.#takeRest();
      this.#host.flush();
      this.#pumpLog();
    });
  }

  #lose(bytes: number): void {
    this.lostBytes += bytes;
    this.#host.log('warn', `${String(bytes)} bytes of output had no room and are lost`);
  }
}
