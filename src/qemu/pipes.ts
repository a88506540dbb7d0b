/**
 * How releases of QEMU do where there is no eventfd and their notifiers are pipes.
 *
 * @module
 */
import { isAtLeast } from './output.ts';
import type { QemuVersion } from './output.ts';

/** Whether vhost-user devices start. */
export type PipesFitness = 'works' | 'fails' | 'unknown';

/** What QEMU says when they do not: it writes a kick into the end of a pipe that is to be read. */
export const PIPES_FAULT = 'vhost_set_vring_kick failed: Bad file descriptor';

/**
 * What is known of a release without eventfd. 10.0 was seen to work and 11.1.2 to fail; which of
 * 11.0 and 11.1 brought the kick, and which later one writes it into the right end, is not known:
 * docs/macos.md tells what was tried.
 */
export function pipesFitness(version: QemuVersion): PipesFitness {
  if (!isAtLeast(version, 11, 0)) return 'works';
  return version.major === 11 && version.minor === 1 ? 'fails' : 'unknown';
}
