/**
 * Starts a vsock device: a session, its three queues and the driver of packets on them.
 *
 * @module
 */
import { VhostUserError, errorCode } from '../../util/index.ts';
import { virtioFeatures } from '../../protocol/index.ts';
import { splitRingLayout } from '../../virtqueue/index.ts';
import type { FrontendQueue } from '../queue.ts';
import { FrontendSession } from '../session.ts';
import type { FrontendSessionOptions } from '../session.ts';
import {
  VSOCK_CONFIG_BYTES,
  VSOCK_DATA_BYTES_MAX,
  VSOCK_EVENT_QUEUE,
  VSOCK_FEATURE,
  VSOCK_RX_QUEUE,
  VSOCK_TX_QUEUE,
} from './layout.ts';
import { VsockPoller, vsockMemoryBytes } from './poller.ts';
import type { VsockSlots } from './poller.ts';

const FEATURES = Object.values(VSOCK_FEATURE).reduce((mask, bit) => mask | bit, 0n);
const INDIRECT_DESC = virtioFeatures('INDIRECT_DESC');
const ALIGN_BYTES = 4096;
const SEGMENTS = 2; // a header and data
const EVENT_QUEUE_SIZE = 16;
const QUEUE_SIZE_MIN = 4;

const DEFAULTS = {
  queueSize: 128,
  rxDataBytes: 4096,
  txDataBytes: VSOCK_DATA_BYTES_MAX,
  splitHeader: true,
} as const;

/** What a driver of a vsock device may be told; all of it has a default. */
export interface VsockDriverOptions {
  /** Entries of the rx and tx rings, a power of two from 4 on; 128 by default. */
  readonly queueSize?: number;
  /** Room for data in each buffer that the device fills; 4096 by default, as Linux has it. */
  readonly rxDataBytes?: number;
  /** The longest data of a packet that is sent; 65536 by default, as Linux has it. */
  readonly txDataBytes?: number;
  /** Headers have descriptors of their own, as with Linux before 6.3; true by default. */
  readonly splitHeader?: boolean;
  /** The context id, for a back-end without a configuration space. */
  readonly guestCid?: number;
  /** See `FrontendSessionOptions`. */
  readonly features?: bigint;
  readonly ringFeatures?: bigint;
  readonly protocolFeatures?: bigint;
  readonly replyTimeoutMs?: number;
  readonly connectWaitMs?: number;
}

/** Where the back-end is. */
export type VsockAddress = { readonly socketPath: string } | { readonly fd: number };

/** A device that was started. */
export interface VsockDriver {
  readonly session: FrontendSession;
  readonly queues: readonly FrontendQueue[];
  readonly poller: VsockPoller;
  readonly guestCid: number;
  /** Whether the device has SEQPACKET sockets. */
  readonly seqpacket: boolean;
}

/**
 * Connects, and starts the device. The caller closes the poller, then the session.
 * @throws VhostUserError see `FrontendSession.open`; `ERR_VHU_QUEUE_SIZE`, `ERR_VHU_VSOCK_CID`.
 */
export async function openVsockDriver(
  address: VsockAddress,
  options: VsockDriverOptions,
  hooks: Pick<FrontendSessionOptions, 'onEnd' | 'onError' | 'onConfigChange'> = {},
): Promise<VsockDriver> {
  const plan = { ...DEFAULTS, ...options };
  checkQueueSize(plan.queueSize);
  const slots = (dataBytes: number): VsockSlots => ({ count: plan.queueSize, dataBytes });
  const most = vsockMemoryBytes(slots(plan.rxDataBytes), slots(plan.txDataBytes));
  const ringBytes = splitRingLayout(plan.queueSize, SEGMENTS).totalBytes + ALIGN_BYTES;
  const session = await FrontendSession.open({
    features: FEATURES,
    ...options,
    ...address,
    ...hooks,
    memoryBytes: most + 3 * ringBytes + 2 * ALIGN_BYTES,
  });
  try {
    const guestCid = await readGuestCid(session, options.guestCid);
    const { queues, poller } = await startQueues(session, plan);
    // Without any feature bit of its own a device has streams alone (section 5.10.3).
    const seqpacket = (session.features & VSOCK_FEATURE.SEQPACKET) !== 0n;
    return { session, queues, poller, guestCid, seqpacket };
  } catch (error) {
    await session.close();
    throw error;
  }
}

/**
 * The context id that the device gives its guest.
 * @throws VhostUserError `ERR_VHU_VSOCK_CID` when it does not say, or what no guest can have.
 */
export async function readGuestCid(
  session: FrontendSession,
  known: number | undefined,
): Promise<number> {
  if (known !== undefined) return known;
  let bytes: Uint8Array;
  try {
    bytes = await session.readConfig(0, VSOCK_CONFIG_BYTES);
  } catch (error) {
    const code = errorCode(error);
    if (code !== 'ERR_VHU_NO_CONFIG' && code !== 'ERR_VHU_REFUSED') throw error;
    throw new VhostUserError(
      'ERR_VHU_VSOCK_CID',
      'the back-end does not tell the context id: give it as guestCid',
      { cause: error },
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, VSOCK_CONFIG_BYTES);
  const cid = view.getUint32(0, true);
  if (cid > 2 && cid < 0xffff_ffff && view.getUint32(4, true) === 0) return cid;
  const text = `the device says that its guest is ${String(view.getBigUint64(0, true))}`;
  throw new VhostUserError('ERR_VHU_VSOCK_CID', `${text}: a guest is from 3 to 2^32 - 2`);
}

async function startQueues(
  session: FrontendSession,
  plan: Required<
    Pick<VsockDriverOptions, 'queueSize' | 'rxDataBytes' | 'txDataBytes' | 'splitHeader'>
  >,
): Promise<{ queues: readonly FrontendQueue[]; poller: VsockPoller }> {
  const { queueSize, splitHeader } = plan;
  const indirect = (session.features & INDIRECT_DESC) !== 0n;
  const count = splitHeader && !indirect ? queueSize / SEGMENTS : queueSize;
  const rxSlots = { count, dataBytes: plan.rxDataBytes };
  const txSlots = { count, dataBytes: plan.txDataBytes };
  const [rx, tx, event] = [
    await session.startQueue({ index: VSOCK_RX_QUEUE, size: queueSize, indirectMax: SEGMENTS }),
    await session.startQueue({ index: VSOCK_TX_QUEUE, size: queueSize, indirectMax: SEGMENTS }),
    await session.startQueue({ index: VSOCK_EVENT_QUEUE, size: EVENT_QUEUE_SIZE }),
  ];
  const range = session.memory.allocate(vsockMemoryBytes(rxSlots, txSlots), ALIGN_BYTES);
  const queueOf = ({ config, kickFd }: FrontendQueue): { ring: typeof config; kickFd: number } => ({
    ring: config,
    kickFd,
  });
  const poller = new VsockPoller({
    rx: queueOf(rx),
    tx: queueOf(tx),
    event: queueOf(event),
    rxSlots,
    txSlots,
    gpa: range.gpa,
    hva: range.hva,
    splitHeader,
  });
  return { queues: [rx, tx, event], poller };
}

function checkQueueSize(queueSize: number): void {
  const power = Number.isInteger(queueSize) && (queueSize & (queueSize - 1)) === 0;
  if (power && queueSize >= QUEUE_SIZE_MIN) return;
  const text = `queue size ${String(queueSize)}: a power of two from 4 on is needed`;
  throw new VhostUserError('ERR_VHU_QUEUE_SIZE', text);
}
