/**
 * The control side of a disk.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import { mapAnonymous, pread, viewMemory } from '../../sys/index.ts';
import type { Device, DeviceLink, WorkerDataPlane } from '../../backend/index.ts';
import { blkConfigSpace } from './config.ts';
import type { BlkControl, BlkPlaneOptions } from './data-plane.ts';
import { BlkImage } from './image.ts';
import { CONFIG, VIRTIO_BLK_F, VIRTIO_ID_BLOCK } from './layout.ts';
import { blkSettings } from './options.ts';
import type { BlkOptions, BlkSettings } from './options.ts';

/** `.ts` when the sources run directly (Node 22.18+, Deno, Bun), else `.js`. */
const ENDING = import.meta.url.endsWith('.ts') ? '.ts' : '.js';

const FIRST_BYTES = 4096;
/** Alignment that direct I/O may want, from the smallest on. */
const ALIGNMENTS_BYTES: readonly number[] = [512, 4096];
/** Slots beyond this many would only be in use when each queue is full at the same time. */
const SLOTS_MAX = 4096;

/** See the module; made by `openBlk`. */
export class BlkDevice implements Device {
  readonly name = 'blk';
  readonly deviceId: number = VIRTIO_ID_BLOCK;
  readonly queueCount: number;
  readonly queueSizeMax: number;
  readonly features: bigint;
  readonly dataPlane: WorkerDataPlane;
  readonly #image: BlkImage;
  readonly #settings: BlkSettings;
  readonly #blockBytes: number;
  #sizeBytes: number;
  #writeback = true;
  #writebackAtFirst = true;
  #link: DeviceLink | null = null;

  constructor(options: BlkOptions) {
    const settings = blkSettings(options);
    const { image: path, readOnly, direct, lock } = settings;
    this.#settings = settings;
    this.queueCount = settings.queueCount;
    this.queueSizeMax = settings.queueSize;
    this.#image = new BlkImage({ path, readOnly, direct, lock });
    try {
      const alignBytes = this.#readFirst();
      this.#blockBytes = this.#pickBlockBytes(alignBytes);
      this.#sizeBytes = this.#image.sizeBytes;
      this.features = blkFeatures(settings);
      this.dataPlane = this.#dataPlane(alignBytes);
    } catch (error) {
      this.#image.close();
      throw error;
    }
  }

  /** The size of the disk. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** The logical block size that the guest sees. */
  get blockBytes(): number {
    return this.#blockBytes;
  }

  /** The path of the image. */
  get image(): string {
    return this.#image.path;
  }

  attach(link: DeviceLink): void {
    this.#link = link;
  }

  readConfig(): Uint8Array {
    return blkConfigSpace({
      sizeBytes: this.#sizeBytes,
      blockBytes: this.#blockBytes,
      optimalBytes: this.#image.info.optimalBytes,
      queueCount: this.queueCount,
      writeback: this.#writeback,
    });
  }

  writeConfig(offset: number, bytes: Uint8Array, kind: 'driver' | 'migration'): void {
    if (kind === 'driver' && (offset !== CONFIG.writeback || bytes.length !== 1)) {
      throw new VhostUserError(
        'ERR_VHU_CONFIG',
        `bytes ${String(offset)} to ${String(offset + bytes.length)}: a driver may only write ` +
          `"writeback", byte ${String(CONFIG.writeback)}`,
      );
    }
    const value = bytes[CONFIG.writeback - offset];
    if (value !== undefined) this.#setWriteback(value !== 0);
  }

  featuresNegotiated(features: bigint): void {
    const { CONFIG_WCE, FLUSH } = VIRTIO_BLK_F;
    // Section 5.2.5.2: a driver that cannot flush may still ask for a cache; it gets none unasked.
    this.#writebackAtFirst = (features & CONFIG_WCE) === 0n || (features & FLUSH) !== 0n;
    this.reset();
  }

  reset(): void {
    this.#setWriteback(this.#writebackAtFirst);
  }

  /**
   * Takes over the size that the image has now, and tells the guest of it. Returns it, in bytes.
   */
  resize(): number {
    const sizeBytes = this.#image.sizeBytes;
    if (sizeBytes !== this.#sizeBytes) {
      this.#sizeBytes = sizeBytes;
      this.#post({ kind: 'resize', sizeBytes });
      this.#link?.configChanged();
    }
    return sizeBytes;
  }

  close(): void {
    this.#image.close();
  }

  #setWriteback(writeback: boolean): void {
    if (writeback === this.#writeback) return;
    this.#writeback = writeback;
    this.#post({ kind: 'writeback', writeback });
  }

  #post(message: BlkControl): void {
    this.#link?.post(message);
  }

  #dataPlane(alignBytes: number): WorkerDataPlane {
    const { readOnly, discard, serial, engine, threads, pollUs } = this.#settings;
    const queuesPerThread = Math.ceil(this.queueCount / threads);
    const options: BlkPlaneOptions = {
      image: {
        fd: this.#image.fd,
        isDevice: this.#image.info.kind === 'block',
        inMemory: this.#image.inMemory,
      },
      direct: alignBytes === 0 ? null : { alignBytes, bufferedFd: this.#image.bufferedFd },
      sizeBytes: this.#sizeBytes,
      readOnly,
      discard,
      serial,
      engine,
      slotCount: Math.min(queuesPerThread * this.queueSizeMax, SLOTS_MAX),
    };
    const module = new URL(`./data-plane${ENDING}`, import.meta.url);
    return { kind: 'worker', module, options, threads, pollUs };
  }

  /**
   * Reads the start of the image: whether reading works at all, which alignment direct I/O wants
   * (returned; 0 without it), and whether it is a raw image.
   */
  #readFirst(): number {
    const { direct } = this.#settings;
    const memory = mapAnonymous(FIRST_BYTES);
    try {
      const alignments = direct ? ALIGNMENTS_BYTES : [FIRST_BYTES];
      for (const alignBytes of alignments) {
        const got = pread(this.#image.fd, memory.address, alignBytes, 0);
        if (got < 0) continue;
        const first = new Uint8Array(viewMemory(memory.address, alignBytes));
        const format = this.#image.foreignFormat(first);
        if (format !== null && this.#settings.format === 'auto')
          throw foreignError(this.#image.path, format);
        return direct ? alignBytes : 0;
      }
      throw new VhostUserError(
        'ERR_VHU_BLK_IMAGE',
        `${this.#image.path}: its first bytes cannot be read${direct ? ' with direct I/O' : ''}`,
      );
    } finally {
      memory.unmap();
    }
  }

  #pickBlockBytes(alignBytes: number): number {
    const { blockBytes } = this.#settings;
    const own = Math.max(this.#image.info.blockBytes, alignBytes);
    if (blockBytes === 0) return own;
    if (blockBytes >= this.#image.info.blockBytes) return blockBytes;
    throw new VhostUserError(
      'ERR_VHU_OPTION',
      `block-size is ${String(blockBytes)}, and the blocks of ${this.#image.path} have ` +
        `${String(this.#image.info.blockBytes)} bytes: choose that or more`,
    );
  }
}

function blkFeatures({ readOnly, discard }: BlkSettings): bigint {
  const { SIZE_MAX, SEG_MAX, BLK_SIZE, FLUSH, TOPOLOGY, CONFIG_WCE, MQ } = VIRTIO_BLK_F;
  let features = SIZE_MAX | SEG_MAX | BLK_SIZE | FLUSH | TOPOLOGY | CONFIG_WCE | MQ;
  if (readOnly) features |= VIRTIO_BLK_F.RO;
  else if (discard) features |= VIRTIO_BLK_F.DISCARD | VIRTIO_BLK_F.WRITE_ZEROES;
  return features;
}

function foreignError(path: string, format: string): VhostUserError {
  return new VhostUserError(
    'ERR_VHU_BLK_IMAGE',
    `${path} is a ${format} image, and only raw images are served: convert it with ` +
      `qemu-img convert -O raw ${path} disk.raw (or say --format raw if it only looks like one)`,
  );
}
