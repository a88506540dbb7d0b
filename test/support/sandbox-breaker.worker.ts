/**
 * The ways out, tried from a worker thread.
 *
 * @module
 */
import { parentPort, workerData } from 'node:worker_threads';
import { tryAll } from './sandbox-attempts.ts';
import type { Targets } from './sandbox-attempts.ts';

parentPort?.postMessage(tryAll(workerData as Targets));
