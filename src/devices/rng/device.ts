/**
 * The control side of an entropy device, which has next to nothing to control.
 *
 * @module
 */
import type { Device, LocalDataPlane } from '../../backend/index.ts';
import { protocolFeatures } from '../../protocol/index.ts';
import { RngDataPlane } from './data-plane.ts';
import { RngFile } from './file.ts';
import { VIRTIO_ID_ENTROPY } from './layout.ts';
import { rngSettings } from './options.ts';
import type { RngOptions, RngSettings } from './options.ts';
import { RateLimit } from './rate-limit.ts';

const QUEUE_SIZE_MAX = 1024;

/** See the module; made by `openRng`. */
export class RngDevice implements Device {
  readonly name = 'rng';
  readonly deviceId: number = VIRTIO_ID_ENTROPY;
  readonly queueCount = 1;
  readonly queueSizeMax: number = QUEUE_SIZE_MAX;
  readonly features = 0n;
  /** There is no configuration space (section 5.4.4). */
  readonly withheldProtocolFeatures: bigint = protocolFeatures('CONFIG');
  readonly dataPlane: LocalDataPlane;
  /** How long a period of the limit is, whether there is a limit or not. */
  readonly periodMs: number;
  readonly #file: RngFile | null;

  constructor(options: RngOptions) {
    const settings = rngSettings(options);
    const file = settings.file === null ? null : RngFile.open(settings.file);
    this.#file = file;
    this.periodMs = settings.periodMs;
    // The device's and not a queue's: a guest that resets it must not get more by that.
    const limit = limitOf(settings);
    this.dataPlane = {
      kind: 'local',
      create: (context) => new RngDataPlane(context, { file, limit }),
    };
  }

  /** The file is a regular one: a copy of what the guest gets stays there, and it has an end. */
  get isFromRegularFile(): boolean {
    return this.#file?.isRegular ?? false;
  }

  readConfig(): Uint8Array {
    return new Uint8Array(0);
  }

  attach(): void {
    // There is nothing to tell the data plane or the front-end later.
  }

  close(): void {
    this.#file?.close();
  }
}

function limitOf({ maxBytes, periodMs }: RngSettings): RateLimit | null {
  return maxBytes === null ? null : new RateLimit(maxBytes, periodMs);
}
