/**
 * Answers on stdout: written at once, so that a failure is known before the program ends.
 *
 * @module
 */
import { writeSync } from 'node:fs';
import { VhostUserError, errorCode, errorMessage } from '../util/index.ts';
import { EXIT } from './errors.ts';

const STDOUT_FD = 1;
const FULL_PIPE_WAIT_MS = 10;

/**
 * Prints a text. A reader that has seen enough (`vhost-user man | head`) ends the program, and is
 * no failure.
 *
 * @throws VhostUserError `ERR_VHU_OUTPUT` when stdout takes no more
 */
export function print(text: string): void {
  let rest: Uint8Array = Buffer.from(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(STDOUT_FD, rest));
    } catch (error) {
      if (errorCode(error) === 'EPIPE') process.exit(EXIT.OK);
      if (errorCode(error) !== 'EAGAIN') {
        throw new VhostUserError('ERR_VHU_OUTPUT', `writing to stdout: ${errorMessage(error)}`);
      }
      // A pipe that another program has made non-blocking is full.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_PIPE_WAIT_MS);
    }
  }
}
