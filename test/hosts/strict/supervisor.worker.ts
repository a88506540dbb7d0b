/**
 * Decides about a call that is refused to the main thread, and to no thread that Node is only just
 * starting: such a thread inherits the filter and cannot be told apart by it.
 *
 * @module
 */
import { parentPort, workerData } from 'node:worker_threads';
import koffi from 'koffi';
import { ENOSYS } from './calls.ts';

/** What the supervisor is given. */
export interface Supervision {
  /** The main thread, as the kernel knows it. */
  readonly mainThread: number;
}

const libc = koffi.load(null);
const ioctl = libc.func('int ioctl(int fd, unsigned long request, ...)') as (
  fd: number,
  request: number,
  type: string,
  address: number,
) => number;
const poll = libc.func('int poll(uintptr_t fds, unsigned long count, int timeoutMs)') as (
  fds: number,
  count: number,
  timeoutMs: number,
) => number;
const malloc = libc.func('intptr_t malloc(size_t bytes)') as (bytes: number) => number;

/** uapi/linux/seccomp.h: SECCOMP_IOCTL_NOTIF_RECV and _SEND, with the sizes of their structures. */
const RECEIVE = 0xc050_2100;
const SEND = 0xc018_2101;
const CONTINUE = 1; // SECCOMP_USER_NOTIF_FLAG_CONTINUE
/** `struct seccomp_notif` (id 8, pid 4, flags 4, data 64), and after it its answer. */
const AT = { pid: 8, answer: 80, error: 96, flags: 100, poll: 104, SIZE: 112 } as const;
/** How long the process's end may have to wait for this thread. */
const PATIENCE_MS = 20;
const POLLIN = 1;

const { mainThread } = workerData as Supervision;
const address = malloc(AT.SIZE);
// SAFETY: the block was just allocated with this size, and is not given back.
const bytes = new Uint8Array(koffi.view(BigInt(address), AT.SIZE));
const view = new DataView(bytes.buffer);

function decide(listener: number): void {
  bytes.fill(0);
  view.setInt32(AT.poll, listener, true);
  view.setInt16(AT.poll + 4, POLLIN, true);
  if (poll(address + AT.poll, 1, PATIENCE_MS) <= 0) return;
  if (ioctl(listener, RECEIVE, 'uintptr_t', address) < 0) return; // whoever called is gone
  bytes.copyWithin(AT.answer, 0, 8);
  if (view.getUint32(AT.pid, true) === mainThread) view.setInt32(AT.error, -ENOSYS, true);
  else view.setUint32(AT.flags, CONTINUE, true);
  ioctl(listener, SEND, 'uintptr_t', address + AT.answer);
}

parentPort?.once('message', (listener: number) => {
  const turn = (): void => {
    decide(listener);
    setImmediate(turn); // between two turns the process may end this thread
  };
  turn();
});
parentPort?.postMessage('ready');
