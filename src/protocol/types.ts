/**
 * Decoded payloads, by the kind that a message's row names. Addresses and sizes are numbers below
 * 2^53; sets of bits are bigints.
 *
 * @module
 */

/** A region as the wire has it. */
export interface WireMemoryRegion {
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly uva: number;
  /** Where the region begins in the object behind its fd. */
  readonly mmapOffset: number;
}

/** What each kind of payload decodes to. */
export interface Payloads {
  readonly none: object;
  readonly u64: { readonly value: bigint };
  readonly vringState: { readonly index: number; readonly num: number };
  /** Bits 0 to 7 are the index, bit 8 says that there is no fd. */
  readonly vringFd: { readonly value: bigint };
  readonly vringAddress: {
    readonly index: number;
    readonly flags: number;
    readonly desc: number;
    readonly used: number;
    readonly avail: number;
    readonly log: bigint;
  };
  readonly memoryTable: { readonly regions: readonly WireMemoryRegion[] };
  readonly memoryRegion: WireMemoryRegion;
  readonly log: { readonly sizeBytes: number; readonly offset: number };
  readonly iotlb: {
    readonly iova: bigint;
    readonly sizeBytes: bigint;
    readonly uva: bigint;
    readonly permissions: number;
    readonly type: number;
  };
  readonly config: {
    readonly offset: number;
    readonly size?: number;
    readonly flags: number;
    readonly bytes: Uint8Array;
  };
  readonly vringArea: {
    readonly value: bigint;
    readonly sizeBytes: number;
    readonly offset: number;
  };
  readonly inflight: {
    readonly mmapSize: number;
    readonly mmapOffset: number;
    readonly queueCount: number;
    readonly queueSize: number;
  };
  readonly cryptoSession: { readonly bytes: Uint8Array };
  readonly sharedObject: { readonly uuid: Uint8Array };
  readonly ignored: { readonly bytes: Uint8Array };
  readonly deviceState: { readonly direction: number; readonly phase: number };
  readonly shmemConfig: { readonly count: number; readonly sizes: readonly bigint[] };
  readonly shmemMap: {
    readonly shmid: number;
    readonly fdOffset: number;
    readonly shmOffset: number;
    readonly sizeBytes: number;
    readonly flags: bigint;
  };
  readonly gpuCursorPos: { readonly scanoutId: number; readonly x: number; readonly y: number };
  readonly gpuCursorUpdate: {
    readonly scanoutId: number;
    readonly x: number;
    readonly y: number;
    readonly hotX: number;
    readonly hotY: number;
    readonly pixels: Uint8Array;
  };
  readonly gpuScanout: {
    readonly scanoutId: number;
    readonly width: number;
    readonly height: number;
  };
  readonly gpuUpdate: {
    readonly scanoutId: number;
    readonly x: number;
    readonly y: number;
    readonly width: number;
    readonly height: number;
    readonly pixels: Uint8Array;
  };
  readonly gpuDmabufScanout: GpuDmabufScanout;
  readonly gpuDmabufScanout2: GpuDmabufScanout & { readonly modifier: bigint };
  readonly gpuGetEdid: { readonly scanoutId: number };
  readonly gpuResponse: { readonly bytes: Uint8Array };
}

/** A scanout that is a DMABUF. */
export interface GpuDmabufScanout {
  readonly scanoutId: number;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly fdWidth: number;
  readonly fdHeight: number;
  readonly fdStride: number;
  readonly fdFlags: number;
  readonly fdFourcc: number;
}
