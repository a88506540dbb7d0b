/**
 * A vsock device whose packets a test writes itself: the counterpart of a driver's tests. Slow and
 * simple on purpose; for a real device see `devices/vsock`.
 *
 * @module
 */
import type { Virtqueue } from '../virtqueue/index.ts';
import type { DataPlaneContext, Device, LocalDataPlane } from '../backend/index.ts';
import {
  VSOCK_CONFIG_BYTES,
  VSOCK_DEVICE_ID,
  VSOCK_EVENT_BYTES,
  VSOCK_EVENT_QUEUE,
  VSOCK_FEATURE,
  VSOCK_HEADER_BYTES,
  VSOCK_OP,
  VSOCK_RX_QUEUE,
  VSOCK_TX_QUEUE,
  VSOCK_TYPE,
} from '../frontend/index.ts';
import type { VsockPacket, VsockRawPacket } from '../frontend/index.ts';

const LOOK_MS = 2;
const WAIT_MS_MAX = 30_000; // only a test that fails waits for so long
const ROOM_BYTES = 256 * 1024;

/** How a {@link VsockScript} is made. */
export interface VsockScriptOptions {
  /** 3 by default. */
  readonly guestCid?: number;
  /** SEQPACKET by default. */
  readonly features?: bigint;
}

/** A packet that the guest is to get. */
interface Outgoing {
  readonly packet: VsockRawPacket;
  /** What the used ring is to tell; null: what was written. */
  readonly usedBytes: number | null;
}

/** See the module. */
export class VsockScript implements Device {
  readonly name = 'vsock-script';
  readonly deviceId: number = VSOCK_DEVICE_ID;
  readonly queueCount = 3;
  readonly queueSizeMax = 256;
  readonly features: bigint;
  readonly dataPlane: LocalDataPlane;
  guestCid: number;
  /** Sees each packet of the guest, after it was put into `packets`. */
  onPacket: ((packet: VsockPacket) => void) | null = null;
  /** While it is set, packets of the guest are left in the ring. */
  deaf = false;
  /** What the guest has sent. */
  readonly packets: VsockPacket[] = [];
  readonly #outgoing: Outgoing[] = [];
  readonly #queues = new Map<number, Virtqueue>();
  #context: DataPlaneContext | null = null;

  constructor(options: VsockScriptOptions = {}) {
    this.guestCid = options.guestCid ?? 3;
    this.features = options.features ?? VSOCK_FEATURE.SEQPACKET;
    this.dataPlane = {
      kind: 'local',
      create: (context) => {
        this.#context = context;
        return {
          serve: (queue, budget) => {
            this.#queues.set(queue.index, queue);
            return queue.index === VSOCK_TX_QUEUE ? this.#take(queue, budget) : this.#give();
          },
        };
      },
    };
  }

  readConfig(): Uint8Array {
    const bytes = new Uint8Array(VSOCK_CONFIG_BYTES);
    new DataView(bytes.buffer).setUint32(0, this.guestCid, true);
    return bytes;
  }

  attach(): void {
    // There is nothing to tell the front-end.
  }

  reset(): void {
    this.#queues.clear();
    this.#outgoing.length = 0;
  }

  close(): void {
    this.#context = null;
  }

  /** Sends a packet to the guest, as soon as it has a buffer for it. */
  send(packet: VsockRawPacket, usedBytes: number | null = null): void {
    this.#outgoing.push({ packet, usedBytes });
    this.#give();
    this.#context?.flush();
  }

  /** Answers a packet of the guest: from where it went, to where it came from. */
  answer(to: VsockPacket, packet: VsockRawPacket): void {
    const ends = {
      srcCid: to.dstCid,
      srcPort: to.dstPort,
      dstCid: to.srcCid,
      dstPort: to.srcPort,
    };
    this.send({ ...ends, type: to.type, bufAlloc: ROOM_BYTES, ...packet });
  }

  /** Tells the guest of an event. */
  event(id: number): void {
    const queue = this.#queues.get(VSOCK_EVENT_QUEUE);
    const chain = queue?.pop() ?? null;
    if (queue === undefined || chain === null) throw new Error('the guest has no event buffer');
    const bytes = new Uint8Array(VSOCK_EVENT_BYTES);
    new DataView(bytes.buffer).setUint32(0, id, true);
    queue.push(chain, chain.copyToWritable(0, bytes));
    this.#context?.flush();
  }

  /** Takes what the guest has sent while the device was deaf. */
  listen(): void {
    this.deaf = false;
    const queue = this.#queues.get(VSOCK_TX_QUEUE);
    if (queue !== undefined) this.#take(queue, this.queueSizeMax);
    this.#context?.flush();
  }

  /** Waits for a packet of the guest that fits, takes it out of `packets` and returns it. */
  async expect(
    op: number,
    fits: (packet: VsockPacket) => boolean = () => true,
  ): Promise<VsockPacket> {
    const end = performance.now() + WAIT_MS_MAX;
    for (;;) {
      const at = this.packets.findIndex((each) => each.op === op && fits(each));
      if (at >= 0) return this.packets.splice(at, 1)[0] as VsockPacket;
      if (performance.now() > end) {
        const seen = this.packets.map((each) => each.op).join(', ');
        throw new Error(`no packet of operation ${String(op)} came; others: ${seen}`);
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  /** Connects to a port of the guest from one of the host. */
  async dial(
    port: number,
    hostPort: number,
    type: number = VSOCK_TYPE.STREAM,
  ): Promise<VsockPacket> {
    const ends = { srcCid: 2, srcPort: hostPort, dstCid: this.guestCid, dstPort: port };
    this.send({ ...ends, type, op: VSOCK_OP.REQUEST, bufAlloc: ROOM_BYTES });
    return this.expect(VSOCK_OP.RESPONSE, (each) => each.dstPort === hostPort);
  }

  #take(queue: Virtqueue, budget: number): number {
    let taken = 0;
    for (; taken < budget && !this.deaf; taken++) {
      const chain = queue.pop();
      if (chain === null) break;
      const bytes = new Uint8Array(chain.readableBytes);
      chain.copyFromReadable(0, bytes);
      queue.push(chain, 0);
      const packet = decode(bytes);
      this.packets.push(packet);
      this.onPacket?.(packet);
    }
    return taken;
  }

  #give(): number {
    const queue = this.#queues.get(VSOCK_RX_QUEUE);
    let given = 0;
    while (queue !== undefined && this.#outgoing.length > 0) {
      const chain = queue.pop();
      if (chain === null) break;
      const { packet, usedBytes } = this.#outgoing.shift() as Outgoing;
      const written = chain.copyToWritable(0, encode(packet));
      queue.push(chain, usedBytes ?? written);
      given++;
    }
    return given;
  }
}

function decode(bytes: Uint8Array): VsockPacket {
  const view = new DataView(bytes.buffer, bytes.byteOffset, VSOCK_HEADER_BYTES);
  return {
    srcCid: Number(view.getBigUint64(0, true)),
    dstCid: Number(view.getBigUint64(8, true)),
    srcPort: view.getUint32(16, true),
    dstPort: view.getUint32(20, true),
    type: view.getUint16(28, true),
    op: view.getUint16(30, true),
    flags: view.getUint32(32, true),
    bufAlloc: view.getUint32(36, true),
    fwdCnt: view.getUint32(40, true),
    data: bytes.slice(VSOCK_HEADER_BYTES, VSOCK_HEADER_BYTES + view.getUint32(24, true)),
  };
}

function encode(packet: VsockRawPacket): Uint8Array {
  const { data = new Uint8Array(0), length = data.length } = packet;
  const bytes = new Uint8Array(VSOCK_HEADER_BYTES + data.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(packet.srcCid ?? 0), true);
  view.setBigUint64(8, BigInt(packet.dstCid ?? 0), true);
  view.setUint32(16, packet.srcPort ?? 0, true);
  view.setUint32(20, packet.dstPort ?? 0, true);
  view.setUint32(24, length, true);
  view.setUint16(28, packet.type ?? 0, true);
  view.setUint16(30, packet.op ?? 0, true);
  view.setUint32(32, packet.flags ?? 0, true);
  view.setUint32(36, packet.bufAlloc ?? 0, true);
  view.setUint32(40, packet.fwdCnt ?? 0, true);
  bytes.set(data, VSOCK_HEADER_BYTES);
  return bytes;
}
