/**
 * Moving data between files and the guest's buffers, without a copy: at once where nothing has to
 * be waited for, else by io_uring, so that a slow disk does not keep the other requests waiting.
 *
 * @module
 */
import {
  BriskWriter,
  ERRNO,
  preadv,
  preadvCached,
  pwritev,
  pwritevCached,
  syncFd,
} from '../../../sys/index.ts';
import type { Uring } from '../../../sys/index.ts';
import type { Reactor } from '../../../backend/index.ts';
import { PENDING } from '../operations.ts';
import type { FuseCall } from '../operations.ts';
import { writeAnswer } from './entries.ts';
import { toLinux } from './folder-state.ts';
import type { Handle, HandleTable } from './handles.ts';

const EOPNOTSUPP = -(ERRNO.EOPNOTSUPP as number);
const EINTR = -(ERRNO.EINTR as number);
const EAGAIN = -(ERRNO.EAGAIN as number);
const NOBODY: Handle | null = null;

/** What the kernel is at. */
const JOB = { read: 0, write: 1, sync: 2 } as const;

/** One call that the kernel has. */
interface Job {
  kind: number;
  call: FuseCall | null;
  handle: Handle | null;
  offset: number;
  dataOnly: boolean;
}

/** See the module. */
export class FileIo {
  readonly #uring: Uring | null;
  readonly #base: number;
  readonly #handles: HandleTable;
  readonly #jobs: Job[] = [];
  readonly #idle: number[] = [];
  /** The file system cannot tell what is cached: that is asked once. */
  #canTellReads = true;
  #canTellWrites = true;
  /** For a file system that cannot tell of writes: ext4. */
  readonly #brisk: BriskWriter;

  /**
   * @param inMemory the files live in memory, so that nothing is ever waited for
   * @param brisk for tests
   */
  constructor(
    reactor: Reactor,
    handles: HandleTable,
    inMemory: boolean,
    brisk: BriskWriter = new BriskWriter(),
  ) {
    this.#brisk = brisk;
    this.#uring = inMemory ? null : reactor.uring;
    this.#handles = handles;
    this.#base =
      this.#uring === null ? 0 : reactor.onCompletion((job, result) => this.#done(job, result));
  }

  /** For people. */
  get engine(): string {
    return this.#uring === null ? 'preadv' : 'io_uring, page cache first';
  }

  /** Reads into the buffers of a call; bytes, a negative errno, or PENDING. */
  read(call: FuseCall, handle: Handle, offset: number): number {
    const { iov, iovCount, dataBytes } = call;
    if (this.#uring === null) return toLinux(preadv(handle.fd, iov, iovCount, offset));
    if (this.#canTellReads && !handle.readsWait) {
      const result = preadvCached(handle.fd, iov, iovCount, offset);
      // A short answer may be the end of the file, or the end of what is cached.
      if (result === dataBytes) return result;
      if (result === EOPNOTSUPP) this.#canTellReads = false;
      else if (result < 0 && result !== EAGAIN && result !== EINTR) return toLinux(result);
    }
    return this.#start(JOB.read, call, handle, offset, false);
  }

  /** Writes the buffers of a call. */
  write(call: FuseCall, handle: Handle, offset: number): number {
    const { iov, iovCount, dataBytes } = call;
    if (this.#uring === null) return toLinux(pwritev(handle.fd, iov, iovCount, offset));
    if (handle.writesWait) return this.#start(JOB.write, call, handle, offset, false);
    // Written a second time, what a part of was appended would be there twice.
    if (this.#canTellWrites && !handle.append) {
      const result = pwritevCached(handle.fd, iov, iovCount, offset);
      if (result === dataBytes) return result;
      if (result === EOPNOTSUPP) this.#canTellWrites = false;
      else if (result < 0 && result !== EAGAIN && result !== EINTR) return toLinux(result);
    }
    if (!this.#canTellWrites) {
      const result = this.#brisk.write(handle.fd, iov, iovCount, offset);
      if (result !== EAGAIN) return toLinux(result);
    }
    return this.#start(JOB.write, call, handle, offset, false);
  }

  /** Makes a file durable; 0, a negative errno, or PENDING. */
  sync(call: FuseCall, handle: Handle, dataOnly: boolean): number {
    if (this.#uring === null) return toLinux(syncFd(handle.fd, dataOnly));
    return this.#start(JOB.sync, call, handle, 0, dataOnly);
  }

  #start(kind: number, call: FuseCall, handle: Handle, offset: number, dataOnly: boolean): number {
    const index = this.#idle.pop() ?? this.#jobs.length;
    const job = (this.#jobs[index] ??= {
      kind: 0,
      call: null,
      handle: NOBODY,
      offset: 0,
      dataOnly: false,
    });
    job.kind = kind;
    job.call = call;
    job.handle = handle;
    job.offset = offset;
    job.dataOnly = dataOnly;
    if (!this.#submit(index, job)) {
      this.#forget(index, job);
      return this.#atOnce(kind, call, handle, offset, dataOnly);
    }
    handle.inFlight++;
    return PENDING;
  }

  #submit(index: number, job: Job): boolean {
    if (this.#prepare(index, job)) return true;
    this.#uring?.submit(); // its queue is full
    return this.#prepare(index, job);
  }

  #prepare(index: number, job: Job): boolean {
    const uring = this.#uring as Uring;
    const { iov, iovCount } = job.call as FuseCall;
    const { fd } = job.handle as Handle;
    const data = this.#base + index;
    if (job.kind === JOB.read) return uring.prepReadv(fd, iov, iovCount, job.offset, data);
    if (job.kind === JOB.write) return uring.prepWritev(fd, iov, iovCount, job.offset, data);
    return uring.prepFsync(fd, job.dataOnly, data);
  }

  /** The kernel is short of memory: the call is made here, whatever it waits for. */
  #atOnce(kind: number, call: FuseCall, handle: Handle, offset: number, dataOnly: boolean): number {
    const { iov, iovCount } = call;
    if (kind === JOB.read) return toLinux(preadv(handle.fd, iov, iovCount, offset));
    if (kind === JOB.write) return toLinux(pwritev(handle.fd, iov, iovCount, offset));
    return toLinux(syncFd(handle.fd, dataOnly));
  }

  #done(index: number, result: number): void {
    const job = this.#jobs[index] as Job;
    const call = job.call as FuseCall;
    const handle = job.handle as Handle;
    const { kind, offset, dataOnly } = job;
    const again = result === EINTR || result === EAGAIN;
    if (again && this.#submit(index, job)) return;
    this.#forget(index, job);
    const last = again ? this.#atOnce(kind, call, handle, offset, dataOnly) : toLinux(result);
    this.#handles.finished(handle);
    call.finish(kind === JOB.write && last >= 0 ? writeAnswer(call.out, last) : last);
  }

  #forget(index: number, job: Job): void {
    job.call = null;
    job.handle = null;
    this.#idle.push(index);
  }
}
