/**
 * The options of a disk, checked.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import { QUEUE_SIZE_MAX } from '../../virtqueue/index.ts';
import { SECTOR_BYTES, VIRTIO_BLK_ID_BYTES } from './layout.ts';

/** What `openBlk` takes; all but `image` may be left out. */
export interface BlkOptions {
  /** Path of a raw image or of a block device. */
  readonly image: string;
  /** The guest may only read. Default: false. */
  readonly readOnly?: boolean;
  /** Virtqueues, 1 to 256. Default: 1. */
  readonly queueCount?: number;
  /** The largest ring that a front-end may set up: a power of two. Default: 1024. */
  readonly queueSize?: number;
  /** What the guest sees in /sys/block/vda/serial; up to 20 bytes. Default: none. */
  readonly serial?: string;
  /** Read and write past the host's page cache. Default: false. */
  readonly direct?: boolean;
  /** The longest time to poll before sleeping, in microseconds; 0 never polls. Default: 64. */
  readonly pollUs?: number;
  /** Worker threads; queue i is served by thread i modulo this. Default: 1. */
  readonly threads?: number;
  /** How files are read and written. Default: io_uring where there is one. */
  readonly engine?: BlkEngineName;
  /**
   * The logical block that the guest sees: a power of two, 512 to 4096. Default: the image's own.
   */
  readonly blockBytes?: number;
  /** Offer DISCARD and WRITE_ZEROES. Default: true. */
  readonly discard?: boolean;
  /**
   * `raw` serves the bytes as they are, even when they look like an image of another format, which
   * `auto` refuses. Default: auto.
   */
  readonly format?: 'auto' | 'raw';
  /** Take an advisory lock on the image. Default: true. */
  readonly lock?: boolean;
}

/** The engines: io_uring, preadv and pwritev, or the better of the two on this host. */
export type BlkEngineName = 'auto' | 'io_uring' | 'pread';

/** All options, with their defaults filled in; `blockBytes` 0 stands for the image's own. */
export type BlkSettings = Required<BlkOptions>;

const QUEUES_MAX = 256;
const THREADS_MAX = 64;
/**
 * Waking a sleeping driver takes 25 to 40 µs on a virtual machine: a driver that waits for each
 * answer and asks again is met by a poll of this length, and by one of half of it hardly ever.
 */
const POLL_US = 64;
const POLL_US_MAX = 1_000_000;
const BLOCK_BYTES_MAX = 4096;

/**
 * Fills in defaults.
 * @throws VhostUserError `ERR_VHU_OPTION` naming the option, its value and its limits.
 */
export function blkSettings(options: BlkOptions): BlkSettings {
  const settings: BlkSettings = {
    image: options.image,
    readOnly: options.readOnly ?? false,
    queueCount: options.queueCount ?? 1,
    queueSize: options.queueSize ?? 1024,
    serial: options.serial ?? '',
    direct: options.direct ?? false,
    pollUs: options.pollUs ?? POLL_US,
    threads: options.threads ?? 1,
    engine: options.engine ?? 'auto',
    blockBytes: options.blockBytes ?? 0,
    discard: options.discard ?? true,
    format: options.format ?? 'auto',
    lock: options.lock ?? true,
  };
  inRange('num-queues', settings.queueCount, 1, QUEUES_MAX);
  inRange('threads', settings.threads, 1, THREADS_MAX);
  inRange('poll-us', settings.pollUs, 0, POLL_US_MAX);
  inRange('queue-size', settings.queueSize, 2, QUEUE_SIZE_MAX);
  powerOfTwo('queue-size', settings.queueSize);
  if (settings.blockBytes !== 0) {
    inRange('block-size', settings.blockBytes, SECTOR_BYTES, BLOCK_BYTES_MAX);
    powerOfTwo('block-size', settings.blockBytes);
  }
  const serialBytes = Buffer.byteLength(settings.serial);
  if (serialBytes > VIRTIO_BLK_ID_BYTES) {
    throw optionError(
      `serial "${settings.serial}" has ${String(serialBytes)} bytes, ` +
        `at most ${String(VIRTIO_BLK_ID_BYTES)} fit`,
    );
  }
  return settings;
}

function inRange(name: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw optionError(
    `${name} is ${String(value)}: a whole number from ${String(min)} to ${String(max)} is wanted`,
  );
}

function powerOfTwo(name: string, value: number): void {
  if ((value & (value - 1)) !== 0) {
    throw optionError(`${name} is ${String(value)}: a power of two is wanted`);
  }
}

function optionError(text: string): VhostUserError {
  return new VhostUserError('ERR_VHU_OPTION', text);
}
