/**
 * Payloads: the structures that messages carry, as tables of fields, with one encoder and one
 * decoder for all of them. Numbers are in the machine's byte order, which is little-endian on every
 * host that we run on.
 *
 * @module
 */
import { VhostUserError, assert } from '../util/index.ts';

/** `u53`: 64 bits on the wire, an address or a size that has to be below 2^53; `u64`: a bigint. */
export type FieldType = 'u8' | 'u16' | 'u32' | 'i32' | 'u53' | 'u64';

/** One field: name, offset in bytes, type. */
export type FieldRow = readonly [name: string, at: number, type: FieldType];

/** What follows the fields: nothing, bytes, or records. */
export type Tail =
  | {
      readonly kind: 'bytes';
      readonly name: string;
      /** The field that says how many. */
      readonly countField?: string;
      /** How many there always are. */
      readonly lengthBytes?: number;
    }
  | {
      readonly kind: 'records';
      readonly name: string;
      readonly countField: string;
      readonly max: number;
      readonly fields: readonly FieldRow[];
      readonly sizeBytes: number;
    }
  | { readonly kind: 'u64s'; readonly name: string; readonly count: number };

/** The layout of a payload. */
export interface PayloadLayout {
  readonly fields: readonly FieldRow[];
  /** Bytes of the fields with their padding: what is encoded. */
  readonly sizeBytes: number;
  /** The fewest bytes that are accepted, where a peer may leave tail padding out. */
  readonly acceptedFromBytes?: number;
  readonly tail?: Tail;
}

/** Values of a payload's fields. */
export type FieldValues = Readonly<Record<string, unknown>>;

const MEMORY_REGION_FIELDS: readonly FieldRow[] = [
  ['gpa', 0, 'u53'],
  ['sizeBytes', 8, 'u53'],
  ['uva', 16, 'u53'],
  ['mmapOffset', 24, 'u53'],
];

/**
 * Most bytes of a device's configuration space in one message (QEMU's VHOST_USER_MAX_CONFIG_SIZE).
 */
export const CONFIG_BYTES_MAX = 256;
/** Most regions in SET_MEM_TABLE: the specification draws 8. */
export const MEM_TABLE_REGIONS_MAX = 8;
/** Bytes of a UUID. */
export const UUID_BYTES = 16;
/** A cursor has 64 × 64 pixels of 4 bytes. */
export const GPU_CURSOR_BYTES: number = 64 * 64 * 4;
/** VIRTIO shared memory regions that GET_SHMEM_CONFIG describes. */
export const SHMEM_REGIONS_MAX = 256;

/** All payload layouts, by the kind that a message's row names. */
export const PAYLOAD: Readonly<Record<PayloadKind, PayloadLayout>> = {
  none: { fields: [], sizeBytes: 0 },
  u64: { fields: [['value', 0, 'u64']], sizeBytes: 8 },
  vringState: {
    fields: [
      ['index', 0, 'u32'],
      ['num', 4, 'u32'],
    ],
    sizeBytes: 8,
  },
  vringFd: { fields: [['value', 0, 'u64']], sizeBytes: 8 },
  vringAddress: {
    fields: [
      ['index', 0, 'u32'],
      ['flags', 4, 'u32'],
      ['desc', 8, 'u53'],
      ['used', 16, 'u53'],
      ['avail', 24, 'u53'],
      ['log', 32, 'u64'],
    ],
    sizeBytes: 40,
  },
  memoryTable: {
    fields: [
      ['count', 0, 'u32'],
      ['padding', 4, 'u32'],
    ],
    sizeBytes: 8,
    tail: {
      kind: 'records',
      name: 'regions',
      countField: 'count',
      max: MEM_TABLE_REGIONS_MAX,
      fields: MEMORY_REGION_FIELDS,
      sizeBytes: 32,
    },
  },
  memoryRegion: {
    fields: MEMORY_REGION_FIELDS.map(([name, at, type]) => [name, at + 8, type] as const),
    sizeBytes: 40,
  },
  log: {
    fields: [
      ['sizeBytes', 0, 'u53'],
      ['offset', 8, 'u53'],
    ],
    sizeBytes: 16,
  },
  iotlb: {
    fields: [
      ['iova', 0, 'u64'],
      ['sizeBytes', 8, 'u64'],
      ['uva', 16, 'u64'],
      ['permissions', 24, 'u8'],
      ['type', 25, 'u8'],
    ],
    sizeBytes: 32,
  },
  config: {
    fields: [
      ['offset', 0, 'u32'],
      ['size', 4, 'u32'],
      ['flags', 8, 'u32'],
    ],
    sizeBytes: 12,
    tail: { kind: 'bytes', name: 'bytes', countField: 'size' },
  },
  vringArea: {
    fields: [
      ['value', 0, 'u64'],
      ['sizeBytes', 8, 'u53'],
      ['offset', 16, 'u53'],
    ],
    sizeBytes: 24,
  },
  inflight: {
    fields: [
      ['mmapSize', 0, 'u53'],
      ['mmapOffset', 8, 'u53'],
      ['queueCount', 16, 'u16'],
      ['queueSize', 18, 'u16'],
    ],
    sizeBytes: 24,
    acceptedFromBytes: 20,
  },
  cryptoSession: { fields: [], sizeBytes: 0, tail: { kind: 'bytes', name: 'bytes' } },
  sharedObject: {
    fields: [],
    sizeBytes: 0,
    tail: { kind: 'bytes', name: 'uuid', lengthBytes: UUID_BYTES },
  },
  /** Nothing, by the specification; libvhost-user sends the bytes of the request back. */
  ignored: { fields: [], sizeBytes: 0, tail: { kind: 'bytes', name: 'bytes' } },
  deviceState: {
    fields: [
      ['direction', 0, 'u32'],
      ['phase', 4, 'u32'],
    ],
    sizeBytes: 8,
  },
  shmemConfig: {
    fields: [
      ['count', 0, 'u32'],
      ['padding', 4, 'u32'],
    ],
    sizeBytes: 8,
    tail: { kind: 'u64s', name: 'sizes', count: SHMEM_REGIONS_MAX },
  },
  shmemMap: {
    fields: [
      ['shmid', 0, 'u8'],
      ['fdOffset', 8, 'u53'],
      ['shmOffset', 16, 'u53'],
      ['sizeBytes', 24, 'u53'],
      ['flags', 32, 'u64'],
    ],
    sizeBytes: 40,
  },
  gpuCursorPos: {
    fields: [
      ['scanoutId', 0, 'u32'],
      ['x', 4, 'u32'],
      ['y', 8, 'u32'],
    ],
    sizeBytes: 12,
  },
  gpuCursorUpdate: {
    fields: [
      ['scanoutId', 0, 'u32'],
      ['x', 4, 'u32'],
      ['y', 8, 'u32'],
      ['hotX', 12, 'u32'],
      ['hotY', 16, 'u32'],
    ],
    sizeBytes: 20,
    tail: { kind: 'bytes', name: 'pixels', lengthBytes: GPU_CURSOR_BYTES },
  },
  gpuScanout: {
    fields: [
      ['scanoutId', 0, 'u32'],
      ['width', 4, 'u32'],
      ['height', 8, 'u32'],
    ],
    sizeBytes: 12,
  },
  gpuUpdate: {
    fields: [
      ['scanoutId', 0, 'u32'],
      ['x', 4, 'u32'],
      ['y', 8, 'u32'],
      ['width', 12, 'u32'],
      ['height', 16, 'u32'],
    ],
    sizeBytes: 20,
    tail: { kind: 'bytes', name: 'pixels' },
  },
  gpuDmabufScanout: {
    fields: [
      ['scanoutId', 0, 'u32'],
      ['x', 4, 'u32'],
      ['y', 8, 'u32'],
      ['width', 12, 'u32'],
      ['height', 16, 'u32'],
      ['fdWidth', 20, 'u32'],
      ['fdHeight', 24, 'u32'],
      ['fdStride', 28, 'u32'],
      ['fdFlags', 32, 'u32'],
      ['fdFourcc', 36, 'i32'],
    ],
    sizeBytes: 40,
  },
  gpuDmabufScanout2: {
    fields: [
      ['scanoutId', 0, 'u32'],
      ['x', 4, 'u32'],
      ['y', 8, 'u32'],
      ['width', 12, 'u32'],
      ['height', 16, 'u32'],
      ['fdWidth', 20, 'u32'],
      ['fdHeight', 24, 'u32'],
      ['fdStride', 28, 'u32'],
      ['fdFlags', 32, 'u32'],
      ['fdFourcc', 36, 'i32'],
      ['modifier', 40, 'u64'],
    ],
    sizeBytes: 48,
  },
  gpuGetEdid: { fields: [['scanoutId', 0, 'u32']], sizeBytes: 4 },
  /**
   * `struct virtio_gpu_resp_display_info` or `…_edid` of the virtio specification, section 5.7.6.8.
   */
  gpuResponse: { fields: [], sizeBytes: 0, tail: { kind: 'bytes', name: 'bytes' } },
};

/** The kinds of payload. */
export type PayloadKind =
  | 'none'
  | 'u64'
  | 'vringState'
  | 'vringFd'
  | 'vringAddress'
  | 'memoryTable'
  | 'memoryRegion'
  | 'log'
  | 'iotlb'
  | 'config'
  | 'vringArea'
  | 'inflight'
  | 'cryptoSession'
  | 'sharedObject'
  | 'ignored'
  | 'deviceState'
  | 'shmemConfig'
  | 'shmemMap'
  | 'gpuCursorPos'
  | 'gpuCursorUpdate'
  | 'gpuScanout'
  | 'gpuUpdate'
  | 'gpuDmabufScanout'
  | 'gpuDmabufScanout2'
  | 'gpuGetEdid'
  | 'gpuResponse';

/** Bytes of a payload with these values. */
export function payloadBytes(kind: PayloadKind, values: FieldValues): number {
  const { sizeBytes, tail } = PAYLOAD[kind];
  if (tail === undefined) return sizeBytes;
  if (tail.kind === 'u64s') return sizeBytes + 8 * tail.count;
  const count = (values[tail.name] as ArrayLike<unknown>).length;
  return sizeBytes + (tail.kind === 'bytes' ? count : count * tail.sizeBytes);
}

/** Writes a payload into `view` from its start on. */
export function encodePayload(kind: PayloadKind, values: FieldValues, view: DataView): void {
  const { fields, sizeBytes, tail } = PAYLOAD[kind];
  writeFields(fields, values, view, 0);
  if (tail === undefined) return;
  if (tail.kind === 'bytes') {
    const bytes = values[tail.name] as Uint8Array;
    const right = tail.lengthBytes ?? bytes.length;
    assert(bytes.length === right, 'bytes of a fixed length have that length');
    new Uint8Array(view.buffer, view.byteOffset).set(bytes, sizeBytes);
    if (tail.countField !== undefined) writeCount(fields, tail.countField, bytes.length, view);
  } else if (tail.kind === 'u64s') {
    (values[tail.name] as readonly bigint[]).forEach((value, i) => {
      view.setBigUint64(sizeBytes + 8 * i, value, true);
    });
  } else {
    const records = values[tail.name] as readonly FieldValues[];
    records.forEach((record, i) => {
      writeFields(tail.fields, record, view, sizeBytes + i * tail.sizeBytes);
    });
    writeCount(fields, tail.countField, records.length, view);
  }
}

/**
 * Reads a payload; byte tails are copies, which the caller owns.
 *
 * @throws VhostUserError `ERR_VHU_MESSAGE_SIZE` when the length does not fit the layout or its own
 *   count, `ERR_VHU_MESSAGE_VALUE` for an address or a size from 2^53 up.
 */
export function decodePayload(kind: PayloadKind, bytes: Uint8Array, message: string): FieldValues {
  const { fields, sizeBytes, acceptedFromBytes, tail } = PAYLOAD[kind];
  const from = acceptedFromBytes ?? sizeBytes;
  const fits = tail === undefined ? bytes.length <= sizeBytes : true;
  if (bytes.length < from || !fits) {
    const want = from === sizeBytes ? String(sizeBytes) : `${String(from)} to ${String(sizeBytes)}`;
    const more = tail === undefined ? '' : ' or more';
    throw sizeError(message, bytes.length, `${want}${more} bytes`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = readFields(fields, view, 0, message);
  if (tail !== undefined) values[tail.name] = readTail(tail, values, sizeBytes, bytes, message);
  return values;
}

function readTail(
  tail: Tail,
  values: FieldValues,
  start: number,
  bytes: Uint8Array,
  message: string,
): unknown {
  const rest = bytes.length - start;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (tail.kind === 'bytes') {
    const { countField, lengthBytes = rest } = tail;
    const count = countField === undefined ? lengthBytes : (values[countField] as number);
    if (count !== rest) {
      const why = countField === undefined ? '' : ', by its own count';
      throw sizeError(message, bytes.length, `${String(start + count)} bytes${why}`);
    }
    return bytes.slice(start);
  }
  if (tail.kind === 'u64s') {
    if (rest !== 8 * tail.count) {
      throw sizeError(message, bytes.length, `${String(start + 8 * tail.count)} bytes`);
    }
    return Array.from({ length: tail.count }, (_, i) => view.getBigUint64(start + 8 * i, true));
  }
  const count = values[tail.countField] as number;
  if (count > tail.max) {
    throw new VhostUserError(
      'ERR_VHU_MESSAGE_VALUE',
      `${message}: ${tail.countField} is ${String(count)}, at most ${String(tail.max)} are allowed`,
    );
  }
  const want = start + count * tail.sizeBytes;
  // Some front-ends always send the whole array, whatever the count is.
  if (rest < count * tail.sizeBytes || rest > tail.max * tail.sizeBytes) {
    throw sizeError(message, bytes.length, `${String(want)} bytes for ${String(count)} records`);
  }
  return Array.from({ length: count }, (_, i) =>
    readFields(tail.fields, view, start + i * tail.sizeBytes, message),
  );
}

function writeCount(
  fields: readonly FieldRow[],
  countField: string,
  count: number,
  view: DataView,
): void {
  const row = fields.find(([name]) => name === countField);
  if (row !== undefined) view.setUint32(row[1], count, true);
}

function writeFields(
  fields: readonly FieldRow[],
  values: FieldValues,
  view: DataView,
  base: number,
): void {
  for (const [name, offset, type] of fields) {
    const at = base + offset;
    const value = values[name] ?? 0;
    if (type === 'u64') view.setBigUint64(at, BigInt(value as bigint | number), true);
    else if (type === 'u53') view.setBigUint64(at, BigInt(value as number), true);
    else if (type === 'i32') view.setInt32(at, value as number, true);
    else if (type === 'u32') view.setUint32(at, value as number, true);
    else if (type === 'u16') view.setUint16(at, value as number, true);
    else view.setUint8(at, value as number);
  }
}

function readFields(
  fields: readonly FieldRow[],
  view: DataView,
  base: number,
  message: string,
): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [name, offset, type] of fields) {
    const at = base + offset;
    if (type === 'u64') values[name] = view.getBigUint64(at, true);
    else if (type === 'u53') values[name] = readU53(view, at, `${message}: ${name}`);
    else if (type === 'i32') values[name] = view.getInt32(at, true);
    else if (type === 'u32') values[name] = view.getUint32(at, true);
    else if (type === 'u16') values[name] = view.getUint16(at, true);
    else values[name] = view.getUint8(at);
  }
  return values;
}

function readU53(view: DataView, at: number, what: string): number {
  const value = view.getBigUint64(at, true);
  if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  throw new VhostUserError(
    'ERR_VHU_MESSAGE_VALUE',
    `${what} is 0x${value.toString(16)}: addresses and sizes from 2^53 up are not supported`,
  );
}

function sizeError(message: string, got: number, want: string): VhostUserError {
  return new VhostUserError(
    'ERR_VHU_MESSAGE_SIZE',
    `${message}: the payload has ${String(got)} bytes, not ${want}`,
  );
}
