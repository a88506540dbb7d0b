/**
 * Rings: where they are, and when they run.
 *
 * A ring is started by SET_VRING_KICK, as the specification has it since QEMU 11.0. Front-ends of
 * older text expect a start at the first kick: for them nothing is different, since a ring that
 * starts early finds itself empty.
 *
 * @module
 */
import { VhostUserError, errorMessage } from '../../util/index.ts';
import { closeFd, fdKind, setNonBlocking } from '../../sys/index.ts';
import type { FdKind } from '../../sys/index.ts';
import { FRONTEND } from '../../protocol/index.ts';
import { handle, reply } from '../session-state.ts';
import type { HandlerEntry, SessionState } from '../session-state.ts';
import { copyOf } from '../vring.ts';
import type { RingFd, Vring } from '../vring.ts';

/** The index of a ring in SET_VRING_KICK, _CALL and _ERR, and the flag for "no fd". */
const VRING_INDEX_MASK = 0xffn;
const VRING_NOFD = 0x100n;

const AVAIL_INDEX_MAX = 0xffff;

/** What cannot signal anything. A character device may, and an eventfd is `other`. */
const NO_NOTIFIER: readonly FdKind[] = ['file', 'block', 'directory', 'memory'];

/** See the module. */
export const ringHandlers: readonly HandlerEntry[] = [
  handle<'vringState'>(FRONTEND.SET_VRING_NUM, async (state, { index, num }) => {
    const ring = stopped(state, index, 'its size');
    const { queueSizeMax } = state.device;
    if (num === 0 || num > queueSizeMax || (num & (num - 1)) !== 0) {
      throw new VhostUserError(
        'ERR_VHU_QUEUE_SIZE',
        `queue ${String(index)}: a size of ${String(num)}: a power of two up to ` +
          `${String(queueSizeMax)} is wanted`,
      );
    }
    const before = ring.size;
    ring.size = num;
    try {
      await state.startIfComplete(ring);
    } catch (error) {
      ring.size = before;
      throw error;
    }
    return undefined;
  }),
  handle<'vringAddress'>(FRONTEND.SET_VRING_ADDR, async (state, { index, desc, avail, used }) => {
    await setAddresses(state, state.ring(index), { desc, avail, used });
    return undefined;
  }),
  handle<'vringState'>(FRONTEND.SET_VRING_BASE, (state, { index, num }) => {
    const ring = stopped(state, index, 'its base');
    if (num > AVAIL_INDEX_MAX) {
      throw new VhostUserError(
        'ERR_VHU_VRING_BASE',
        `queue ${String(index)}: base ${String(num)}: a split ring's index has 16 bits`,
      );
    }
    ring.availIndex = num;
    return undefined;
  }),
  handle<'vringState'>(FRONTEND.GET_VRING_BASE, async (state, { index }) => {
    const ring = state.ring(index);
    await state.stop(ring);
    return reply('vringState', { index, num: ring.availIndex });
  }),
  handle<'vringFd'>(FRONTEND.SET_VRING_KICK, async (state, { value }, fds) => {
    const { ring, fd } = vringFd(state, value, fds);
    if (ring.started) {
      await state.runner.setKickFd(ring.index, fd === 'none' ? -1 : fd);
      return undefined;
    }
    const before = ring.kickFd;
    ring.kickFd = fd;
    try {
      await state.startIfComplete(ring);
    } catch (error) {
      ring.setFd('kickFd', before);
      throw error;
    }
    if (typeof before === 'number') closeFd(before);
    return undefined;
  }),
  handle<'vringFd'>(FRONTEND.SET_VRING_CALL, async (state, { value }, fds) => {
    const { ring, fd } = vringFd(state, value, fds);
    await replaceFd(ring, 'callFd', fd, (copy) => state.runner.setCallFd(ring.index, copy));
    return undefined;
  }),
  handle<'vringFd'>(FRONTEND.SET_VRING_ERR, async (state, { value }, fds) => {
    const { ring, fd } = vringFd(state, value, fds);
    await replaceFd(ring, 'errFd', fd, (copy) => state.runner.setErrFd(ring.index, copy));
    return undefined;
  }),
  handle<'vringState'>(FRONTEND.SET_VRING_ENABLE, async (state, { index, num }) => {
    const ring = state.ring(index);
    if (num > 1) {
      throw new VhostUserError(
        'ERR_VHU_VRING_ENABLE',
        `queue ${String(index)}: ${String(num)} is neither 0 (disable) nor 1 (enable)`,
      );
    }
    await state.enable(ring, num === 1);
    return undefined;
  }),
];

/** The ring of this index, which must not run while `what` of it changes. */
function stopped(state: SessionState, index: number, what: string): Vring {
  const ring = state.ring(index);
  if (!ring.started) return ring;
  throw new VhostUserError(
    'ERR_VHU_RING_RUNNING',
    `queue ${String(index)} is running: ${what} can change once GET_VRING_BASE has stopped it`,
  );
}

/** A front-end sends addresses again, with other flags, while a ring runs: it moves, if it does. */
async function setAddresses(
  state: SessionState,
  ring: Vring,
  addresses: NonNullable<Vring['addresses']>,
): Promise<void> {
  const before = ring.addresses;
  ring.addresses = addresses;
  const { regions } = state.memory;
  try {
    if (ring.size > 0 && regions.length > 0) ring.placement(regions);
    if (!ring.started) {
      await state.startIfComplete(ring);
      return;
    }
    const { desc, avail, used } = addresses;
    if (before?.desc === desc && before.avail === avail && before.used === used) return;
    const running = state.rings.filter((each) => each.started);
    await state.runner.setMemory(
      regions,
      running.map((each) => each.placement(regions)),
    );
  } catch (error) {
    ring.addresses = before;
    throw error;
  }
}

/** Gives the runner of a ring that runs a copy of another fd, and then the ring the fd itself. */
async function replaceFd(
  ring: Vring,
  which: 'callFd' | 'errFd',
  fd: NonNullable<RingFd>,
  handOver: (copy: number) => Promise<void>,
): Promise<void> {
  try {
    if (ring.started) await handOver(copyOf(fd));
  } catch (error) {
    if (fd !== 'none') closeFd(fd);
    throw error;
  }
  ring.setFd(which, fd);
}

/** The ring and the fd, taken out of `fds`, of SET_VRING_KICK, _CALL or _ERR. */
function vringFd(
  state: SessionState,
  value: bigint,
  fds: number[],
): { ring: Vring; fd: NonNullable<RingFd> } {
  const ring = state.ring(Number(value & VRING_INDEX_MASK));
  if ((value & VRING_NOFD) !== 0n) return { ring, fd: 'none' };
  const fd = fds[0];
  if (fd === undefined) {
    throw new VhostUserError(
      'ERR_VHU_FD_COUNT',
      `queue ${String(ring.index)}: no fd came, and bit 8, which would say so, is not set`,
    );
  }
  const kind = fdKind(fd);
  if (NO_NOTIFIER.includes(kind)) {
    throw new VhostUserError(
      'ERR_VHU_FD_KIND',
      `queue ${String(ring.index)}: the fd is a ${kind}, and an eventfd or a pipe is wanted`,
    );
  }
  try {
    // Here, where it can be refused: fstat does not tell of an fd that can do nothing (O_PATH).
    setNonBlocking(fd, true);
  } catch (error) {
    throw new VhostUserError(
      'ERR_VHU_FD_KIND',
      `queue ${String(ring.index)}: ${errorMessage(error)}`,
      {
        cause: error,
      },
    );
  }
  fds.shift();
  return { ring, fd };
}
