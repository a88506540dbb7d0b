/**
 * Packets of the guest that belong to one connection and follow each other: their data goes to the
 * host with one system call, straight out of the guest's buffers.
 *
 * @module
 */
import {
  ERRNO,
  IOVECS_MAX,
  mapAnonymous,
  send,
  sendVector,
  sendVsockMessage,
  viewMemory,
} from '../../sys/index.ts';
import type { Mapping } from '../../sys/index.ts';
import type { Chain, Virtqueue } from '../../virtqueue/index.ts';
import type { Backlog } from './backlog.ts';
import { FLAG } from './connections.ts';
import { VSOCK_HEADER } from './layout.ts';
import { MARK_BYTES, markAddress } from './message-mark.ts';

const IOVEC_BYTES = 16;
const IOVEC_WORDS = IOVEC_BYTES / 4;
const WORD = 0x1_0000_0000;
const CHAINS_MAX = 256;
const EAGAIN = -(ERRNO.EAGAIN as number);

/** See the module. */
export class TxBatch {
  /** Whose packets these are; -1: there are none. */
  slot = -1;
  /** Their bytes. */
  bytes = 0;
  readonly #chains: (Chain | null)[] = new Array<Chain | null>(CHAINS_MAX).fill(null);
  readonly #iovecs: Mapping = mapAnonymous(IOVECS_MAX * IOVEC_BYTES);
  readonly #words: Uint32Array;
  #queue: Virtqueue | null = null;
  #chainCount = 0;
  #iovecCount = 0;

  constructor() {
    const bytes = IOVECS_MAX * IOVEC_BYTES;
    this.#words = new Uint32Array(viewMemory(this.#iovecs.address, bytes));
  }

  /** Whether a packet in so many buffers has to wait for the next batch. */
  fullFor(segments: number): boolean {
    return this.#chainCount === CHAINS_MAX || this.#iovecCount + segments > IOVECS_MAX;
  }

  /** Adds a packet; it holds `bytes` of data, and the batch is not full for it. */
  add(queue: Virtqueue, chain: Chain, slot: number, bytes: number): void {
    this.slot = slot;
    this.#queue = queue;
    this.#chains[this.#chainCount++] = chain;
    this.bytes += bytes;
    const words = this.#words;
    let at = this.#iovecCount * IOVEC_WORDS;
    let skip: number = VSOCK_HEADER.SIZE;
    let rest = bytes;
    for (let i = 0; i < chain.readableCount && rest > 0; i++) {
      const length = chain.length[i] as number;
      if (skip >= length) {
        skip -= length;
        continue;
      }
      const address = (chain.hva[i] as number) + skip;
      const count = Math.min(length - skip, rest);
      skip = 0;
      rest -= count;
      words[at] = address;
      words[at + 1] = address / WORD;
      words[at + 2] = count;
      words[at + 3] = 0;
      at += IOVEC_WORDS;
    }
    this.#iovecCount = at / IOVEC_WORDS;
  }

  /** Sends as much as the socket takes; bytes or -errno. */
  send(fd: number): number {
    return this.#iovecCount === 1
      ? send(fd, this.#address(0), this.#words[2] as number)
      : sendVector(fd, this.#iovecs.address, this.#iovecCount, false);
  }

  /** Sends a message, as {@link Backlog.sendMessage} does; its bytes or -errno. */
  sendMessage(fd: number, endsRecord: boolean, flags: number): number {
    const { address } = this.#iovecs;
    if ((flags & FLAG.hostVsock) !== 0) {
      return sendVsockMessage(fd, address, this.#iovecCount, endsRecord);
    }
    if ((flags & FLAG.sibling) === 0) return sendVector(fd, address, this.#iovecCount, endsRecord);
    if (this.#iovecCount === IOVECS_MAX) return EAGAIN; // it goes by the backlog, in one piece
    this.#set(this.#iovecCount, markAddress(endsRecord), MARK_BYTES);
    const sent = sendVector(fd, address, this.#iovecCount + 1, false);
    return sent < 0 ? sent : sent - MARK_BYTES;
  }

  /** Keeps what is left after the first `skip` bytes. */
  keep(backlog: Backlog, skip: number): void {
    let before = skip;
    for (let i = 0; i < this.#iovecCount; i++) {
      const length = this.#words[i * IOVEC_WORDS + 2] as number;
      if (before < length) backlog.append(this.slot, this.#address(i) + before, length - before);
      before = Math.max(0, before - length);
    }
  }

  /** Gives the buffers back to the guest. */
  end(): void {
    for (let i = 0; i < this.#chainCount; i++) {
      this.#queue?.push(this.#chains[i] as Chain, 0);
      this.#chains[i] = null;
    }
    this.slot = -1;
    this.bytes = 0;
    this.#chainCount = 0;
    this.#iovecCount = 0;
  }

  /** Frees its memory. */
  close(): void {
    this.#iovecs.unmap();
  }

  #set(entry: number, address: number, bytes: number): void {
    const at = entry * IOVEC_WORDS;
    this.#words[at] = address;
    this.#words[at + 1] = address / WORD;
    this.#words[at + 2] = bytes;
    this.#words[at + 3] = 0;
  }

  #address(entry: number): number {
    const at = entry * IOVEC_WORDS;
    return (this.#words[at] as number) + (this.#words[at + 1] as number) * WORD;
  }
}
