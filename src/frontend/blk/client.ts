/**
 * A block device of any vhost-user back-end, for programs: read, write, flush, discard.
 *
 * @module
 */
import { VhostUserError, errorCode } from '../../util/index.ts';
import { splitRingLayout } from '../../virtqueue/index.ts';
import { FrontendSession } from '../session.ts';
import { CONFIG_SIZES, parseBlkConfig } from './config.ts';
import type { BlkInfo } from './config.ts';
import { BlkLane } from './lane.ts';
import type { BlkRequest } from './lane.ts';
import { BLK_FEATURE, BLK_TYPE, ID_BYTES, RANGE, RANGE_F_UNMAP, SECTOR_BYTES } from './layout.ts';
import { slotMemoryBytes } from './poller.ts';

const FEATURES = Object.values(BLK_FEATURE).reduce((mask, bit) => mask | bit, 0n);
const RING_ALIGN_BYTES = 4096;
const BUFFER_BYTES = 128 * 1024;
const SLOTS_WANTED = 16; // rather smaller buffers than fewer slots
const CONTROL_SEGMENTS = 2; // header and status
const QUEUE_SIZE_MIN = 4; // no chain is longer than its ring, indirect or not
const MEMORY_BYTES_PER_QUEUE = 17 * 1024 * 1024;
const INDIRECT_MAX = 128;

const DEFAULTS = { queueCount: 1, queueSize: 128 } as const;

/** How a {@link BlkClient} is made. */
export interface BlkClientOptions {
  /** Queues to use, if the device has so many; 1 by default. */
  readonly queueCount?: number;
  /** Entries of each queue's ring, a power of two; 128 by default. */
  readonly queueSize?: number;
  /** Shared memory for rings and buffers; about 17 MiB for each queue by default. */
  readonly memoryBytes?: number;
  /** See `FrontendSessionOptions`. */
  readonly features?: bigint;
  readonly ringFeatures?: bigint;
  readonly protocolFeatures?: bigint;
  readonly replyTimeoutMs?: number;
  readonly connectWaitMs?: number;
  /** The device has another size now. */
  readonly onResize?: (sizeBytes: number) => void;
  /** Something went wrong that does not end the session. */
  readonly onError?: (error: VhostUserError) => void;
  /** The session has ended: by an error (it still has to be closed), or null after `close`. */
  readonly onEnd?: (error: VhostUserError | null) => void;
}

/**
 * Any number of requests may be under way at once; they are carried out in no certain order.
 * Requests that are longer than what the device takes are cut, and the parts run at the same time.
 *
 * Each request rejects with `ERR_VHU_BLK_IO` or `ERR_VHU_BLK_UNSUPPORTED` when the device says so,
 * `ERR_VHU_BLK_STATUS` when it answers what it must not, and with what ended the session. A device
 * that breaks the rules of its rings (`ERR_VHU_RING_…`) ends the session.
 *
 * ```ts
 * const disk = await BlkClient.connect('/tmp/disk.sock');
 * const sector = new Uint8Array(512);
 * await disk.read(0, sector);
 * sector[0] = 1;
 * await disk.write(0, sector);
 * await disk.flush();
 * await disk.close();
 * ```
 */
export class BlkClient {
  readonly session: FrontendSession;
  readonly #options: BlkClientOptions;
  #info: BlkInfo;
  #lanes: readonly BlkLane[] = [];
  #chunkBytes = 0; // longest part of a request
  #closing: Promise<void> | null = null;

  private constructor(session: FrontendSession, info: BlkInfo, options: BlkClientOptions) {
    this.session = session;
    this.#info = info;
    this.#options = options;
  }

  /**
   * Connects to a back-end that listens on `socketPath` and starts the device's queues.
   * @throws VhostUserError see `FrontendSession.open`, and `ERR_VHU_NO_CONFIG`,
   * `ERR_VHU_BLK_CONFIG`.
   */
  static connect(socketPath: string, options: BlkClientOptions = {}): Promise<BlkClient> {
    return BlkClient.#open({ socketPath }, options);
  }

  /** The same on a connected socket, which the client takes over. */
  static fromFd(fd: number, options: BlkClientOptions = {}): Promise<BlkClient> {
    return BlkClient.#open({ fd }, options);
  }

  static async #open(
    address: { readonly socketPath: string } | { readonly fd: number },
    options: BlkClientOptions,
  ): Promise<BlkClient> {
    const queueCount = options.queueCount ?? DEFAULTS.queueCount;
    let client: BlkClient | null = null;
    const session = await FrontendSession.open({
      features: FEATURES,
      memoryBytes: queueCount * MEMORY_BYTES_PER_QUEUE,
      ...options,
      ...address,
      onConfigChange: () => {
        if (client !== null) client.#onConfigChange();
      },
      onEnd: (error) => {
        if (client !== null) client.#onEnd(error);
      },
    });
    try {
      const info = await readInfo(session);
      client = new BlkClient(session, info, options);
      await client.#start(Math.min(queueCount, info.queueCount));
      return client;
    } catch (error) {
      client = null;
      await session.close();
      throw error;
    }
  }

  /** The device's limits. */
  get info(): BlkInfo {
    return this.#info;
  }

  /** The disk's size, as it is now. */
  get sizeBytes(): number {
    return this.#info.sizeBytes;
  }

  /** Whether the device refuses writes. */
  get readOnly(): boolean {
    return this.#info.readOnly;
  }

  /** Offsets and lengths are multiples of it. */
  get blockBytes(): number {
    return this.#info.blockBytes;
  }

  /** Queues that are in use. */
  get queueCount(): number {
    return this.#lanes.length;
  }

  /** Fills `into` from the disk. @throws VhostUserError see above, and `ERR_VHU_BLK_RANGE`. */
  async read(offsetBytes: number, into: Uint8Array): Promise<void> {
    this.#checkRange('read', offsetBytes, into.length);
    await this.#transfer(BLK_TYPE.IN, offsetBytes, into);
  }

  /** Writes `from` to the disk. @throws VhostUserError as `read`, and `ERR_VHU_BLK_READ_ONLY`. */
  async write(offsetBytes: number, from: Uint8Array): Promise<void> {
    this.#checkWritable('write');
    this.#checkRange('write', offsetBytes, from.length);
    await this.#transfer(BLK_TYPE.OUT, offsetBytes, from);
  }

  /** Resolves when all writes that had resolved before are on disk. */
  async flush(): Promise<void> {
    if (!this.#info.canFlush) return; // each write is on disk when it resolves
    await this.#run({ type: BLK_TYPE.FLUSH, offsetBytes: 0, lengthBytes: 0, bytes: null });
  }

  /** Says that a range is not needed any more; what it holds afterwards is not certain. */
  async discard(offsetBytes: number, lengthBytes: number): Promise<void> {
    this.#checkWritable('discard');
    this.#checkRange('discard', offsetBytes, lengthBytes);
    const { canDiscard, discardBytesMax, discardAlignBytes } = this.#info;
    if (!canDiscard) throw unsupported('discard', 'DISCARD');
    const step = Math.floor(discardBytesMax / discardAlignBytes) * discardAlignBytes;
    await this.#ranges(BLK_TYPE.DISCARD, offsetBytes, lengthBytes, step, 0);
  }

  /** Makes a range zeroes; with `unmap` the device may give the room back. */
  async writeZeroes(
    offsetBytes: number,
    lengthBytes: number,
    options: { readonly unmap?: boolean } = {},
  ): Promise<void> {
    this.#checkWritable('write zeroes');
    this.#checkRange('write zeroes', offsetBytes, lengthBytes);
    const { canWriteZeroes, writeZeroesBytesMax } = this.#info;
    if (!canWriteZeroes) throw unsupported('write zeroes', 'WRITE_ZEROES');
    const flags = options.unmap === true ? RANGE_F_UNMAP : 0;
    await this.#ranges(BLK_TYPE.WRITE_ZEROES, offsetBytes, lengthBytes, writeZeroesBytesMax, flags);
  }

  /** The device's serial number; may be empty. */
  async serial(): Promise<string> {
    const bytes = new Uint8Array(ID_BYTES);
    await this.#run({ type: BLK_TYPE.GET_ID, offsetBytes: 0, lengthBytes: ID_BYTES, bytes });
    const end = bytes.indexOf(0);
    return Buffer.from(bytes.subarray(0, end < 0 ? ID_BYTES : end)).toString('latin1');
  }

  /**
   * Reads the device's configuration again, as happens when the device says that it has changed.
   */
  async refresh(): Promise<void> {
    const before = this.#info.sizeBytes;
    this.#info = await readInfo(this.session);
    if (this.#info.sizeBytes !== before) this.#options.onResize?.(this.#info.sizeBytes);
  }

  /** Lets the device finish what it holds, and ends the session; what still waits is rejected. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const closed = new VhostUserError('ERR_VHU_CLOSED', 'the client was closed');
    const stops = this.#lanes.map(async (lane) => {
      if (this.session.connected) await this.session.stopQueue(lane.queue);
      lane.collect();
    });
    await Promise.allSettled(stops);
    for (const lane of this.#lanes) lane.fail(closed);
    await this.session.close();
  }

  async #start(queueCount: number): Promise<void> {
    const { session } = this;
    const queueSize = this.#options.queueSize ?? DEFAULTS.queueSize;
    if (queueSize < QUEUE_SIZE_MIN) {
      const text = `queue size ${String(queueSize)}: a request takes 3, so at least 4 are needed`;
      throw new VhostUserError('ERR_VHU_QUEUE_SIZE', text);
    }
    const { segmentBytesMax, segmentCountMax, blockBytes } = this.#info;
    const segments = Math.min(segmentCountMax, queueSize - CONTROL_SEGMENTS);
    const indirectMax = Math.min(queueSize, INDIRECT_MAX, segments + CONTROL_SEGMENTS);
    const ringBytes = splitRingLayout(queueSize, indirectMax).totalBytes + RING_ALIGN_BYTES;
    const { sizeBytes } = session.memory.region;
    const room = Math.floor(sizeBytes / queueCount) - ringBytes - RING_ALIGN_BYTES;
    const limit = Math.min(BUFFER_BYTES, segments * Math.floor(segmentBytesMax));
    const fit = fitSlots(room, Math.floor(limit / blockBytes) * blockBytes, queueSize, blockBytes);
    this.#chunkBytes = fit.bufferBytes;
    const lanes: BlkLane[] = [];
    for (let index = 0; index < queueCount; index++) {
      const queue = await session.startQueue({ index, size: queueSize, indirectMax });
      const range = session.memory.allocate(
        slotMemoryBytes(fit.count, fit.bufferBytes),
        RING_ALIGN_BYTES,
      );
      const slots = { ...fit, gpa: range.gpa, hva: range.hva };
      lanes.push(new BlkLane(queue, slots, segmentBytesMax, (error) => this.#onFault(error)));
      this.#lanes = lanes;
    }
  }

  #transfer(type: number, offsetBytes: number, bytes: Uint8Array): Promise<void> {
    const parts: BlkRequest[] = [];
    for (let done = 0; done < bytes.length; done += this.#chunkBytes) {
      const part = bytes.subarray(done, done + this.#chunkBytes);
      const lengthBytes = part.length;
      parts.push({ type, offsetBytes: offsetBytes + done, lengthBytes, bytes: part });
    }
    return this.#all(parts);
  }

  #ranges(
    type: number,
    offsetBytes: number,
    lengthBytes: number,
    step: number,
    flags: number,
  ): Promise<void> {
    const parts: BlkRequest[] = [];
    const most = step > 0 ? step : lengthBytes; // 0: the device sets no limit
    for (let done = 0; done < lengthBytes; done += most) {
      const count = Math.min(most, lengthBytes - done);
      const bytes = new Uint8Array(RANGE.SIZE);
      const view = new DataView(bytes.buffer);
      const sector = (offsetBytes + done) / SECTOR_BYTES;
      view.setBigUint64(RANGE.sector, BigInt(sector), true);
      view.setUint32(RANGE.sectorCount, count / SECTOR_BYTES, true);
      view.setUint32(RANGE.flags, flags, true);
      parts.push({ type, offsetBytes: offsetBytes + done, lengthBytes: count, bytes });
    }
    return this.#all(parts);
  }

  /** Runs parts of one request; settles when none of them is under way any more. */
  async #all(parts: readonly BlkRequest[]): Promise<void> {
    if (parts.length === 1) return this.#run(parts[0] as BlkRequest);
    const results = await Promise.allSettled(parts.map((part) => this.#run(part)));
    for (const result of results) if (result.status === 'rejected') throw result.reason as Error;
  }

  #run(request: BlkRequest): Promise<void> {
    let best = this.#lanes[0] as BlkLane;
    for (const lane of this.#lanes) if (lane.load < best.load) best = lane;
    return best.run(request);
  }

  #onEnd(error: VhostUserError | null): void {
    const closed = new VhostUserError('ERR_VHU_CLOSED', 'the client was closed');
    for (const lane of this.#lanes) {
      if (error !== null) lane.collect(); // what came back before is still good
      lane.fail(error ?? closed);
    }
    this.#options.onEnd?.(error);
  }

  /** A device that lies about one ring is not to be believed about the others. */
  #onFault(error: VhostUserError): void {
    for (const lane of this.#lanes) lane.fail(error);
    this.#options.onError?.(error);
    void this.close();
  }

  #onConfigChange(): void {
    this.refresh().catch((error: unknown) => {
      if (this.session.connected) this.#options.onError?.(error as VhostUserError);
    });
  }

  #checkRange(what: string, offsetBytes: number, lengthBytes: number): void {
    const { blockBytes, sizeBytes } = this.#info;
    const end = offsetBytes + lengthBytes;
    const aligned = offsetBytes % blockBytes === 0 && lengthBytes % blockBytes === 0;
    if (aligned && offsetBytes >= 0 && lengthBytes >= 0 && end <= sizeBytes) return;
    throw new VhostUserError(
      'ERR_VHU_BLK_RANGE',
      `${what} of ${String(lengthBytes)} bytes at ${String(offsetBytes)}: ` +
        (aligned
          ? `the disk has ${String(sizeBytes)} bytes`
          : `offset and length have to be multiples of ${String(blockBytes)} bytes`),
    );
  }

  #checkWritable(what: string): void {
    if (!this.#info.readOnly) return;
    throw new VhostUserError('ERR_VHU_BLK_READ_ONLY', `${what}: the device is read-only`);
  }
}

/** Reads the configuration space, or as much of it as the back-end gives. */
async function readInfo(session: FrontendSession): Promise<BlkInfo> {
  for (const bytes of CONFIG_SIZES) {
    try {
      return parseBlkConfig(await session.readConfig(0, bytes), session.features);
    } catch (error) {
      if (errorCode(error) !== 'ERR_VHU_REFUSED') throw error;
    }
  }
  throw new VhostUserError(
    'ERR_VHU_BLK_CONFIG',
    'the back-end does not even tell the capacity: is it a block device?',
  );
}

/** As many slots as fit, at most `countMax`; smaller buffers when there would be few. */
function fitSlots(
  roomBytes: number,
  bufferBytesMax: number,
  countMax: number,
  blockBytes: number,
): { count: number; bufferBytes: number } {
  let bufferBytes = Math.max(blockBytes, bufferBytesMax);
  for (;;) {
    const fits = Math.floor(roomBytes / slotMemoryBytes(1, bufferBytes));
    const smaller = Math.floor(bufferBytes / 2 / blockBytes) * blockBytes;
    if (fits >= Math.min(countMax, SLOTS_WANTED) || smaller < blockBytes) {
      const count = Math.min(countMax, fits);
      if (count > 0) return { count, bufferBytes };
      throw new VhostUserError(
        'ERR_VHU_FRONTEND_MEMORY',
        `shared memory: ${String(roomBytes)} bytes are left for each queue's buffers, a block ` +
          `needs ${String(slotMemoryBytes(1, bufferBytes))}: share more memory`,
      );
    }
    bufferBytes = smaller;
  }
}

function unsupported(what: string, feature: string): VhostUserError {
  return new VhostUserError(
    'ERR_VHU_BLK_UNSUPPORTED',
    `${what}: the device does not offer it (VIRTIO_BLK_F_${feature})`,
  );
}
