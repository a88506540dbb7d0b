/**
 * One packet as an object, for tests that speak to a device without a connection between.
 *
 * @module
 */
import { VSOCK_WORD } from './layout.ts';
import type { VsockPoller } from './poller.ts';

const TYPE_MASK = 0xffff;
const OP_SHIFT = 16;

/** A packet: its header, and the data that came with it. */
export interface VsockPacket {
  readonly srcCid: number;
  readonly srcPort: number;
  readonly dstCid: number;
  readonly dstPort: number;
  readonly type: number;
  readonly op: number;
  readonly flags: number;
  readonly bufAlloc: number;
  readonly fwdCnt: number;
  readonly data: Uint8Array;
}

/** What to send: what is left out is 0, or none. `length` may be none of `data`'s. */
export type VsockRawPacket = Partial<VsockPacket> & {
  readonly length?: number;
  /** Bytes of the header that are sent; all 44 by default. */
  readonly headerBytes?: number;
};

/** The operation of a packet that came. */
export function rxOp(poller: VsockPoller, slot: number): number {
  return poller.rxWord(slot, VSOCK_WORD.typeAndOp) >>> OP_SHIFT;
}

/** The type of a packet that came. */
export function rxType(poller: VsockPoller, slot: number): number {
  return poller.rxWord(slot, VSOCK_WORD.typeAndOp) & TYPE_MASK;
}

/** A packet that came; its data are a copy. Context ids of 2^32 and more come as they are. */
export function readPacket(poller: VsockPoller, slot: number, dataBytes: number): VsockPacket {
  const word = (at: number): number => poller.rxWord(slot, at);
  return {
    srcCid: word(VSOCK_WORD.srcCid) + word(VSOCK_WORD.srcCidHigh) * 2 ** 32,
    dstCid: word(VSOCK_WORD.dstCid) + word(VSOCK_WORD.dstCidHigh) * 2 ** 32,
    srcPort: word(VSOCK_WORD.srcPort),
    dstPort: word(VSOCK_WORD.dstPort),
    type: rxType(poller, slot),
    op: rxOp(poller, slot),
    flags: word(VSOCK_WORD.flags),
    bufAlloc: word(VSOCK_WORD.bufAlloc),
    fwdCnt: word(VSOCK_WORD.fwdCnt),
    data: poller.rxData(slot).slice(0, Math.max(0, dataBytes)),
  };
}

/** Puts a packet of any kind into a slot and adds it to the ring, unseen until `flush`. */
export function writePacket(poller: VsockPoller, slot: number, packet: VsockRawPacket): void {
  const { data = new Uint8Array(0), headerBytes = 44 } = packet;
  const { srcCid = 0, dstCid = 0, type = 0, op = 0 } = packet;
  poller.txData(slot).set(data);
  const words = new Uint32Array(VSOCK_WORD.COUNT);
  words[VSOCK_WORD.srcCid] = srcCid; // stored modulo 2^32
  words[VSOCK_WORD.srcCidHigh] = Math.floor(srcCid / 2 ** 32);
  words[VSOCK_WORD.dstCid] = dstCid;
  words[VSOCK_WORD.dstCidHigh] = Math.floor(dstCid / 2 ** 32);
  words[VSOCK_WORD.srcPort] = packet.srcPort ?? 0;
  words[VSOCK_WORD.dstPort] = packet.dstPort ?? 0;
  words[VSOCK_WORD.length] = packet.length ?? data.length;
  words[VSOCK_WORD.typeAndOp] = (type & TYPE_MASK) + (op & TYPE_MASK) * 2 ** OP_SHIFT;
  words[VSOCK_WORD.flags] = packet.flags ?? 0;
  words[VSOCK_WORD.bufAlloc] = packet.bufAlloc ?? 0;
  words[VSOCK_WORD.fwdCnt] = packet.fwdCnt ?? 0;
  poller.sendRaw(slot, words, headerBytes, data.length);
}
