/**
 * One connection of a {@link VsockBench}: the guest's end in packets and the host's end as a Unix
 * socket, both driven by one thread without allocation.
 *
 * @module
 */
import { unlinkSync } from 'node:fs';
import { VhostUserError, assert } from '../../util/index.ts';
import {
  ERRNO,
  NativeBlock,
  acceptUnix,
  closeFd,
  connectUnix,
  listenUnix,
  receive,
  send,
} from '../../sys/index.ts';
import { BenchClock } from '../bench-clock.ts';
import { VsockCredit } from './credit.ts';
import type { VsockDriver } from './driver.ts';
import { VSOCK_HOST_CID, VSOCK_OP, VSOCK_SHUTDOWN, VSOCK_TYPE, VSOCK_WORD } from './layout.ts';
import type { VsockPoller } from './poller.ts';

const OP_SHIFT = 16;
const FIRST_PORT = 0x1_0000;
const GUEST_PORT = 7777; // where host programs find the guest
const HOST_PORT = 8888;
const SCRATCH_BYTES = 128 * 1024;
const STREAM = VSOCK_TYPE.STREAM;
const EAGAIN = -(ERRNO.EAGAIN as number);
const EPIPE = -(ERRNO.EPIPE as number);
const ECONNRESET = -(ERRNO.ECONNRESET as number);

/** Where the guest's end is. */
type State = 'closed' | 'asked' | 'open' | 'closing';

/** See the module. */
export class BenchFlow {
  /** Bytes that the guest was sent, and that the host was sent, of this connection. */
  guestBytes = 0;
  hostBytes = 0;
  /** Packets with data that came to the guest. */
  guestPackets = 0;
  readonly poller: VsockPoller;
  readonly #guestCid: number;
  readonly #udsPath: string;
  readonly #bufAlloc: number;
  readonly #clock: BenchClock;
  readonly #listenFd: number;
  readonly #scratch = new NativeBlock(SCRATCH_BYTES);
  readonly #onPacket: (slot: number, dataBytes: number) => void;
  #credit: VsockCredit;
  #state: State;
  #hostFd = -1;
  #localPort = FIRST_PORT;
  #peerPort = HOST_PORT;
  #resetSeen = false;
  #peerClosed = false;

  /** Listens on the host's end of a port. */
  constructor(driver: VsockDriver, udsPath: string, bufAlloc: number, stallMs: number) {
    this.poller = driver.poller;
    this.#guestCid = driver.guestCid;
    this.#udsPath = udsPath;
    this.#bufAlloc = bufAlloc;
    this.#clock = new BenchClock(stallMs, () => this.poller.fault);
    this.#credit = new VsockCredit(bufAlloc);
    this.#state = 'closed';
    this.#listenFd = listenUnix(this.#listenPath);
    this.#onPacket = (slot, dataBytes) => this.#take(slot, dataBytes);
  }

  /** Bytes that the guest may send now. */
  get sendable(): number {
    return this.#credit.sendable;
  }

  /** The guest connects to the host, whose end is then accepted. */
  dial(): void {
    this.#begin(this.#localPort + 1, HOST_PORT);
    this.#state = 'asked';
    this.#packet(VSOCK_OP.REQUEST, 0, 0);
    this.poller.flush();
    this.#clock.progress();
    while (this.#waits()) {
      if (this.#hostFd < 0) this.#hostFd = acceptUnix(this.#listenFd);
      this.turn();
      this.#clock.idle('the guest connects to the host');
    }
    if (this.#resetSeen) throw flowError('the device refused a connection to the host');
  }

  /** A host program connects to the guest, which accepts. */
  accept(): void {
    this.#begin(GUEST_PORT, 0);
    this.#hostFd = connectUnix(this.#udsPath);
    const ask = this.#scratch.bytes;
    const length = Buffer.from(`CONNECT ${String(GUEST_PORT)}\n`).copy(ask);
    this.sendHost(length);
    this.#clock.progress();
    // The answer ends by a line feed: OK and a port.
    for (let end = false; !end;) {
      const count = receive(this.#hostFd, this.#scratch.address, SCRATCH_BYTES);
      if (count > 0) end = ask[count - 1] === 10;
      else if (count !== EAGAIN) throw flowError('the device refused a connection to the guest');
      this.turn();
      this.#clock.idle('the host connects to the guest');
    }
    assert(this.#state === 'open', 'the guest has answered before the host heard of it');
  }

  /** The guest sends so many bytes in one packet; false when there is no credit or no slot. */
  sendGuest(bytes: number): boolean {
    if (this.#credit.sendable < bytes) return false;
    const slot = this.poller.takeTx();
    if (slot < 0) return false;
    this.#send(slot, VSOCK_OP.RW, 0, bytes);
    this.#credit.sent(bytes);
    return true;
  }

  /** The host sends up to so many bytes; how many went, 0 when its socket is full. */
  sendHost(bytes: number): number {
    const count = send(this.#hostFd, this.#scratch.address, bytes);
    if (count >= 0) return count;
    if (count === EAGAIN) return 0;
    throw flowError(`the host cannot send (errno ${String(-count)})`);
  }

  /** The host receives what there is; how many bytes, 0 when nothing is. */
  receiveHost(): number {
    const count = receive(this.#hostFd, this.#scratch.address, SCRATCH_BYTES);
    if (count > 0) {
      this.hostBytes += count;
      return count;
    }
    if (count === EAGAIN) return 0;
    throw flowError(`the host's end was closed (errno ${String(-count)})`);
  }

  /** Takes what came to the guest, answers what has to be answered, and shows all of it. */
  turn(): void {
    if (!this.poller.hasRx()) return;
    this.poller.pollRx(this.#onPacket);
    this.poller.flush();
  }

  /** Ends the connection on both ends, and waits until the device has none of it. */
  close(by: 'guest' | 'host'): void {
    if (this.#state === 'open') this.#close(by);
    this.#state = 'closed';
    if (this.#hostFd >= 0) closeFd(this.#hostFd);
    this.#hostFd = -1;
  }

  /** To be called while nothing happens; throws when that takes too long. */
  idle(what: string): void {
    this.#clock.idle(what);
  }

  /** Something happened: `idle` counts from now on. */
  progress(): void {
    this.#clock.progress();
  }

  /** Gives everything back. */
  end(): void {
    if (this.#hostFd >= 0) closeFd(this.#hostFd);
    this.#hostFd = -1;
    closeFd(this.#listenFd);
    unlinkSync(this.#listenPath);
    this.#scratch.free();
  }

  get #listenPath(): string {
    return `${this.#udsPath}_${String(HOST_PORT)}`;
  }

  /** Whether the two ends of a connection to the host are not there yet. */
  #waits(): boolean {
    return !this.#resetSeen && (this.#state === 'asked' || this.#hostFd < 0);
  }

  #begin(localPort: number, peerPort: number): void {
    this.#localPort = localPort;
    this.#peerPort = peerPort;
    this.#credit = new VsockCredit(this.#bufAlloc);
    this.#state = 'closed';
    this.#resetSeen = false;
    this.#peerClosed = false;
    this.guestBytes = 0;
    this.hostBytes = 0;
    this.guestPackets = 0;
  }

  #close(by: 'guest' | 'host'): void {
    this.#state = 'closing';
    this.#clock.progress();
    if (by === 'host') {
      closeFd(this.#hostFd);
      this.#hostFd = -1;
      while (!this.#resetSeen && !this.#peerClosed) {
        this.turn();
        this.#clock.idle('the host closed its end, and the guest is to hear of it');
      }
      if (this.#resetSeen) return;
      this.#packet(VSOCK_OP.RST, 0, 0);
      this.poller.flush();
      return;
    }
    this.#packet(VSOCK_OP.SHUTDOWN, VSOCK_SHUTDOWN.BOTH, 0);
    this.poller.flush();
    while (!this.#resetSeen) {
      const count = receive(this.#hostFd, this.#scratch.address, SCRATCH_BYTES);
      const ended = count >= 0 || count === EAGAIN || count === EPIPE || count === ECONNRESET;
      if (!ended) throw flowError(`the host's end broke (errno ${String(-count)})`);
      this.turn();
      this.#clock.idle('the guest closed its end, and waits for the answer');
    }
  }

  #take(slot: number, dataBytes: number): void {
    const { poller } = this;
    const op = poller.rxWord(slot, VSOCK_WORD.typeAndOp) >>> OP_SHIFT;
    if (op === VSOCK_OP.REQUEST && poller.rxWord(slot, VSOCK_WORD.dstPort) === GUEST_PORT) {
      this.#peerPort = poller.rxWord(slot, VSOCK_WORD.srcPort);
      this.#state = 'open';
      this.#heard(slot);
      this.#packet(VSOCK_OP.RESPONSE, 0, 0);
      return;
    }
    const mine = poller.rxWord(slot, VSOCK_WORD.dstPort) === this.#localPort;
    if (!mine || poller.rxWord(slot, VSOCK_WORD.srcPort) !== this.#peerPort) return;
    this.#heard(slot);
    switch (op) {
      case VSOCK_OP.RW:
        this.guestBytes += dataBytes;
        this.guestPackets++;
        if (!this.#credit.received(dataBytes)) throw flowError('the device overran its credit');
        if (this.#credit.read(dataBytes)) this.#packet(VSOCK_OP.CREDIT_UPDATE, 0, 0);
        break;
      case VSOCK_OP.RESPONSE:
        this.#state = 'open';
        break;
      case VSOCK_OP.SHUTDOWN:
        this.#peerClosed = true;
        break;
      case VSOCK_OP.RST:
        this.#resetSeen = true;
        if (this.#state === 'asked') this.#state = 'closed';
        break;
      case VSOCK_OP.CREDIT_REQUEST:
        this.#packet(VSOCK_OP.CREDIT_UPDATE, 0, 0);
        break;
      default:
        break;
    }
  }

  #heard(slot: number): void {
    const { poller } = this;
    const bufAlloc = poller.rxWord(slot, VSOCK_WORD.bufAlloc);
    this.#credit.heard(bufAlloc, poller.rxWord(slot, VSOCK_WORD.fwdCnt));
  }

  /** A packet without data; waits for a slot. */
  #packet(op: number, flags: number, dataBytes: number): void {
    let slot = this.poller.takeTx();
    this.#clock.progress();
    while (slot < 0) {
      this.poller.flush();
      slot = this.poller.takeTx();
      this.#clock.idle('the guest waits for a slot of the ring');
    }
    this.#send(slot, op, flags, dataBytes);
  }

  #send(slot: number, op: number, flags: number, dataBytes: number): void {
    const { bufAlloc, fwdCnt } = this.#credit;
    this.poller.address(slot, this.#guestCid, this.#localPort, VSOCK_HOST_CID, this.#peerPort);
    this.#credit.announce();
    this.poller.send(slot, STREAM, op, flags, bufAlloc, fwdCnt, dataBytes);
  }
}

function flowError(text: string): VhostUserError {
  return new VhostUserError('ERR_VHU_VSOCK_BENCH', `benchmark: ${text}`);
}
