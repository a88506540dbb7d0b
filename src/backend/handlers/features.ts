/**
 * Negotiation, ownership and status.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import { adoptSocket, closeFd, fdKind } from '../../sys/index.ts';
import {
  FRONTEND,
  describeProtocolFeatures,
  describeVirtioFeatures,
  virtioFeatures,
} from '../../protocol/index.ts';
import { BackendRequests } from '../backend-requests.ts';
import { handle, reply } from '../session-state.ts';
import type { HandlerEntry, SessionState } from '../session-state.ts';

const PROTOCOL_FEATURES = virtioFeatures('PROTOCOL_FEATURES');

/** The device status field has 8 bits (virtio 1.3, section 2.1). */
const STATUS_MAX = 0xffn;

/** See the module. */
export const featureHandlers: readonly HandlerEntry[] = [
  handle(FRONTEND.GET_FEATURES, (state) => reply('u64', { value: state.offeredFeatures })),
  handle<'u64'>(FRONTEND.SET_FEATURES, (state, { value }) => setFeatures(state, value)),
  handle(FRONTEND.GET_PROTOCOL_FEATURES, (state) =>
    reply('u64', { value: state.offeredProtocolFeatures }),
  ),
  handle<'u64'>(FRONTEND.SET_PROTOCOL_FEATURES, (state, { value }) => {
    const surplus = value & ~state.offeredProtocolFeatures;
    if (surplus !== 0n) throw notOffered(describeProtocolFeatures(surplus));
    state.protocolFeatures = value;
    return undefined;
  }),
  handle(FRONTEND.SET_OWNER, () => undefined),
  // Deprecated: "ignore, or disable all rings"; a front-end that still sends it goes on using them.
  handle(FRONTEND.RESET_OWNER, () => undefined),
  handle(FRONTEND.GET_QUEUE_NUM, (state) => reply('u64', { value: BigInt(state.rings.length) })),
  handle(FRONTEND.SET_BACKEND_REQ_FD, (state, _values, fds) => {
    const fd = fds[0] as number;
    if (fdKind(fd) !== 'socket') {
      throw new VhostUserError(
        'ERR_VHU_FD_KIND',
        `the fd is a ${fdKind(fd)}, and a connected socket is wanted`,
      );
    }
    fds.shift();
    const before = state.backendRequests;
    try {
      adoptSocket(fd);
      state.backendRequests = new BackendRequests(fd);
    } catch (error) {
      closeFd(fd);
      throw error;
    }
    before?.close();
    return undefined;
  }),
  handle(FRONTEND.RESET_DEVICE, async (state) => {
    await state.reset();
    return undefined;
  }),
  handle<'u64'>(FRONTEND.SET_STATUS, async (state, { value }) => {
    if (value > STATUS_MAX) {
      throw new VhostUserError(
        'ERR_VHU_STATUS',
        `status 0x${value.toString(16)}: the field has 8 bits`,
      );
    }
    if (value === 0n) await state.reset();
    else state.status = Number(value);
    return undefined;
  }),
  handle(FRONTEND.GET_STATUS, (state) => reply('u64', { value: BigInt(state.status) })),
];

async function setFeatures(state: SessionState, features: bigint): Promise<undefined> {
  const surplus = features & ~state.offeredFeatures;
  if (surplus !== 0n) throw notOffered(describeVirtioFeatures(surplus));
  const first = state.features === 0n;
  if (features !== state.features || first) {
    await tellFeatures(state, features);
    state.features = features;
    state.events.negotiated?.(features);
  }
  // Without protocol features there is no SET_VRING_ENABLE: rings are enabled from the start.
  if ((features & PROTOCOL_FEATURES) === 0n) {
    for (const ring of state.rings) await state.enable(ring, true);
  }
  return undefined;
}

/** Tells both sides of the device; when one refuses, both are told what was in force before. */
async function tellFeatures(state: SessionState, features: bigint): Promise<void> {
  const { device, runner } = state;
  const tell = async (value: bigint): Promise<void> => {
    device.featuresNegotiated?.(value);
    await runner.setFeatures(value);
  };
  try {
    await tell(features);
  } catch (error) {
    await tell(state.features).catch(() => undefined); // the front-end is told the first error
    throw error;
  }
}

function notOffered(names: string): VhostUserError {
  return new VhostUserError('ERR_VHU_FEATURES', `not offered: ${names}`);
}
