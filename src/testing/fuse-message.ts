/**
 * FUSE requests as bytes, right or wrong, and their answers taken apart: for tests of a server.
 *
 * @module
 */
import {
  FUSE_INIT,
  FUSE_INIT_IN,
  FUSE_IN_HEADER,
  FUSE_MAJOR,
  FUSE_MINOR,
  FUSE_OPCODE,
  FUSE_OUT_HEADER,
} from '../fuse/index.ts';

/** A part of a request: bytes as they are, or a text, which gets a NUL at its end. */
export type FusePart = Uint8Array | string;

/** The header of a request; what is left out is as an honest guest has it. */
export interface FuseRequestOptions {
  readonly nodeId?: number | bigint;
  readonly unique?: number | bigint;
  readonly uid?: number;
  readonly gid?: number;
  readonly pid?: number;
  /** What the header says of the length. */
  readonly len?: number;
  /** Extensions, in units of 8 bytes, which are the last of the parts. */
  readonly totalExtlen?: number;
}

/**
 * A request: header and parts.
 *
 * ```ts
 * fuseRequest(FUSE_OPCODE.LOOKUP, ['readme.txt'], { nodeId: 1, unique: 7 });
 * ```
 */
export function fuseRequest(
  opcode: number,
  parts: readonly FusePart[] = [],
  options: FuseRequestOptions = {},
): Uint8Array {
  const bodies = parts.map((part) =>
    typeof part === 'string' ? Buffer.from(`${part}\0`, 'latin1') : part,
  );
  const header = new Uint8Array(FUSE_IN_HEADER.SIZE);
  const view = new DataView(header.buffer);
  const lengthBytes = bodies.reduce((sum, { length }) => sum + length, header.length);
  const { nodeId = 1, unique = 2, uid = 0, gid = 0, pid = 1, totalExtlen = 0 } = options;
  view.setUint32(FUSE_IN_HEADER.len, options.len ?? lengthBytes, true);
  view.setUint32(FUSE_IN_HEADER.opcode, opcode, true);
  view.setBigUint64(FUSE_IN_HEADER.unique, BigInt(unique), true);
  view.setBigUint64(FUSE_IN_HEADER.nodeid, BigInt(nodeId), true);
  view.setUint32(FUSE_IN_HEADER.uid, uid, true);
  view.setUint32(FUSE_IN_HEADER.gid, gid, true);
  view.setUint32(FUSE_IN_HEADER.pid, pid, true);
  view.setUint16(FUSE_IN_HEADER.totalExtlen, totalExtlen, true);
  return Buffer.concat([header, ...bodies]);
}

/**
 * An argument structure: `fuseStruct(FUSE_READ_IN, { fh: 3, size: 4096 })`. Fields of 8 bytes are
 * those that end at a multiple of 8 before the next field.
 */
export function fuseStruct(
  layout: Readonly<Record<string, number>> & { readonly SIZE: number },
  values: Readonly<Record<string, number | bigint>> = {},
): Uint8Array {
  const bytes = new Uint8Array(layout.SIZE);
  const view = new DataView(bytes.buffer);
  for (const [name, value] of Object.entries(values)) {
    const at = layout[name];
    if (at === undefined) throw new RangeError(`there is no field ${name}`);
    const next = Math.min(...Object.values(layout).filter((each) => each > at));
    if (next - at >= 8) view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true);
    else if (next - at === 2) view.setUint16(at, Number(value), true);
    else view.setUint32(at, Number(value), true);
  }
  return bytes;
}

/** Every flag that a kernel may offer. */
const ALL_FLAGS = 0x7fff_ffff;

/** What an INIT offers. */
export interface FuseInitOptions {
  readonly major?: number;
  readonly minor?: number;
  readonly flags?: number;
  readonly flags2?: number;
  /** Bytes of `fuse_init_in`; kernels before 7.36 send 16. */
  readonly argumentBytes?: number;
}

/** An INIT of a kernel that can do everything. */
export function fuseInitRequest(options: FuseInitOptions = {}): Uint8Array {
  const { major = FUSE_MAJOR, minor = FUSE_MINOR, flags = ALL_FLAGS, flags2 = 0xffff } = options;
  const arguments_ = fuseStruct(FUSE_INIT_IN, {
    major,
    minor,
    maxReadahead: 1024 * 1024,
    flags,
  });
  if ((flags & FUSE_INIT.INIT_EXT) !== 0) {
    new DataView(arguments_.buffer).setUint32(FUSE_INIT_IN.flags2, flags2, true);
  }
  const { argumentBytes = FUSE_INIT_IN.SIZE } = options;
  return fuseRequest(FUSE_OPCODE.INIT, [arguments_.subarray(0, argumentBytes)], { nodeId: 0 });
}

/** An answer. */
export interface FuseAnswer {
  /** A Linux errno, or 0. */
  readonly errno: number;
  readonly unique: bigint;
  /** What follows the header; borrowed from the bytes that were given. */
  readonly body: Uint8Array;
  readonly view: DataView;
}

/**
 * Takes the used bytes of an answer apart.
 * @throws RangeError when they are no answer.
 */
export function fuseAnswer(written: Uint8Array, usedBytes: number): FuseAnswer {
  if (usedBytes < FUSE_OUT_HEADER.SIZE || usedBytes > written.length) {
    throw new RangeError(`${String(usedBytes)} bytes are no answer`);
  }
  const view = new DataView(written.buffer, written.byteOffset, usedBytes);
  const len = view.getUint32(FUSE_OUT_HEADER.len, true);
  if (len !== usedBytes) {
    throw new RangeError(`the answer says ${String(len)} bytes and has ${String(usedBytes)}`);
  }
  const body = written.subarray(FUSE_OUT_HEADER.SIZE, usedBytes);
  return {
    errno: Math.abs(view.getInt32(FUSE_OUT_HEADER.error, true)),
    unique: view.getBigUint64(FUSE_OUT_HEADER.unique, true),
    body,
    view: new DataView(body.buffer, body.byteOffset, body.length),
  };
}
