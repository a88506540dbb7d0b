/**
 * The reactor over io_uring, on a kernel that does not take what is submitted.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { READABLE, createNotifier } from '../../sys/index.ts';
import type { Uring } from '../../sys/index.ts';
import { UringReactor } from './reactor-uring.ts';

const ECANCELED = 125;

/** A ring whose submission queue has room when a test says so. */
class FullRing {
  room = 0;
  readonly prepared: string[] = [];
  readonly waits: number[] = [];
  readonly completions: [userData: number, result: number][] = [];

  prepPollAdd(fd: number, _events: number, userData: number): boolean {
    return this.#take(`poll ${String(fd)} as ${String(userData)}`);
  }

  prepCancel(userData: number): boolean {
    return this.#take(`cancel ${String(userData)}`);
  }

  prepSignal(fd: number): boolean {
    return this.#take(`signal ${String(fd)}`);
  }

  submit(): number {
    return 0; // EBUSY
  }

  submitAndWait(_minComplete: number, timeoutUs: number): number {
    this.waits.push(timeoutUs);
    return 0;
  }

  pending(): number {
    return this.completions.length;
  }

  userDataAt(i: number): number {
    return this.completions[i]?.[0] ?? 0;
  }

  resultAt(i: number): number {
    return this.completions[i]?.[1] ?? 0;
  }

  hasMoreAt(): boolean {
    return false;
  }

  advance(count: number): void {
    this.completions.splice(0, count);
  }

  #take(what: string): boolean {
    if (this.room === 0) return false;
    this.room--;
    this.prepared.push(what);
    return true;
  }
}

it('what finds no room in the submission queue is not slept on, and is asked for later', () => {
  const ring = new FullRing();
  const reactor = new UringReactor(ring as unknown as Uring);
  const heard: number[] = [];
  const first = reactor.watch(50, READABLE, (events) => heard.push(events));
  reactor.watch(51, READABLE, (events) => heard.push(events));
  reactor.wait(-1);
  ring.room = 1;
  reactor.wait(-1);
  assert.deepEqual(ring.waits, [0, 0], 'no sleep while an fd is not heard');
  ring.room = 1;
  reactor.wait(-1);
  assert.deepEqual(ring.waits, [0, 0, -1]);
  assert.deepEqual(ring.prepared.splice(0), ['poll 51 as 1', 'poll 50 as 0']);
  first.close();
  reactor.wait(-1);
  assert.deepEqual(ring.waits.at(-1), 0);
  ring.room = 1;
  reactor.wait(-1);
  assert.deepEqual(ring.waits.at(-1), -1);
  assert.deepEqual(ring.prepared.splice(0), ['cancel 0']);
  ring.completions.push([0, -ECANCELED], [1, READABLE]);
  ring.room = 1;
  reactor.wait(-1);
  reactor.wait(-1);
  assert.deepEqual(heard, [READABLE]);
  assert.deepEqual(ring.prepared, ['poll 51 as 1']);
});

it('a signal that finds no room in the submission queue is made at once', () => {
  const ring = new FullRing();
  const reactor = new UringReactor(ring as unknown as Uring);
  const { notifier, consumer } = createNotifier();
  ring.room = 1;
  reactor.signalByWait(notifier);
  assert.deepEqual(ring.prepared, [`signal ${String(notifier.fd)}`]);
  assert.equal(consumer.drain(), 0, 'left to the next wait');
  reactor.signalByWait(notifier);
  assert.equal(consumer.drain(), 1);
  notifier.close();
  consumer.close();
});
