/**
 * Small things of the wire that everything here writes or reads: numbers of 64 bits, names.
 *
 * @module
 */

const TWO_32 = 2 ** 32;

/** Writes a number below 2^53 as 64 bits. */
export function putU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value, true); // modulo 2^32
  view.setUint32(at + 4, value / TWO_32, true);
}

/** Reads 64 bits as a number, which is exact below 2^53 only. */
export function getU64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * TWO_32;
}

/** Writes zeroes; the caller's arguments follow. */
export function putZeroes(view: DataView, at: number, bytes: number): void {
  for (let i = 0; i < bytes; i += 4) view.setUint32(at + i, 0, true);
}

/** Copies 64 bits, whatever they mean. */
export function copyU64(to: DataView, toAt: number, from: DataView, fromAt: number): void {
  to.setUint32(toAt, from.getUint32(fromAt, true), true);
  to.setUint32(toAt + 4, from.getUint32(fromAt + 4, true), true);
}
