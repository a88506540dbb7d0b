/**
 * The client that puts load on a vsock server: both ends of its connections, by our own polling
 * front-end.
 *
 * @module
 */
import type { DuelClient } from '../duel.ts';
import { openLoadClient } from '../load-client.ts';
import type { VsockOp, VsockRow } from './plan.ts';

/** What the client is told, a JSON line each. */
export interface VsockLoad {
  readonly op: VsockOp;
  readonly blockBytes: number;
  readonly durationMs: number;
}

/** Connects to a server, with buffers of so many bytes for what comes in. */
export function openVsockClient(
  socketPath: string,
  udsPath: string,
  bufferBytes: number,
): Promise<DuelClient<VsockRow>> {
  return openLoadClient({
    besides: import.meta.url,
    args: [socketPath, udsPath, String(bufferBytes)],
    requestOf: ({ op, blockBytes }, durationMs): VsockLoad => ({ op, blockBytes, durationMs }),
  });
}
