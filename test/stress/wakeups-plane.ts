/**
 * The device of the stress of wake-ups: answers a request at once, or holds it until something
 * other than a kick makes it go on: a notifier that it watches, a completion, a timer. With a few
 * in its hands it takes no more. What it does is a matter of chance.
 *
 * @module
 */
import type {
  DataPlane,
  DataPlaneContext,
  DataPlaneFactory,
  LocalDataPlane,
  ReactorWatch,
} from '../../src/backend/index.ts';
import { READABLE, createNotifier } from '../../src/sys/index.ts';
import type { Chain, Virtqueue } from '../../src/virtqueue/index.ts';
import { MARK, Random, SLOT, makeAtomicsLate } from './exchange.ts';

/** What the plane is made with. Plain data. */
export interface WakeupsPlaneOptions {
  readonly seed: number;
  /** How late an access may be, at most, in a thread of the plane's own; 0 is never. */
  readonly pauseUs: number;
}

const HELD_MAX = 4;
const HOLD_ONE_OF = 3;
const TIMER_ONE_OF = 32; // of those that are held: a timer takes its time
const TIMER_MS_MAX = 2;

class WakeupsPlane implements DataPlane {
  readonly #context: DataPlaneContext;
  readonly #random: Random;
  readonly #held: { readonly queue: Virtqueue; readonly chain: Chain }[] = [];
  readonly #bell = createNotifier();
  readonly #bellWatch: ReactorWatch;
  readonly #completions: number;
  readonly #word = new Uint8Array(4);

  constructor(context: DataPlaneContext, seed: number) {
    this.#context = context;
    this.#random = new Random(seed ^ 0x55aa_55aa);
    const { reactor } = context;
    const { consumer } = this.#bell;
    this.#bellWatch = reactor.watch(consumer.fd, READABLE, () => {
      consumer.drain();
      this.#giveBack();
    });
    this.#completions = reactor.uring === null ? 0 : reactor.onCompletion(() => this.#giveBack());
  }

  serve(queue: Virtqueue, budget: number): number {
    let taken = 0;
    while (taken < budget && !this.full()) {
      const chain = queue.pop();
      if (chain === null) break;
      taken++;
      if (this.#random.below(HOLD_ONE_OF) !== 0) this.#answer(queue, chain);
      else this.#hold(queue, chain);
    }
    return taken;
  }

  full(): boolean {
    return this.#held.length === HELD_MAX;
  }

  close(): void {
    this.#bellWatch.close();
    this.#bell.consumer.close();
    this.#bell.notifier.close();
  }

  /** Whatever comes first gives all back; what comes later may find nothing. */
  #hold(queue: Virtqueue, chain: Chain): void {
    const { reactor } = this.#context;
    this.#held.push({ queue, chain });
    if (this.#random.below(TIMER_ONE_OF) === 0) {
      reactor.after(this.#random.below(TIMER_MS_MAX + 1), () => this.#giveBack());
    } else if (reactor.uring === null || this.#random.below(2) === 0) {
      this.#bell.notifier.signal();
    } else if (!reactor.uring.prepNop(this.#completions)) {
      this.#giveBack();
    }
  }

  #giveBack(): void {
    if (this.#random.below(4) === 0) this.#held.reverse();
    for (const { queue, chain } of this.#held.splice(0)) this.#answer(queue, chain);
    this.#context.flush();
  }

  #answer(queue: Virtqueue, chain: Chain): void {
    for (const at of [0, 4 * SLOT.LAST]) {
      new DataView(this.#word.buffer).setUint32(0, chain.readableU32(at) ^ MARK.reply, true);
      chain.copyToWritable(at, this.#word);
    }
    queue.push(chain, SLOT.MESSAGE_BYTES);
  }
}

/** For a thread of its own. */
export const createDataPlane: DataPlaneFactory = (context) => {
  const { seed, pauseUs } = context.options as WakeupsPlaneOptions;
  if (pauseUs > 0) makeAtomicsLate(seed ^ 0x1234_5678, pauseUs);
  return new WakeupsPlane(context, seed);
};

/** For the event loop, whose thread does much else: no access is late there. */
export function localPlane({ seed }: WakeupsPlaneOptions): LocalDataPlane {
  return { kind: 'local', create: (context) => new WakeupsPlane(context, seed) };
}
