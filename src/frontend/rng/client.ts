/**
 * An entropy device of any vhost-user back-end, for programs: random bytes without a VM.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import { splitRingLayout } from '../../virtqueue/index.ts';
import { FrontendSession } from '../session.ts';
import { RngLane } from './lane.ts';

const RNG_QUEUE = 0; // virtio 1.3, section 5.4.2
const RING_ALIGN_BYTES = 4096;

const DEFAULTS = { queueSize: 16, requestBytes: 4096 } as const;

/** How an {@link RngClient} is made. */
export interface RngClientOptions {
  /** Entries of the ring, a power of two, and so the requests that the device may hold; 16. */
  readonly queueSize?: number;
  /** The most that one request asks for, in bytes; 4096. Linux's own driver asks for 64. */
  readonly requestBytes?: number;
  /** See `FrontendSessionOptions`. */
  readonly ringFeatures?: bigint;
  readonly protocolFeatures?: bigint;
  readonly replyTimeoutMs?: number;
  readonly connectWaitMs?: number;
  /** Something went wrong that does not end the session. */
  readonly onError?: (error: VhostUserError) => void;
  /** The session has ended: by an error (it still has to be closed), or null after `close`. */
  readonly onEnd?: (error: VhostUserError | null) => void;
}

/**
 * Any number of reads may be under way at once; each gets bytes of its own. A device may take its
 * time, as one with a rate limit does: reads wait for as long as that takes, or until `close`.
 *
 * Reads reject with `ERR_VHU_RNG_EMPTY` when the device gives nothing, which it must not, and with
 * what ended the session. A device that breaks the rules of its ring (`ERR_VHU_RING_…`) ends the
 * session.
 *
 * ```ts
 * const rng = await RngClient.connect('/tmp/rng.sock');
 * const key = await rng.read(32);
 * await rng.close();
 * ```
 */
export class RngClient {
  readonly session: FrontendSession;
  readonly #options: RngClientOptions;
  #lane: RngLane | null = null;
  #closing: Promise<void> | null = null;

  private constructor(session: FrontendSession, options: RngClientOptions) {
    this.session = session;
    this.#options = options;
  }

  /**
   * Connects to a back-end that listens on `socketPath` and starts the device's queue.
   * @throws VhostUserError see `FrontendSession.open`.
   */
  static connect(socketPath: string, options: RngClientOptions = {}): Promise<RngClient> {
    return RngClient.#open({ socketPath }, options);
  }

  /** The same on a connected socket, which the client takes over. */
  static fromFd(fd: number, options: RngClientOptions = {}): Promise<RngClient> {
    return RngClient.#open({ fd }, options);
  }

  static async #open(
    address: { readonly socketPath: string } | { readonly fd: number },
    options: RngClientOptions,
  ): Promise<RngClient> {
    const { queueSize, requestBytes } = { ...DEFAULTS, ...options };
    if (!Number.isInteger(requestBytes) || requestBytes < 1 || requestBytes > 2 ** 30) {
      const text = `requestBytes is ${String(requestBytes)}: a whole number from 1 to 2^30`;
      throw new VhostUserError('ERR_VHU_OPTION', `${text} is wanted`);
    }
    let client: RngClient | null = null;
    const session = await FrontendSession.open({
      memoryBytes:
        splitRingLayout(queueSize, 0).totalBytes + queueSize * requestBytes + 3 * RING_ALIGN_BYTES,
      ...options,
      ...address,
      onEnd: (error) => {
        if (client !== null) client.#onEnd(error);
      },
    });
    try {
      client = new RngClient(session, options);
      await client.#start(queueSize, requestBytes);
      return client;
    } catch (error) {
      client = null;
      await session.close();
      throw error;
    }
  }

  /** So many random bytes, in as many requests as that takes. The caller owns them. */
  async read(lengthBytes: number): Promise<Uint8Array> {
    const into = new Uint8Array(lengthBytes);
    await this.fill(into);
    return into;
  }

  /** Fills a buffer with random bytes; nobody else may use it meanwhile. */
  async fill(into: Uint8Array): Promise<void> {
    if (into.length > 0) await this.#running().fill(into);
  }

  /**
   * Makes one request of at most `lengthBytes`, and resolves with what the device gives: at least
   * one byte. The caller owns them.
   */
  readSome(lengthBytes: number): Promise<Uint8Array> {
    return this.#running().readSome(lengthBytes);
  }

  /** Ends the session; what still waits is rejected. May be called again. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const lane = this.#lane;
    if (lane !== null) {
      if (this.session.connected) {
        await this.session.stopQueue(lane.queue).catch(() => 0); // one that is stuck is left so
      }
      lane.collect();
      lane.fail(new VhostUserError('ERR_VHU_CLOSED', 'the client was closed'));
    }
    await this.session.close();
  }

  async #start(queueSize: number, requestBytes: number): Promise<void> {
    const { session } = this;
    const queue = await session.startQueue({ index: RNG_QUEUE, size: queueSize });
    const range = session.memory.allocate(queueSize * requestBytes, RING_ALIGN_BYTES);
    const bytes = new Uint8Array(session.memory.view(range));
    const slots = { count: queueSize, requestBytes, gpa: range.gpa, bytes };
    this.#lane = new RngLane(queue, slots, (error) => {
      this.#options.onError?.(error);
      void this.close();
    });
  }

  #running(): RngLane {
    if (this.#lane !== null) return this.#lane;
    throw new VhostUserError('ERR_VHU_CLOSED', 'the client was closed');
  }

  #onEnd(error: VhostUserError | null): void {
    if (error !== null) {
      this.#lane?.collect(); // what came back before is still good
      this.#lane?.fail(error);
    }
    this.#options.onEnd?.(error);
  }
}
