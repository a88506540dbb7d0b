/**
 * A thread of the stress of wake-ups: the driver of one ring.
 *
 * @module
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Notifier } from '../../src/sys/index.ts';
import { SharedArea, makeAtomicsLate } from './exchange.ts';
import type { RoundPlan } from './exchange.ts';
import { StressDriver } from './stress-driver.ts';

/** What the thread is given; it takes over the two notifiers. */
export interface WakeupsDriverStart {
  readonly plan: RoundPlan;
  readonly gpa: number;
  readonly pauseUs: number;
  readonly memoryFd: number;
  readonly kickFd: number;
  readonly callFd: number;
}

const { plan, gpa, pauseUs, memoryFd, kickFd, callFd } = workerData as WakeupsDriverStart;
if (pauseUs > 0) makeAtomicsLate(plan.seed, pauseUs);
const area = new SharedArea(memoryFd, plan, gpa);
const driver = new StressDriver(plan, area, new Notifier(kickFd), callFd);
try {
  parentPort?.postMessage(driver.run());
} finally {
  driver.close();
  area.close();
}
