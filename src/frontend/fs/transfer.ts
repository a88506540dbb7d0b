/**
 * Reads and writes of any length: cut into requests that the server takes, which run at the same
 * time.
 *
 * @module
 */
import type { FuseCalls } from './calls.ts';
import { FsError } from './errors.ts';

/** An open file of the server. */
export interface OpenFile {
  readonly node: number;
  readonly fh: bigint;
}

/** A part of a transfer. */
interface Part {
  readonly at: number; // in the caller's bytes
  readonly bytes: Uint8Array;
}

/** Fills `into` from a position on; fewer bytes at the end of the file. Returns how many. */
export async function readAt(
  calls: FuseCalls,
  file: OpenFile,
  position: number,
  into: Uint8Array,
  signal?: AbortSignal,
): Promise<number> {
  const { node, fh } = file;
  let done = 0;
  while (done < into.length) {
    const parts = cut(into, done, calls.connection.readBytesMax);
    const counts = await all(
      parts.map(({ at, bytes }) => calls.read(node, fh, position + at, bytes, signal)),
    );
    const short = parts.findIndex(({ bytes }, i) => (counts[i] as number) < bytes.length);
    if (short < 0) return into.length;
    const { at } = parts[short] as Part;
    done = at + (counts[short] as number);
    // Where data come after a short part, the file has grown meanwhile: that part again.
    if (!counts.slice(short + 1).some((count) => count > 0)) return done;
  }
  return done;
}

/** Writes all of `data` from a position on; where `inOrder`, a part when the one before is done. */
export async function writeAt(
  calls: FuseCalls,
  file: OpenFile,
  position: number,
  data: Uint8Array,
  options: {
    readonly flags: number;
    readonly inOrder: boolean;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<void> {
  const { node, fh } = file;
  const { flags, signal } = options;
  const write = async ({ at, bytes }: Part): Promise<void> => {
    for (let done = 0; done < bytes.length;) {
      const rest = bytes.subarray(done);
      const count = await calls.write(node, fh, position + at + done, rest, { flags, signal });
      if (count === 0) throw new FsError('EIO', { syscall: 'write' });
      done += count;
    }
  };
  const parts = cut(data, 0, calls.connection.writeBytesMax);
  if (options.inOrder) for (const part of parts) await write(part);
  else await all(parts.map(write));
}

/** The rest of some bytes, in parts. */
function cut(bytes: Uint8Array, from: number, step: number): Part[] {
  const parts: Part[] = [];
  for (let at = from; at < bytes.length; at += step) {
    parts.push({ at, bytes: bytes.subarray(at, Math.min(at + step, bytes.length)) });
  }
  return parts;
}

/** Waits until none of the parts is under way any more, and then fails as the first that failed. */
async function all<T>(parts: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(parts);
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
}
