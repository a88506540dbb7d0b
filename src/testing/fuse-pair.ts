/**
 * A FUSE server and a guest over one real ring, in one thread: for tests of a server, and of a file
 * system behind it.
 *
 * @module
 */
import { assert } from '../util/index.ts';
import { COUNTER } from '../backend/index.ts';
import { FUSE_IN_HEADER, FUSE_OUT_HEADER } from '../fuse/index.ts';
import { FuseServer } from '../devices/fs/index.ts';
import type { FuseOperations, ReaddirPlus } from '../devices/fs/index.ts';
import { fuseAnswer, fuseInitRequest } from './fuse-message.ts';
import type { FuseAnswer, FuseInitOptions } from './fuse-message.ts';
import type { MockCompletion, MockDriver } from './mock-driver.ts';
import { RingPair } from './ring-pair.ts';

/** Room for an answer's body, unless a test says something else. */
const ROOM_BYTES = 4096;
/** Room for buffers: more than the largest request and its answer. */
const BUFFER_BYTES = 4 * 1024 * 1024;

/** How a {@link FusePair} is made. */
export interface FusePairOptions {
  /** Entries of the ring; 64 by default. */
  readonly size?: number;
  readonly readdirPlus?: ReaddirPlus;
  /** Requests that may be under way; as many as the ring has entries by default. */
  readonly callCount?: number;
}

/**
 * See the module. Owns the operations, which are closed in the end.
 *
 * ```ts
 * const pair = new FusePair(new StubFileSystem());
 * pair.mount();
 * pair.ask(fuseRequest(FUSE_OPCODE.LOOKUP, ['nobody'])).errno; // 2
 * pair.close();
 * ```
 */
export class FusePair {
  readonly ring: RingPair;
  readonly driver: MockDriver;
  readonly server: FuseServer;
  readonly counters: Float64Array = new Float64Array(COUNTER.LENGTH);
  /** What the server logged. */
  readonly lines: string[] = [];

  constructor(operations: FuseOperations, options: FusePairOptions = {}) {
    const { size = 64, readdirPlus = 'auto', callCount = size } = options;
    this.ring = new RingPair({ size, bufferBytes: BUFFER_BYTES });
    this.driver = this.ring.mockDriver();
    this.server = new FuseServer({
      operations,
      counters: this.counters,
      callCount,
      readdirPlus,
      log: (_level, text) => this.lines.push(text),
    });
  }

  /** Sends INIT, which has to succeed. */
  mount(options: FuseInitOptions = {}): FuseAnswer {
    const answer = this.ask(fuseInitRequest(options));
    assert(answer.errno === 0, 'INIT succeeds');
    return answer;
  }

  /** Sends a chain of these buffers, and lets the server take it; returns its token. */
  send(readable: readonly Uint8Array[], writable: readonly number[]): number {
    const token = this.driver.submit(readable, writable);
    this.driver.publish();
    this.serve();
    return token;
  }

  /** Lets the server take what was offered, as far as it wants to. */
  serve(): void {
    const { device } = this.ring;
    while (!this.server.full) {
      const chain = device.pop();
      if (chain === null) return;
      this.server.handle(device, chain);
    }
  }

  /** What came back since, by token. */
  taken(): Map<number, MockCompletion> {
    this.ring.device.publish();
    return new Map(this.driver.completed().map((each) => [each.token, each]));
  }

  /**
   * Sends a request, which has to be answered at once, as Linux does: header and rest in buffers of
   * their own.
   */
  ask(request: Uint8Array, roomBytes: number = ROOM_BYTES): FuseAnswer {
    const header = request.subarray(0, FUSE_IN_HEADER.SIZE);
    const rest = request.subarray(FUSE_IN_HEADER.SIZE);
    return this.askChain([header, rest], [FUSE_OUT_HEADER.SIZE, roomBytes]);
  }

  /** The same with buffers as they are given; empty ones are left out. */
  askChain(readable: readonly Uint8Array[], writable: readonly number[]): FuseAnswer {
    const token = this.send(
      readable.filter(({ length }) => length > 0),
      writable.filter((length) => length > 0),
    );
    const done = this.taken().get(token);
    assert(done !== undefined, 'the request is answered at once');
    return fuseAnswer(done.written, done.usedBytes);
  }

  /** One slot of `COUNTER`. */
  counter(slot: number): number {
    return this.counters[slot] as number;
  }

  /** Closes the server and unmaps; may be called once. */
  close(): void {
    this.server.close();
    this.ring.close();
  }
}
