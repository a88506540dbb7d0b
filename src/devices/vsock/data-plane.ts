/**
 * Serves the virtqueues of a vsock device, on a worker thread.
 *
 * @module
 */
import type { DataPlane, DataPlaneFactory } from '../../backend/index.ts';

/** See the module. */
export class VsockDataPlane implements DataPlane {
  serve(): number {
    return 0;
  }
}

/** The factory that the worker calls. */
export const createDataPlane: DataPlaneFactory = () => new VsockDataPlane();
