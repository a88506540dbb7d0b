/**
 * Has V8 compile hot code earlier than it does by default.
 *
 * A guest's first thousands of requests are often all that there are: files of an archive being
 * unpacked, a few hundred connections. V8 waits for about 67 KiB of executed bytecode per function
 * before it optimizes (some thousands of invocations since V8 12), so such a burst is over before
 * our loop is compiled; a device does a few things over and over, so what is hot once stays hot.
 * Measured in a guest: 1000 connections cost 115 µs of CPU each by default, and 67 µs this way.
 *
 * @module
 */
import { setFlagsFromString } from 'node:v8';

/** V8 that counts invocations, for which Maglev stands between the interpreter and TurboFan. */
const V8_COUNTING = 12;

const BY_BYTECODE: readonly string[] = [
  '--interrupt-budget=3000',
  '--minimum-invocations-after-ic-update=20',
];
const BY_INVOCATIONS: readonly string[] = [
  '--invocation-count-for-maglev=40',
  '--invocation-count-for-turbofan=300',
];

/**
 * The flags for a version of V8, as `process.versions.v8` has it. V8 complains on stderr of a flag
 * that it does not know.
 */
export function earlyCodeFlags(v8Version: string): readonly string[] {
  return Number.parseInt(v8Version, 10) < V8_COUNTING ? BY_BYTECODE : BY_INVOCATIONS;
}

/** Applies them to this process, its threads to come among them. */
export function compileEarly(): void {
  if ('bun' in process.versions) return; // it has the function, and another engine
  for (const flag of earlyCodeFlags(process.versions.v8)) setFlagsFromString(flag);
}
