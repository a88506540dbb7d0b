/**
 * Serves the virtqueues of a vsock device, on a worker thread.
 *
 * @module
 */
import type { DataPlane, DataPlaneFactory } from '../../backend/index.ts';
import type { VsockSettings } from './options.ts';

/** What the main thread hands over. Plain data. */
export interface VsockPlaneOptions {
  readonly settings: VsockSettings;
}

/** See the module. */
export class VsockDataPlane implements DataPlane {
  serve(): number {
    return 0;
  }
}

/** The factory that the worker calls. */
export const createDataPlane: DataPlaneFactory = () => new VsockDataPlane();
