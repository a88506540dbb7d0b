/**
 * The credit of a connection (virtio 1.3, section 5.10.6.3): how much may be sent before the other
 * side has read, and when to tell it that it may send more. All counts are modulo 2^32.
 *
 * @module
 */

/** See the module. */
export class VsockCredit {
  /** Room for data that came and were not read, which we announce. */
  readonly bufAlloc: number;
  /** Bytes that were read here: `fwd_cnt` of what we send. */
  fwdCnt = 0;
  #received = 0;
  #announced = 0; // fwdCnt when the other side last heard of it
  #sent = 0;
  #peerBufAlloc = 0;
  #peerFwdCnt = 0;

  constructor(bufAlloc: number) {
    this.bufAlloc = bufAlloc;
  }

  /** Takes what a packet's header tells of the other side. */
  heard(bufAlloc: number, fwdCnt: number): void {
    this.#peerBufAlloc = bufAlloc;
    this.#peerFwdCnt = fwdCnt;
  }

  /** The room that the other side has in all. */
  get peerBufAlloc(): number {
    return this.#peerBufAlloc;
  }

  /** Bytes that may be sent now. */
  get sendable(): number {
    const room = this.#peerBufAlloc - ((this.#sent - this.#peerFwdCnt) >>> 0);
    return Math.max(0, room); // the other side may have made its room smaller
  }

  /** Bytes that the other side has not read. */
  get unread(): number {
    return (this.#sent - this.#peerFwdCnt) >>> 0;
  }

  /** Bytes were sent. */
  sent(bytes: number): void {
    this.#sent = (this.#sent + bytes) >>> 0;
  }

  /** Bytes came; false when the other side had no credit for them. */
  received(bytes: number): boolean {
    this.#received = (this.#received + bytes) >>> 0;
    return (this.#received - this.fwdCnt) >>> 0 <= this.bufAlloc;
  }

  /** Bytes were read here; true when the other side should hear of it. */
  read(bytes: number): boolean {
    this.fwdCnt = (this.fwdCnt + bytes) >>> 0;
    return ((this.fwdCnt - this.#announced) >>> 0) * 2 >= this.bufAlloc;
  }

  /** A packet goes, and `fwdCnt` with it. */
  announce(): void {
    this.#announced = this.fwdCnt;
  }
}
