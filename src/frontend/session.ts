/**
 * A session with a vhost-user back-end: what a VMM does with a device, without a VM. It negotiates,
 * shares memory, starts and stops queues and reads the device's configuration space; drivers, such
 * as `BlkClient`, do the rest. Back-ends that lack a protocol feature are served without it.
 *
 * @module
 */
import { VhostUserError, assert, errorCode } from '../util/index.ts';
import { adoptSocket, connectUnix } from '../sys/index.ts';
import { QUEUE_SIZE_MAX } from '../virtqueue/index.ts';
import {
  CONFIG_BYTES_MAX,
  FRONTEND,
  describeVirtioFeatures,
  messageName,
  protocolFeatures,
  virtioFeatures,
} from '../protocol/index.ts';
import type { PayloadKind, Payloads, ProtocolFeatureName } from '../protocol/index.ts';
import { BackendChannel } from './backend-channel.ts';
import { Connection } from './connection.ts';
import { FrontendQueue } from './queue.ts';
import type { QueueSpec } from './queue.ts';
import { SharedMemory } from './shared-memory.ts';

const PROTOCOL_FEATURES = virtioFeatures('PROTOCOL_FEATURES');
/** What every driver here can do with a ring. */
const RING_FEATURES = virtioFeatures('VERSION_1', 'INDIRECT_DESC', 'EVENT_IDX');
/** What this file can speak. */
const SPOKEN = protocolFeatures(
  'MQ',
  'REPLY_ACK',
  'BACKEND_REQ',
  'CONFIG',
  'CONFIGURE_MEM_SLOTS',
  'RESET_DEVICE',
  'GPA_ADDRESSES',
);
/** Features that change what a ring, or an address in it, means: no driver here can follow. */
const NOT_SPOKEN = virtioFeatures('ACCESS_PLATFORM', 'RING_PACKED', 'LOG_ALL', 'NOTIFICATION_DATA');

const VRING_INDEX_MAX = 255; // SET_VRING_KICK has 8 bits for it
const CONNECT_RETRY_MS = 20;
/** Where the memory begins for the back-end: above 2^32, so that a cut-off address shows. */
const MEMORY_GPA = 0x1_0000_0000;

const DEFAULTS = {
  memoryBytes: 16 * 1024 * 1024,
  replyTimeoutMs: 10_000,
  connectWaitMs: 0,
} as const;

/** How a {@link FrontendSession} is made. Either `socketPath` or `fd` is needed. */
export interface FrontendSessionOptions {
  /** Where the back-end listens. */
  readonly socketPath?: string;
  /** A connected socket, which the session takes over. */
  readonly fd?: number;
  /** Memory to share, 16 MiB by default; it takes no room before it is used. */
  readonly memoryBytes?: number;
  /**
   * The device type's features that the driver knows; those that the device offers are accepted.
   */
  readonly features?: bigint;
  /** Ring features to accept; by default VERSION_1, INDIRECT_DESC and EVENT_IDX. */
  readonly ringFeatures?: bigint;
  /** Protocol features to accept, of those that the session can speak; all by default. */
  readonly protocolFeatures?: bigint;
  /** How long to wait for a reply, 10 s by default. */
  readonly replyTimeoutMs?: number;
  /** How long to wait for the socket to be there; not at all by default. */
  readonly connectWaitMs?: number;
  /** The device's configuration space has changed. */
  readonly onConfigChange?: () => void;
  /** Something went wrong that does not end the session: a ring's error, a request we refuse. */
  readonly onError?: (error: VhostUserError) => void;
  /**
   * The session has ended, also while it was opened: by an error (it still has to be closed, which
   * frees the memory), or null after `close`. Called once.
   */
  readonly onEnd?: (error: VhostUserError | null) => void;
}

/**
 * See the module.
 *
 * ```ts
 * const session = await FrontendSession.open({ socketPath: '/tmp/rng.sock' });
 * const queue = await session.startQueue({ index: 0, size: 64 });
 * const buffer = session.memory.allocate(32, 8);
 * await new Promise<void>((resolve) => {
 *   queue.watchCalls(() => {
 *     if (queue.ring.take() >= 0) resolve();
 *   });
 *   queue.ring.addChain([], [buffer], 0);
 *   queue.publish();
 * });
 * console.log(new Uint8Array(session.memory.view(buffer)));
 * await session.close();
 * ```
 */
export class FrontendSession {
  /** What the device offers. */
  offeredFeatures = 0n;
  /** What was negotiated: virtio features, of the ring and of the device. */
  features = 0n;
  /** The protocol features that were negotiated. */
  protocolFeatures = 0n;
  /** How many queues the back-end has; 1 is certain where it does not say. */
  queueCountMax = 1;
  /** Regions of memory that the back-end takes. */
  memorySlotsMax = 8;
  /** The memory that both sides see. */
  readonly memory: SharedMemory;
  readonly #options: FrontendSessionOptions;
  readonly #connection: Connection;
  readonly #queues = new Set<FrontendQueue>();
  readonly #running = new Set<FrontendQueue>();
  #backendChannel: BackendChannel | null = null;
  #closing: Promise<void> | null = null;

  private constructor(fd: number, memory: SharedMemory, options: FrontendSessionOptions) {
    this.memory = memory;
    this.#options = options;
    this.#connection = new Connection(fd, {
      replyTimeoutMs: options.replyTimeoutMs ?? DEFAULTS.replyTimeoutMs,
      onEnd: (error) => {
        this.#running.clear();
        options.onEnd?.(error);
      },
    });
  }

  /**
   * Connects, negotiates and shares memory; no queue runs yet.
   *
   * @throws VhostUserError `ERR_VHU_SYSTEM` when nobody listens, `ERR_VHU_BACKEND_GONE`,
   *   `ERR_VHU_REPLY_TIMEOUT`, `ERR_VHU_REFUSED`, or what is wrong with a reply.
   */
  static async open(options: FrontendSessionOptions): Promise<FrontendSession> {
    const memory = new SharedMemory(options.memoryBytes ?? DEFAULTS.memoryBytes, MEMORY_GPA);
    let session: FrontendSession;
    try {
      session = new FrontendSession(await connect(options), memory, options);
    } catch (error) {
      memory.close();
      throw error;
    }
    try {
      await session.#negotiate();
      await session.#shareMemory();
    } catch (error) {
      await session.close();
      throw error;
    }
    return session;
  }

  /** Whether the back-end is still there. */
  get connected(): boolean {
    return this.#connection.open;
  }

  /** Whether a protocol feature was negotiated. */
  speaks(name: ProtocolFeatureName): boolean {
    return (this.protocolFeatures & protocolFeatures(name)) !== 0n;
  }

  /**
   * Makes a queue and starts it. It is the session's, and is closed with it; `queue.close()` gives
   * its memory back before, once it was stopped.
   *
   * @throws VhostUserError `ERR_VHU_QUEUE_INDEX`, `ERR_VHU_QUEUE_SIZE`, `ERR_VHU_FRONTEND_MEMORY`,
   *   `ERR_VHU_REFUSED`, or what ended the session.
   */
  async startQueue(spec: QueueSpec): Promise<FrontendQueue> {
    this.#checkSpec(spec);
    const queue = new FrontendQueue(this.memory, spec, this.features, () => {
      const text = `queue ${String(spec.index)}: the back-end reports an error (its err notifier)`;
      this.#options.onError?.(new VhostUserError('ERR_VHU_QUEUE_ERROR', text));
    });
    try {
      await this.resumeQueue(queue, 0);
    } catch (error) {
      queue.close();
      throw error;
    }
    this.#queues.add(queue);
    return queue;
  }

  /** Starts a queue again that was stopped, from the index that `stopQueue` gave. */
  async resumeQueue(queue: FrontendQueue, availBase: number): Promise<void> {
    assert(!this.#running.has(queue), 'a queue is started once');
    const { index, size, peerFds } = queue;
    const addresses = queue.addresses(this.speaks('GPA_ADDRESSES') ? 'gpa' : 'uva');
    const value = BigInt(index);
    // Sent without waiting in between: the replies come in order.
    await this.#commands([
      this.#command(FRONTEND.SET_VRING_NUM, 'vringState', { index, num: size }),
      this.#command(FRONTEND.SET_VRING_BASE, 'vringState', { index, num: availBase }),
      this.#command(FRONTEND.SET_VRING_ADDR, 'vringAddress', {
        index,
        flags: 0,
        ...addresses,
        log: 0n,
      }),
      this.#command(FRONTEND.SET_VRING_CALL, 'vringFd', { value }, [peerFds.call]),
      this.#command(FRONTEND.SET_VRING_ERR, 'vringFd', { value }, [peerFds.err]),
      this.#command(FRONTEND.SET_VRING_KICK, 'vringFd', { value }, [peerFds.kick]),
      ...this.#enable(index, true),
    ]);
    this.#running.add(queue);
    queue.kick(); // what waits in the ring may have been kicked before the back-end could hear it
  }

  /**
   * Stops a queue: the back-end finishes what it holds, and then leaves the ring alone. Returns the
   * index from which it would go on. What came back is still there to be taken.
   */
  async stopQueue(queue: FrontendQueue): Promise<number> {
    const { index } = queue;
    const state = { index, num: 0 };
    const request = FRONTEND.GET_VRING_BASE;
    const reply = await this.#connection.request(request, 'vringState', state, 'vringState');
    this.#running.delete(queue);
    if (reply.values.index === index) return reply.values.num & 0xffff;
    throw new VhostUserError(
      'ERR_VHU_REPLY',
      `GET_VRING_BASE: asked about queue ${String(index)}, the answer is about queue ` +
        String(reply.values.index),
    );
  }

  /**
   * Reads the device's configuration space.
   * @throws VhostUserError `ERR_VHU_NO_CONFIG` when the back-end has none, `ERR_VHU_REFUSED` when
   * it
   *   has nothing there, `ERR_VHU_CONFIG_RANGE` from 256 bytes up.
   */
  async readConfig(offset: number, length: number): Promise<Uint8Array> {
    const end = this.#checkConfigRange(offset, length);
    // From the first byte on: some back-ends (libvhost-user's) do not look at the offset.
    const ask = { offset: 0, size: end, flags: 0, bytes: new Uint8Array(end) };
    const request = FRONTEND.GET_CONFIG;
    const { values } = await this.#connection.request(request, 'config', ask, 'config');
    if (values.bytes.length === end) return values.bytes.subarray(offset);
    throw new VhostUserError(
      'ERR_VHU_REPLY',
      `GET_CONFIG: asked for ${String(end)} bytes, got ${String(values.bytes.length)}`,
    );
  }

  /** Writes to the device's configuration space; see `readConfig`. */
  async writeConfig(offset: number, bytes: Uint8Array): Promise<void> {
    this.#checkConfigRange(offset, bytes.length);
    const values = { offset, size: bytes.length, flags: 0, bytes };
    await this.#commands([this.#command(FRONTEND.SET_CONFIG, 'config', values)]);
  }

  /** Waits until the back-end has carried out everything that was sent before. */
  async barrier(): Promise<void> {
    await this.#connection.request(FRONTEND.GET_FEATURES, 'none', {}, 'u64');
  }

  /**
   * Stops what runs, ends the connection and frees everything; may be called again.
   * SAFETY: no view of `memory` and no ring is used afterwards, on any thread.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    // A back-end that is gone, or stuck, is left as it is.
    await Promise.allSettled([...this.#running].map((queue) => this.stopQueue(queue)));
    this.#connection.close();
    this.#backendChannel?.close();
    for (const queue of this.#queues) queue.close();
    this.memory.close();
  }

  async #negotiate(): Promise<void> {
    const { features = 0n, ringFeatures = RING_FEATURES } = this.#options;
    const offered = await this.#ask(FRONTEND.GET_FEATURES);
    this.offeredFeatures = offered;
    const wanted = (features | ringFeatures) & ~NOT_SPOKEN & ~PROTOCOL_FEATURES;
    this.features = offered & (wanted | PROTOCOL_FEATURES);
    if ((this.features & PROTOCOL_FEATURES) !== 0n) await this.#negotiateProtocol();
    await this.#commands([
      this.#command(FRONTEND.SET_OWNER, 'none', {}),
      this.#command(FRONTEND.SET_FEATURES, 'u64', { value: this.features }),
    ]);
  }

  async #negotiateProtocol(): Promise<void> {
    const offered = await this.#ask(FRONTEND.GET_PROTOCOL_FEATURES);
    const accepted = offered & SPOKEN & (this.#options.protocolFeatures ?? SPOKEN);
    this.#connection.send(FRONTEND.SET_PROTOCOL_FEATURES, 'u64', { value: accepted });
    this.protocolFeatures = accepted;
    if (this.speaks('MQ')) this.queueCountMax = Number(await this.#ask(FRONTEND.GET_QUEUE_NUM));
    if (!this.speaks('BACKEND_REQ')) return;
    const channel = new BackendChannel({
      configChanged: () => this.#options.onConfigChange?.(),
      refused: (error) => this.#options.onError?.(error),
    });
    this.#backendChannel = channel;
    const fds = [channel.peerFd];
    await this.#commands([this.#command(FRONTEND.SET_BACKEND_REQ_FD, 'none', {}, fds)]);
    channel.dropPeerFd();
  }

  async #shareMemory(): Promise<void> {
    const { region, fd } = this.memory;
    const { gpa, sizeBytes, hva } = region;
    const uva = this.speaks('GPA_ADDRESSES') ? gpa : hva;
    const wire = { gpa, sizeBytes, uva, mmapOffset: 0 };
    if (!this.speaks('CONFIGURE_MEM_SLOTS')) {
      const table = { regions: [wire] };
      await this.#commands([this.#command(FRONTEND.SET_MEM_TABLE, 'memoryTable', table, [fd])]);
      return;
    }
    this.memorySlotsMax = Number(await this.#ask(FRONTEND.GET_MAX_MEM_SLOTS));
    await this.#commands([this.#command(FRONTEND.ADD_MEM_REG, 'memoryRegion', wire, [fd])]);
  }

  /** SET_VRING_ENABLE, where there is such a thing; without it rings are enabled as they start. */
  #enable(index: number, on: boolean): Promise<void>[] {
    if ((this.features & PROTOCOL_FEATURES) === 0n) return [];
    const state = { index, num: on ? 1 : 0 };
    return [this.#command(FRONTEND.SET_VRING_ENABLE, 'vringState', state)];
  }

  /** A question whose answer is a number. */
  async #ask(request: number): Promise<bigint> {
    const { values } = await this.#connection.request(request, 'none', {}, 'u64');
    return values.value;
  }

  /** A message without a reply of its own; with REPLY_ACK the back-end says how it went. */
  async #command<K extends PayloadKind>(
    request: number,
    kind: K,
    payload: Payloads[K],
    fds: readonly number[] = [],
  ): Promise<void> {
    if (!this.speaks('REPLY_ACK')) {
      this.#connection.send(request, kind, payload, fds);
      return;
    }
    const options = { fds, needReply: true };
    const { values } = await this.#connection.request(request, kind, payload, 'u64', options);
    if (values.value === 0n) return;
    throw new VhostUserError(
      'ERR_VHU_REFUSED',
      `${messageName('frontend', request)}: the back-end refused it (answer ` +
        `${String(values.value)}); its own log may say why`,
    );
  }

  /** Waits for commands that were sent, and returns when the back-end has carried them out. */
  async #commands(sent: readonly Promise<void>[]): Promise<void> {
    const results = await Promise.allSettled(sent);
    for (const result of results) if (result.status === 'rejected') throw result.reason as Error;
    if (!this.speaks('REPLY_ACK')) await this.barrier();
  }

  #checkSpec(spec: QueueSpec): void {
    const { index, size } = spec;
    if (!Number.isInteger(index) || index < 0 || index > VRING_INDEX_MAX) {
      throw new VhostUserError('ERR_VHU_QUEUE_INDEX', `queue ${String(index)}: 0 to 255 exist`);
    }
    if (this.speaks('MQ') && index >= this.queueCountMax) {
      throw new VhostUserError(
        'ERR_VHU_QUEUE_INDEX',
        `queue ${String(index)}: the back-end has ${String(this.queueCountMax)}, from 0 on`,
      );
    }
    const power = Number.isInteger(size) && size > 0 && (size & (size - 1)) === 0;
    if (power && size <= QUEUE_SIZE_MAX) return;
    throw new VhostUserError(
      'ERR_VHU_QUEUE_SIZE',
      `queue ${String(index)}: ${String(size)} entries: a power of two up to 32768 is needed`,
    );
  }

  #checkConfigRange(offset: number, length: number): number {
    if (!this.speaks('CONFIG')) {
      throw new VhostUserError(
        'ERR_VHU_NO_CONFIG',
        'the back-end has no configuration space (CONFIG was not negotiated; virtio features ' +
          `offered: ${describeVirtioFeatures(this.offeredFeatures)})`,
      );
    }
    const end = offset + length;
    if (Number.isInteger(end) && offset >= 0 && length > 0 && end <= CONFIG_BYTES_MAX) return end;
    throw new VhostUserError(
      'ERR_VHU_CONFIG_RANGE',
      `configuration space: ${String(length)} bytes at ${String(offset)}: only its first ` +
        `${String(CONFIG_BYTES_MAX)} bytes can be reached`,
    );
  }
}

/** The connected socket, which the caller owns. */
async function connect(options: FrontendSessionOptions): Promise<number> {
  const { socketPath, fd, connectWaitMs = DEFAULTS.connectWaitMs } = options;
  if (fd !== undefined) {
    adoptSocket(fd);
    return fd;
  }
  assert(socketPath !== undefined, 'a session needs a socketPath or an fd');
  const endMs = performance.now() + connectWaitMs;
  for (;;) {
    try {
      return connectUnix(socketPath);
    } catch (error) {
      const final = errorCode(error) !== 'ERR_VHU_SYSTEM' || performance.now() >= endMs;
      if (final) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, CONNECT_RETRY_MS));
  }
}
