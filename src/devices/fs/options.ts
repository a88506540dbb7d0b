/**
 * The options of the device, checked; those of its file system are the source's own.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import { QUEUE_SIZE_MAX } from '../../virtqueue/index.ts';
import { FS_TAG_BYTES } from './layout.ts';
import type { FsSource } from './source.ts';
import type { ReaddirPlus } from './server/init.ts';

/** What `openFs` takes; all but `tag` and `source` may be left out. */
export interface FsOptions {
  /** The name by which the guest mounts it: 1 to 36 bytes of UTF-8. */
  readonly tag: string;
  /** What is shared. */
  readonly source: FsSource;
  /** Queues for requests, beside the one of high priority: 1 to 64. Default: 1. */
  readonly requestQueues?: number;
  /** The largest ring that a front-end may set up: a power of two. Default: 1024. */
  readonly queueSize?: number;
  /** The longest time to poll before sleeping, in microseconds; 0 never polls. Default: 200. */
  readonly pollUs?: number;
  /**
   * Whether a front-end may ask for the tag and the number of queues (the configuration space).
   * QEMU has them on its own command line: it warns when it is offered, and 7.1 to 8.0 crash.
   * Default: true.
   */
  readonly offerConfig?: boolean;
  /** Attributes together with the names of a folder; `auto`: when they are used. Default: auto. */
  readonly readdirPlus?: ReaddirPlus;
}

/** All options but the source, with their defaults filled in. */
export type FsSettings = Required<Omit<FsOptions, 'source'>>;

const REQUEST_QUEUES_MAX = 64;
/**
 * More than a disk's, since a guest waits for the answer to nearly each request of names and
 * attributes: an emulated one comes back after 60 to 180 µs, and is a third quicker when these are
 * polled through. As long as KVM polls for a virtual CPU that sleeps (`halt_poll_ns`).
 */
const POLL_US = 200;
const POLL_US_MAX = 1_000_000;
const READDIR_PLUS: readonly string[] = ['auto', 'always', 'never'];

/**
 * Fills in defaults.
 * @throws VhostUserError `ERR_VHU_OPTION` naming the option, its value and its limits.
 */
export function fsSettings(options: FsOptions): FsSettings {
  const settings: FsSettings = {
    tag: options.tag,
    requestQueues: options.requestQueues ?? 1,
    queueSize: options.queueSize ?? 1024,
    pollUs: options.pollUs ?? POLL_US,
    offerConfig: options.offerConfig ?? true,
    readdirPlus: options.readdirPlus ?? 'auto',
  };
  checkTag(settings.tag);
  inRange('num-request-queues', settings.requestQueues, 1, REQUEST_QUEUES_MAX);
  inRange('poll-us', settings.pollUs, 0, POLL_US_MAX);
  inRange('queue-size', settings.queueSize, 2, QUEUE_SIZE_MAX);
  if ((settings.queueSize & (settings.queueSize - 1)) !== 0) {
    throw optionError(`queue-size is ${String(settings.queueSize)}: a power of two is wanted`);
  }
  if (!READDIR_PLUS.includes(settings.readdirPlus)) {
    throw optionError(
      `readdirplus is "${settings.readdirPlus}": one of ${READDIR_PLUS.join(', ')} is wanted`,
    );
  }
  return settings;
}

function checkTag(tag: string): void {
  const bytes = Buffer.byteLength(tag);
  if (bytes === 0) throw optionError('the tag is empty: the guest mounts the folder by it');
  if (tag.includes('\0')) throw optionError('the tag has a NUL in it');
  if (bytes > FS_TAG_BYTES) {
    throw optionError(
      `tag "${tag}" has ${String(bytes)} bytes, at most ${String(FS_TAG_BYTES)} fit`,
    );
  }
}

function inRange(name: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw optionError(
    `${name} is ${String(value)}: a whole number from ${String(min)} to ${String(max)} is wanted`,
  );
}

function optionError(text: string): VhostUserError {
  return new VhostUserError('ERR_VHU_OPTION', text);
}
