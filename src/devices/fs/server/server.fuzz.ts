/**
 * Random requests at a server whose file system answers at once, later, wrongly, by throwing, or
 * when it is interrupted: the server never throws, each chain comes back once and with an answer
 * that is one, and in the end nothing is under way.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FUSE_OPCODE, LINUX_E } from '../../../fuse/index.ts';
import {
  FusePair,
  StubFileSystem,
  fuseAnswer,
  fuseInitRequest,
  fuseRequest,
} from '../../../testing/index.ts';
import { PENDING } from '../operations.ts';
import type { FuseCall, FuseOperations } from '../operations.ts';
import { requestRows } from './requests.ts';

const ENTRIES = 64;
/** Requests without an answer. */
const MUTE = new Set<number>([FUSE_OPCODE.FORGET, FUSE_OPCODE.BATCH_FORGET]);

const ROWS = requestRows(new StubFileSystem());

/** What a file system of moods makes the server log. */
const EXPECTED = /has the result|failed: (a mood|interrupt)/;

type Mood = 'honest' | 'later' | 'throws' | 'absurd';

type Step =
  | {
      readonly do: 'send';
      readonly opcode: number;
      readonly body: Uint8Array;
      /** Cut, or filled up, to the length that the request has. */
      readonly exact: boolean;
      readonly names: readonly string[];
      readonly nodeId: number;
      readonly lie: number | null;
      readonly extensions: number;
      readonly cuts: readonly number[];
      readonly rooms: readonly number[];
    }
  | { readonly do: 'init' }
  | { readonly do: 'mood'; readonly mood: Mood }
  | { readonly do: 'finish'; readonly pick: number; readonly result: number }
  | { readonly do: 'interrupt queue' }
  | { readonly do: 'abandon' };

const opcode = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...Object.values(FUSE_OPCODE)) },
  { weight: 1, arbitrary: fc.nat(0xffff_ffff) },
);
/** Small numbers, which are nodes and handles, and bytes without sense. */
const body = fc.oneof(
  fc
    .array(fc.oneof(fc.nat(6), fc.nat(5000)), { maxLength: 12 })
    .map((words) => new Uint8Array(BigUint64Array.from(words, BigInt).buffer)),
  fc.uint8Array({ maxLength: 128 }),
);
const name = fc.oneof(
  fc.constant('a'),
  fc.constantFrom('a', 'b', '.', '..', '', 'a/b', 'n'.repeat(255), 'n'.repeat(256)),
  fc.string({ maxLength: 20 }),
);
const result = fc.oneof(
  fc.constantFrom(0, 8, 16, 104, 128, 144, -2, -4, -5, -38, 1e9, NaN, -511, -512, -1e9),
  fc.integer({ min: -600, max: 5000 }),
);

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.record({
      do: fc.constant('send'),
      opcode,
      body,
      exact: fc.boolean(),
      names: fc.array(name, { maxLength: 2 }),
      nodeId: fc.oneof(fc.constant(1), fc.nat(20)),
      lie: fc.oneof(
        { weight: 10, arbitrary: fc.constant(null) },
        { weight: 1, arbitrary: fc.oneof(fc.nat(200), fc.nat(0xffff_ffff)) },
      ),
      extensions: fc.oneof(
        { weight: 8, arbitrary: fc.constant(0) },
        { weight: 1, arbitrary: fc.nat(20) },
      ),
      cuts: fc.array(fc.nat(120), { maxLength: 5 }),
      rooms: fc.oneof(
        { weight: 3, arbitrary: fc.constant([16, 4096]) },
        {
          weight: 1,
          arbitrary: fc.array(fc.oneof(fc.constantFrom(16, 128, 4096), fc.nat(200)), {
            maxLength: 5,
          }),
        },
      ),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('init') }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('mood'),
      mood: fc.constantFrom<Mood>('honest', 'honest', 'later', 'throws', 'absurd'),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant('finish'), pick: fc.nat(), result }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('interrupt queue') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('abandon') }) },
);

/** A stub of many moods. */
class MoodyFileSystem {
  readonly operations: FuseOperations;
  readonly held: FuseCall[] = [];
  /** What was wrong about calls. */
  readonly faults: unknown[] = [];
  mood: Mood = 'honest';

  constructor() {
    const stub = new StubFileSystem();
    stub.addFile('a', new Uint8Array(3000).fill(1));
    const methods: Record<string, (call: FuseCall, ...rest: unknown[]) => number> = {};
    for (const each of [
      ...['lookup', 'getattr', 'setattr', 'mkdir', 'create', 'unlink', 'rename', 'open'],
      ...['opendir', 'release', 'releasedir', 'flush', 'fsync', 'read', 'write', 'readdir'],
      ...['setlk', 'symlink', 'readlink', 'link', 'mknod', 'statfs', 'setxattr', 'getxattr'],
      ...['listxattr', 'removexattr', 'ioctl', 'tmpfile', 'readdirplus', 'copyFileRange'],
    ]) {
      const honest = (stub as unknown as Record<string, (typeof methods)[string] | undefined>)[
        each
      ]?.bind(stub);
      methods[each] = (call, ...rest) => this.#answer(call, () => honest?.(call, ...rest) ?? 0);
    }
    const interrupt = (unique: number): void => {
      const at = this.held.findIndex((call) => call.unique === unique);
      if (at >= 0) this.held.splice(at, 1)[0]?.finish(-LINUX_E.INTR);
      if (this.mood === 'throws') throw new Error('interrupt');
    };
    this.operations = Object.assign(stub, methods, { interrupt });
  }

  #answer(call: FuseCall, honest: () => number): number {
    try {
      checkCall(call);
    } catch (error) {
      this.faults.push(error); // the server catches what is thrown here
    }
    switch (this.mood) {
      case 'honest': {
        const answer = honest();
        if (answer === PENDING) this.held.push(call);
        return answer;
      }
      case 'later':
        this.held.push(call);
        return PENDING;
      case 'throws':
        throw new Error('a mood');
      case 'absurd':
        return [NaN, Infinity, 1e9, -1e9, -512, 0.5][call.nodeId % 6] as number;
    }
  }
}

/** What a server promises of each call. */
function checkCall(call: FuseCall): void {
  const { inputArray, nameOffset, nameBytes, secondOffset, secondBytes } = call;
  assert.ok(call.nodeId >= 0 && call.nodeId < 2 ** 53);
  assert.ok(call.inputBytes >= 0 && call.inputBytes <= call.input.byteLength);
  assert.ok(call.outBytesMax >= 0 && call.outBytesMax <= call.out.byteLength);
  if (nameBytes > 0) {
    assert.ok(nameBytes <= 255 && nameOffset + nameBytes < call.inputBytes);
    assert.equal(inputArray[nameOffset + nameBytes], 0);
    assert.ok(!inputArray.subarray(nameOffset, nameOffset + nameBytes).includes(0));
  }
  assert.ok(secondOffset + secondBytes <= Math.max(call.inputBytes, secondOffset));
  if (call.iovCount > 0) {
    const data = new Uint8Array(call.dataBytes);
    if (call.opcode === FUSE_OPCODE.WRITE) call.copyData(data);
  }
}

/** One run. */
class Run {
  readonly fs = new MoodyFileSystem();
  readonly pair = new FusePair(this.fs.operations, { size: ENTRIES });
  readonly #sent = new Map<number, { readonly mute: boolean; readonly unique: bigint }>();
  #unique = 1n;

  step(each: Step): void {
    const { fs, pair } = this;
    switch (each.do) {
      case 'send':
        this.#send(each);
        break;
      case 'init':
        this.#submit([fuseInitRequest()], [128], false, 2n);
        break;
      case 'mood':
        fs.mood = each.mood;
        break;
      case 'finish':
        if (fs.held.length > 0)
          fs.held.splice(each.pick % fs.held.length, 1)[0]?.finish(each.result);
        break;
      case 'interrupt queue':
        pair.server.interruptQueue(pair.ring.device);
        break;
      case 'abandon':
        pair.server.abandonPending();
        break;
    }
    pair.serve();
    this.#take();
    if (fs.faults.length > 0) throw fs.faults[0];
  }

  end(): void {
    const { fs, pair } = this;
    fs.mood = 'honest';
    // Each may let others in, which had to wait.
    for (let rounds = 0; rounds < 1000 && pair.ring.device.inFlight > 0; rounds++) {
      for (const call of fs.held.splice(0)) call.finish(0);
      pair.server.interruptQueue(pair.ring.device);
      pair.serve();
      this.#take();
    }
    assert.equal(this.#sent.size, 0, 'every chain came back');
    assert.equal(pair.server.pendingCount, 0);
    this.#submit([fuseInitRequest()], [16, 64], false, 2n);
    pair.serve();
    this.#take();
    assert.equal(this.#sent.size, 0, 'a guest can mount again');
    for (const call of fs.held.splice(0)) call.finish(0); // abandoned ones
    const strange = pair.lines.filter((line) => !EXPECTED.test(line));
    assert.deepEqual(strange, []);
    pair.close();
  }

  #send(each: Step & { readonly do: 'send' }): void {
    const { opcode: code, lie, extensions: totalExtlen, nodeId } = each;
    const unique = this.#unique++;
    const length = lie === null ? {} : { len: lie };
    // Half of the bodies are as long as they should be, so that the names begin where they should.
    const wanted = ROWS[code]?.argumentBytes ?? 0;
    const exact = new Uint8Array(wanted);
    exact.set(each.body.subarray(0, wanted));
    const bytes = each.exact ? exact : each.body;
    const request = fuseRequest(code, [bytes, ...each.names], {
      ...{ nodeId, unique, totalExtlen },
      ...length,
    });
    const readable: Uint8Array[] = [];
    let at = 0;
    for (const cut of each.cuts) {
      if (cut === 0 || at + cut >= request.length) continue;
      readable.push(request.subarray(at, at + cut));
      at += cut;
    }
    readable.push(request.subarray(at));
    const rooms = each.rooms.filter((room) => room > 0);
    const mute = MUTE.has(code) || rooms.reduce((sum, room) => sum + room, 0) < 16;
    this.#submit(readable, rooms, mute, unique);
  }

  #submit(
    readable: readonly Uint8Array[],
    writable: readonly number[],
    mute: boolean,
    unique: bigint,
  ): void {
    const { driver } = this.pair;
    if (driver.ring.freeCount < readable.length + writable.length) return;
    assert.ok(readable.every(({ length }) => length > 0));
    this.#sent.set(driver.submit(readable, writable), { mute, unique });
    driver.publish();
  }

  /** MockDriver finds chains that come back twice, and bytes outside of the buffers. */
  #take(): void {
    for (const [token, { usedBytes, written }] of this.pair.taken()) {
      const sent = this.#sent.get(token);
      assert.ok(sent !== undefined);
      this.#sent.delete(token);
      if (sent.mute) {
        assert.equal(usedBytes, 0);
        continue;
      }
      const { errno, unique } = fuseAnswer(written, usedBytes);
      assert.ok(errno >= 0 && errno < 512);
      assert.equal(unique, sent.unique);
    }
  }
}

describe('a FUSE server under random requests', () => {
  it('gives each chain back once, with an answer that is one', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 80, size: 'max' }), (steps) => {
        const run = new Run();
        run.step({ do: 'init' });
        for (const each of steps) run.step(each);
        run.end();
      }),
      { numRuns: 200 },
    );
  });
});
