/**
 * A block device in memory whose answers a test can bend: the counterpart of the mock driver. Slow
 * and simple on purpose; for a real disk see `devices/blk`.
 *
 * @module
 */
import { VhostUserError } from '../util/index.ts';
import type { Chain, Virtqueue } from '../virtqueue/index.ts';
import type { DataPlaneContext, Device, DeviceLink, LocalDataPlane } from '../backend/index.ts';
import {
  BLK_FEATURE,
  BLK_STATUS,
  BLK_TYPE,
  CONFIG,
  ID_BYTES,
  RANGE,
  REQUEST,
  SECTOR_BYTES,
} from '../frontend/index.ts';

const BLK_DEVICE_ID = 2;

/** How a {@link RamDisk} is made. A limit that is given comes with its feature. */
export interface RamDiskOptions {
  /** A multiple of 512; 1 MiB by default. */
  readonly sizeBytes?: number;
  readonly queueCount?: number;
  readonly queueSizeMax?: number;
  readonly serial?: string;
  readonly blockBytes?: number;
  readonly segmentBytesMax?: number;
  readonly segmentCountMax?: number;
  readonly discardSectorsMax?: number;
  readonly writeZeroesSectorsMax?: number;
  /** Offered beside what the limits bring. */
  readonly features?: bigint;
}

/** A request, as {@link RamDisk.answer} sees it. */
export interface RamDiskRequest {
  readonly queueIndex: number;
  readonly type: number;
  readonly sector: number;
  /** Bytes of data, in either direction. */
  readonly dataBytes: number;
}

/** A status, `'no status'`, or `'hold'`: not yet, but with {@link RamDisk.release}. */
export type RamDiskAnswer = number | 'no status' | 'hold';

/** See the module. */
export class RamDisk implements Device {
  readonly name = 'ram-disk';
  readonly deviceId: number = BLK_DEVICE_ID;
  readonly queueCount: number;
  readonly queueSizeMax: number;
  readonly features: bigint;
  readonly dataPlane: LocalDataPlane;
  /** The disk. */
  bytes: Uint8Array;
  /** Decides about each request; null: do it, and answer OK. */
  answer: ((request: RamDiskRequest) => RamDiskAnswer | null) | null = null;
  /** All requests that came, held ones too. */
  readonly requests: RamDiskRequest[] = [];
  /** Writes of the driver to the configuration space. */
  readonly configWrites: { readonly offset: number; readonly bytes: Uint8Array }[] = [];
  readonly #options: RamDiskOptions;
  readonly #held: { readonly queue: Virtqueue; readonly chain: Chain }[] = [];
  #link: DeviceLink | null = null;
  #context: DataPlaneContext | null = null;

  constructor(options: RamDiskOptions = {}) {
    this.#options = options;
    this.queueCount = options.queueCount ?? 1;
    this.queueSizeMax = options.queueSizeMax ?? 256;
    this.bytes = new Uint8Array(options.sizeBytes ?? 1024 * 1024);
    this.features = featuresOf(options);
    this.dataPlane = {
      kind: 'local',
      create: (context) => {
        this.#context = context;
        return { serve: (queue, budget) => this.#serve(queue, budget) };
      },
    };
  }

  readConfig(): Uint8Array {
    const { blockBytes, segmentBytesMax, segmentCountMax } = this.#options;
    const { discardSectorsMax, writeZeroesSectorsMax } = this.#options;
    const bytes = new Uint8Array(CONFIG.SIZE);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(CONFIG.capacity, BigInt(this.bytes.length / SECTOR_BYTES), true);
    view.setUint32(CONFIG.sizeMax, segmentBytesMax ?? 0, true);
    view.setUint32(CONFIG.segMax, segmentCountMax ?? 0, true);
    view.setUint32(CONFIG.blkSize, blockBytes ?? 0, true);
    view.setUint16(CONFIG.numQueues, this.queueCount, true);
    view.setUint32(CONFIG.maxDiscardSectors, discardSectorsMax ?? 0, true);
    view.setUint32(CONFIG.maxDiscardSeg, 1, true);
    view.setUint32(CONFIG.maxWriteZeroesSectors, writeZeroesSectorsMax ?? 0, true);
    view.setUint32(CONFIG.maxWriteZeroesSeg, 1, true);
    return bytes;
  }

  writeConfig(offset: number, bytes: Uint8Array): void {
    if (offset !== CONFIG.writeback) {
      throw new VhostUserError('ERR_VHU_CONFIG', 'of a disk only writeback can be written');
    }
    this.configWrites.push({ offset, bytes });
  }

  /** Another size, of which the front-end is told. */
  resize(sizeBytes: number): void {
    const bytes = new Uint8Array(sizeBytes);
    bytes.set(this.bytes.subarray(0, sizeBytes));
    this.bytes = bytes;
    this.#link?.configChanged();
  }

  /** Answers what was held, the newest first, which a driver has to be able to take. */
  release(): void {
    for (const { queue, chain } of this.#held.splice(0).reverse()) this.#finish(queue, chain, null);
    this.#context?.flush();
  }

  attach(link: DeviceLink): void {
    this.#link = link;
  }

  close(): void {
    this.#link = null;
  }

  #serve(queue: Virtqueue, budget: number): number {
    let count = 0;
    for (; count < budget; count++) {
      const chain = queue.pop();
      if (chain === null) break;
      const request = requestOf(queue, chain);
      this.requests.push(request);
      const answer = this.answer?.(request) ?? null;
      if (answer === 'hold') this.#held.push({ queue, chain });
      else this.#finish(queue, chain, answer);
    }
    return count;
  }

  #finish(queue: Virtqueue, chain: Chain, answer: number | 'no status' | null): void {
    const statusAt = chain.writableBytes - 1;
    const status = answer ?? this.#execute(chain);
    if (status !== 'no status' && statusAt >= 0) chain.writeWritableU8(statusAt, status);
    queue.push(chain, status === 'no status' ? 0 : chain.writableBytes);
  }

  #execute(chain: Chain): number {
    const type = chain.readableU32(REQUEST.type);
    const at = chain.readableU64(REQUEST.sector) * SECTOR_BYTES;
    if (type === BLK_TYPE.IN) {
      const end = at + chain.writableBytes - 1;
      if (end > this.bytes.length) return BLK_STATUS.IOERR;
      chain.copyToWritable(0, this.bytes.subarray(at, end));
    } else if (type === BLK_TYPE.OUT) {
      const end = at + chain.readableBytes - REQUEST.SIZE;
      if (end > this.bytes.length) return BLK_STATUS.IOERR;
      chain.copyFromReadable(REQUEST.SIZE, this.bytes.subarray(at, end));
    } else if (type === BLK_TYPE.GET_ID) {
      const id = new Uint8Array(ID_BYTES);
      id.set(Buffer.from(this.#options.serial ?? '', 'latin1').subarray(0, ID_BYTES));
      chain.copyToWritable(0, id);
    } else if (type === BLK_TYPE.DISCARD || type === BLK_TYPE.WRITE_ZEROES) {
      return this.#zero(chain);
    } else if (type !== BLK_TYPE.FLUSH) {
      return BLK_STATUS.UNSUPP;
    }
    return BLK_STATUS.OK;
  }

  #zero(chain: Chain): number {
    const at = chain.readableU64(REQUEST.SIZE + RANGE.sector) * SECTOR_BYTES;
    const end = at + chain.readableU32(REQUEST.SIZE + RANGE.sectorCount) * SECTOR_BYTES;
    if (end > this.bytes.length) return BLK_STATUS.IOERR;
    this.bytes.fill(0, at, end);
    return BLK_STATUS.OK;
  }
}

function featuresOf(options: RamDiskOptions): bigint {
  const { MQ, BLK_SIZE, SIZE_MAX, SEG_MAX, DISCARD, WRITE_ZEROES } = BLK_FEATURE;
  let features = options.features ?? 0n;
  if ((options.queueCount ?? 1) > 1) features |= MQ;
  if (options.blockBytes !== undefined) features |= BLK_SIZE;
  if (options.segmentBytesMax !== undefined) features |= SIZE_MAX;
  if (options.segmentCountMax !== undefined) features |= SEG_MAX;
  if (options.discardSectorsMax !== undefined) features |= DISCARD;
  if (options.writeZeroesSectorsMax !== undefined) features |= WRITE_ZEROES;
  return features;
}

function requestOf(queue: Virtqueue, chain: Chain): RamDiskRequest {
  const type = chain.readableU32(REQUEST.type);
  return {
    queueIndex: queue.index,
    type,
    sector: chain.readableU64(REQUEST.sector),
    dataBytes: chain.readableBytes - REQUEST.SIZE + chain.writableBytes - 1,
  };
}
