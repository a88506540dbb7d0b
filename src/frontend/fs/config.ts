/**
 * What a virtio-fs device says of itself: virtio 1.3, section 5.11.
 *
 * @module
 */
import { errorCode } from '../../util/index.ts';
import type { FrontendSession } from '../session.ts';

/** The virtio device id of a file system. */
export const FS_DEVICE_ID = 26;
/** Queue 0 is for FORGET and INTERRUPT; requests go to those from 1 on. */
export const FS_HIPRIO_QUEUE = 0;
/** See {@link FS_HIPRIO_QUEUE}. */
export const FS_REQUEST_QUEUE = 1;

/** `struct virtio_fs_config`. | tag 36 | num_request_queues 4 | */
export const FS_CONFIG = { tag: 0, numRequestQueues: 36, SIZE: 40 } as const;
const TAG_BYTES = 36;

/** What a file system's device says of itself. */
export interface FsInfo {
  /** The name that a guest mounts it by; null when the back-end leaves that to the VMM. */
  readonly tag: string | null;
  /** Queues for requests. */
  readonly requestQueueCount: number;
}

/** Reads a configuration space of 40 bytes. */
export function parseFsConfig(bytes: Uint8Array): { tag: string; requestQueueCount: number } {
  const tag = Buffer.from(bytes.buffer, bytes.byteOffset + FS_CONFIG.tag, TAG_BYTES);
  const end = tag.indexOf(0);
  const view = new DataView(bytes.buffer, bytes.byteOffset, FS_CONFIG.SIZE);
  return {
    tag: tag.toString('utf8', 0, end < 0 ? TAG_BYTES : end),
    requestQueueCount: view.getUint32(FS_CONFIG.numRequestQueues, true),
  };
}

/** Asks a back-end; many have no configuration space, or only when they were given a tag. */
export async function readFsInfo(session: FrontendSession): Promise<FsInfo> {
  const most = Math.max(1, session.queueCountMax - 1);
  if (!session.speaks('CONFIG')) return { tag: null, requestQueueCount: most };
  try {
    const config = parseFsConfig(await session.readConfig(0, FS_CONFIG.SIZE));
    const count = Math.max(1, config.requestQueueCount);
    const known = session.speaks('MQ') ? Math.min(count, most) : count;
    return { tag: config.tag, requestQueueCount: known };
  } catch (error) {
    if (errorCode(error) !== 'ERR_VHU_REFUSED') throw error;
    return { tag: null, requestQueueCount: most };
  }
}
