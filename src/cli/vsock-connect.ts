/**
 * Standard input and output of this process, joined with a port of a guest.
 *
 * @module
 */
import { VsockError, VsockHost } from '../vsock/index.ts';
import type { VsockConnectOptions } from '../vsock/index.ts';
import { VhostUserError, errorCode } from '../util/index.ts';
import { EXIT } from './errors.ts';

/**
 * Passes bytes on, both ways, until the guest has sent its last one; the end of standard input is
 * passed on, too, and leaves the other way open.
 *
 * @returns the exit code
 * @throws VhostUserError `ERR_VHU_VSOCK` when nothing comes of the connection
 */
export async function joinGuest(
  udsPath: string,
  port: number,
  options: VsockConnectOptions,
): Promise<number> {
  const { stdin, stdout } = process;
  let socket;
  try {
    socket = await new VsockHost(udsPath).connect(port, { ...options, allowHalfOpen: true });
  } catch (error) {
    if (!(error instanceof VsockError)) throw error;
    throw new VhostUserError('ERR_VHU_VSOCK', error.message, { cause: error });
  }
  const ended = new Promise<Error | null>((resolve) => {
    socket.once('end', () => resolve(null)).once('error', resolve);
    // The reader of our output has gone, as head(1) does.
    stdout.once('error', resolve);
  });
  stdin.once('error', () => socket.end());
  stdin.pipe(socket);
  socket.pipe(stdout, { end: false });
  const error = await ended;
  stdin.unpipe(socket).pause();
  if (error !== null) {
    socket.destroy();
    if (errorCode(error) === 'EPIPE') return EXIT.OK;
    const text = `port ${port} of ${udsPath}: the connection has broken: ${error.message}`;
    throw new VhostUserError('ERR_VHU_VSOCK', text, { cause: error });
  }
  // What is left goes out before the process ends.
  await new Promise<void>((resolve) => stdout.write('', () => resolve()));
  socket.destroy();
  return EXIT.OK;
}
