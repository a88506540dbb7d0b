/**
 * Sockets that are readable although there is nothing to read, as one of Linux's AF_VSOCK is that
 * has a part of a message: how often they are looked at.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { COUNTER } from '../../backend/index.ts';
import { NativeBlock, READABLE, closeFd, hasUnixSeqpacket } from '../../sys/index.ts';
import { send, socketPair } from '../../sys/index.ts';
import type { SocketType } from '../../sys/index.ts';
import type { Chain, Virtqueue } from '../../virtqueue/index.ts';
import { FLAG, STATE } from './connections.ts';
import { Flows } from './flows.ts';
import { VIRTIO_VSOCK_SHUTDOWN as SHUTDOWN, VIRTIO_VSOCK_TYPE } from './layout.ts';
import { codeOf } from './set-up.ts';

const skip = hasUnixSeqpacket() ? false : 'this host has no Unix sockets of type SOCK_SEQPACKET';
const BUFFERS = 64;

/** A reactor whose one socket is readable all the time, and whose time is the test's. */
class EagerReactor {
  readonly uring = null;
  /** How often readiness was told. */
  looks = 0;
  /** Timers, in milliseconds from when they were asked for. */
  readonly timers: { readonly ms: number; readonly fire: () => void }[] = [];
  #events = 0;
  #ready: (events: number) => void = () => assert.fail('nothing is watched');

  onCompletion = (): number => 0;

  watch = (_fd: number, events: number, ready: (events: number) => void): EagerWatch => {
    this.#events = events;
    this.#ready = ready;
    const setEvents = (next: number): void => {
      this.#events = next;
    };
    return { setEvents, close: () => setEvents(0) };
  };

  after = (ms: number, fire: () => void): { cancel(): void } => {
    const timer = { ms, fire };
    this.timers.push(timer);
    return {
      cancel: () => {
        const at = this.timers.indexOf(timer);
        if (at >= 0) this.timers.splice(at, 1);
      },
    };
  };

  /** Tells of readiness as a level-triggered poller does, this many times at most. */
  spin(roundsMax: number): void {
    for (let i = 0; i < roundsMax && (this.#events & READABLE) !== 0; i++) {
      this.looks++;
      this.#ready(READABLE);
    }
  }

  /** Lets a millisecond go. */
  pass(): void {
    const due = this.timers.filter(({ ms }) => ms <= 1);
    for (const timer of due) this.timers.splice(this.timers.indexOf(timer), 1);
    for (const { fire } of due) fire();
  }
}

interface EagerWatch {
  setEvents(events: number): void;
  close(): void;
}

/** An established connection of an eager reactor, and the program's end of its socket. */
function connected(type: SocketType): {
  flows: Flows;
  reactor: EagerReactor;
  slot: number;
  program: number;
  used: number[];
} {
  const reactor = new EagerReactor();
  const flows = new Flows({
    reactor,
    counters: new Float64Array(COUNTER.LENGTH),
    guestCid: 3,
    bufAlloc: 65_536,
    connectionsMax: 4,
    onSetUp: () => undefined,
    onFailed: (_slot, errno) => assert.fail(String(errno)),
    onReleased: () => undefined,
  });
  const used: number[] = [];
  const memory = new NativeBlock(4096);
  const chain = {
    ...{ writableBytes: 4096, readableCount: 0, segmentCount: 1 },
    ...{ length: [4096], hva: [memory.address], copyIn: () => 0 },
  } as unknown as Chain;
  let free = BUFFERS;
  const queue = {
    size: BUFFERS,
    pop: () => (free-- > 0 ? chain : null),
    push: (_chain: Chain, bytes: number) => used.push(bytes),
  } as unknown as Virtqueue;
  flows.rx.start(queue);
  flows.rx.collect(BUFFERS);
  const [ours, program] = socketPair(type);
  const slot = flows.table.take(STATE.connecting, codeOf(type), ours);
  flows.table.list(slot, 70, 2, 71);
  flows.table.peerBufAlloc[slot] = 1 << 20;
  flows.establish(slot);
  return { flows, reactor, slot, program, used };
}

for (const type of ['stream', 'seqpacket'] as const) {
  describe(`a ${type} socket that is readable for nothing`, { skip }, () => {
    it('is looked at once in a millisecond after a few times, and heard again then', () => {
      const { flows, reactor, slot, program, used } = connected(type);
      reactor.spin(1_000_000);
      assert.ok(reactor.looks <= 8, `${String(reactor.looks)} looks`);
      for (let ms = 0; ms < 100; ms++) {
        reactor.looks = 0;
        reactor.pass();
        reactor.spin(1_000_000);
        assert.equal(reactor.looks, 1);
        assert.equal(flows.submit(), 0, 'no work is made of it either');
      }
      const block = new NativeBlock(5);
      assert.equal(send(program, block.address, 5), 5);
      reactor.pass();
      reactor.spin(1);
      flows.submit();
      assert.deepEqual(used, [44 + 5], 'what comes goes to the guest');
      assert.ok((flows.table.emptyLooks[slot] as number) <= 1, 'it may be looked at anew');
      reactor.spin(100);
      assert.ok(reactor.timers.length > 0, 'it rests again');
      flows.close();
      assert.deepEqual(reactor.timers, [], 'no timer outlives it');
      closeFd(program);
      block.free();
    });

    it('is not heard again after its rest when the guest wants nothing more', () => {
      const { flows, reactor, slot, program } = connected(type);
      reactor.spin(100);
      assert.ok(flows.table.has(slot, FLAG.resting));
      flows.ends.guestShutDown(slot, SHUTDOWN.RECEIVE);
      reactor.looks = 0;
      reactor.pass();
      reactor.spin(100);
      assert.equal(reactor.looks, 0);
      flows.close();
      closeFd(program);
    });

    it('rests as well while what the guest sent last is on its way', () => {
      const { flows, reactor, slot, program } = connected(type);
      const block = new NativeBlock(5);
      flows.backlog.append(slot, block.address, 5);
      if (codeOf(type) === VIRTIO_VSOCK_TYPE.SEQPACKET) flows.messages.added(slot, 5, 1);
      flows.ends.guestShutDown(slot, SHUTDOWN.BOTH);
      assert.equal(flows.table.state[slot], STATE.draining);
      reactor.looks = 0;
      reactor.spin(1_000_000);
      assert.ok(reactor.looks <= 8, `${String(reactor.looks)} looks`);
      flows.close();
      closeFd(program);
      block.free();
    });
  });
}
