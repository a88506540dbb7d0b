/**
 * What a guest has, for tests: memory that is shared with a back-end, and queues in it, driven by
 * the mock drivers.
 *
 * @module
 */
import { VhostUserError, assert } from '../util/index.ts';
import { GuestMemory } from '../memory/index.ts';
import { FrontendQueue, SharedMemory } from '../frontend/index.ts';
import type { SharedRange } from '../frontend/index.ts';
import { HostileDriver } from './hostile-driver.ts';
import { MockDriver } from './mock-driver.ts';
import type { MockCompletion } from './mock-driver.ts';
import type { MockFrontend } from './mock-frontend.ts';
import { MOCK_TIMEOUT_MS } from './mock-socket.ts';

const PAGE_BYTES_MAX = 65536;
const MEMORY_BYTES = 1024 * 1024;
/**
 * Where memory is for the back-end: above 2^32; and for "the guest's VMM", which is nowhere here.
 */
const GUEST_GPA = 0x12_3456_0000;
const GUEST_UVA = 0x7fed_0000_0000;
const UVA_GAP_BYTES = 0x10_0000_0000;

/** How a {@link MockGuest} is made. */
export interface MockGuestOptions {
  /** Queues that are started; 1 by default. */
  readonly queueCount?: number;
  /** Entries of each ring; 64 by default. */
  readonly queueSize?: number;
  /** The longest indirect chain; 0 by default: none. */
  readonly indirectMax?: number;
  /** 1 MiB by default. */
  readonly memoryBytes?: number;
  /** Regions that the back-end gets the memory as: neighbours in gpa, far apart otherwise. */
  readonly regionCount?: number;
  /** Room for what a {@link HostileDriver} plays with, in each queue; 64 KiB by default. */
  readonly scratchBytes?: number;
}

const DEFAULTS = { queueSize: 64, scratchBytes: PAGE_BYTES_MAX, regionCount: 1 } as const;

/** A region as the wire has it, with the fd that goes with it. */
export interface MockRegion {
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly uva: number;
  readonly mmapOffset: number;
}

/** See the module. Owns the memory and the queues, borrows the front-end. */
export class MockGuest {
  /** May be replaced by another connection, with which the same guest goes on. */
  frontend: MockFrontend;
  readonly shared: SharedMemory;
  /** The same memory, as the back-end sees it, for raw access. */
  readonly memory: GuestMemory;
  /** What was, or will be, sent to the back-end. */
  readonly regions: readonly MockRegion[];
  readonly #options: MockGuestOptions;
  readonly #queues = new Map<number, MockQueue>();

  constructor(frontend: MockFrontend, options: MockGuestOptions = {}) {
    const { memoryBytes = MEMORY_BYTES, regionCount = DEFAULTS.regionCount } = options;
    this.frontend = frontend;
    this.#options = options;
    this.shared = new SharedMemory(Math.max(memoryBytes, regionCount * PAGE_BYTES_MAX), GUEST_GPA);
    this.memory = new GuestMemory([this.shared.region]);
    const regions = cut(this.shared.region.sizeBytes, regionCount);
    this.regions = frontend.speaks('GPA_ADDRESSES')
      ? regions.map((each) => ({ ...each, uva: each.gpa }))
      : regions;
  }

  /** Sends the regions, by ADD_MEM_REG where it was negotiated, else by SET_MEM_TABLE. */
  async shareMemory(): Promise<void> {
    const { frontend, regions, shared } = this;
    if (!frontend.speaks('CONFIGURE_MEM_SLOTS')) {
      const fds = regions.map(() => shared.fd);
      await frontend.command('SET_MEM_TABLE', { regions }, { fds });
      return;
    }
    for (const region of regions) {
      await frontend.command('ADD_MEM_REG', { ...region }, { fds: [shared.fd] });
    }
  }

  /** A queue that was made. */
  queue(index: number): MockQueue {
    const queue = this.#queues.get(index);
    assert(queue !== undefined, 'the queue was made before');
    return queue;
  }

  /** Makes a queue in memory, when it is not there; the back-end does not hear of it. */
  makeQueue(index: number): MockQueue {
    const existing = this.#queues.get(index);
    if (existing !== undefined) return existing;
    const queue = new MockQueue(this, index, this.#options);
    this.#queues.set(index, queue);
    return queue;
  }

  /** Makes a queue, tells the back-end all about it, enables it and gives the first kick. */
  async startQueue(index: number, availBase: number = 0): Promise<MockQueue> {
    const queue = this.makeQueue(index);
    const { frontend } = this;
    const { kick, call, err } = queue.raw.peerFds;
    const value = BigInt(index);
    await frontend.command('SET_VRING_NUM', { index, num: queue.raw.size });
    await frontend.command('SET_VRING_BASE', { index, num: availBase });
    await frontend.command('SET_VRING_ADDR', { index, ...queue.addresses() });
    await frontend.command('SET_VRING_CALL', { value }, { fds: [call] });
    await frontend.command('SET_VRING_ERR', { value }, { fds: [err] });
    await frontend.command('SET_VRING_KICK', { value }, { fds: [kick] });
    if (this.hasEnable) await frontend.command('SET_VRING_ENABLE', { index, num: 1 });
    queue.raw.kick();
    return queue;
  }

  /** GET_VRING_BASE: stops a ring, and says from where it would go on. */
  async stopQueue(index: number): Promise<number> {
    const { values } = await this.frontend.ask('GET_VRING_BASE', 'vringState', { index });
    return values.num;
  }

  /** Whether rings have to be enabled: bit 30 was negotiated. */
  get hasEnable(): boolean {
    return (this.frontend.negotiated.features & (1n << 30n)) !== 0n;
  }

  /** The front-end's own address of a gpa, as in the regions that were sent. */
  uvaOf(gpa: number): number {
    const region = this.regions.find((each) => gpa >= each.gpa && gpa < each.gpa + each.sizeBytes);
    assert(region !== undefined, 'the address is in the memory');
    return region.uva + (gpa - region.gpa);
  }

  /** Frees the memory and closes the notifiers; may be called again. Close the front-end before. */
  close(): void {
    for (const queue of this.#queues.values()) queue.raw.close();
    this.#queues.clear();
    this.shared.close();
  }
}

/** One queue of a {@link MockGuest}. */
export class MockQueue {
  readonly guest: MockGuest;
  /** Ring, notifiers and addresses. */
  readonly raw: FrontendQueue;
  /** Room for a hostile driver's buffers. */
  readonly scratch: SharedRange;
  /** How often the back-end has notified. */
  calls = 0;
  /** How often the back-end has reported an error of this ring. */
  errors = 0;
  readonly #waiting = new Set<() => void>();
  #driver: MockDriver | null = null;

  constructor(guest: MockGuest, index: number, options: MockGuestOptions) {
    const { queueSize: size = DEFAULTS.queueSize, indirectMax = 0 } = options;
    this.guest = guest;
    const { features } = guest.frontend.negotiated;
    this.raw = new FrontendQueue(guest.shared, { index, size, indirectMax }, features, () => {
      this.errors++;
      this.#tell();
    });
    this.scratch = guest.shared.allocate(options.scratchBytes ?? DEFAULTS.scratchBytes, 4096);
    this.raw.watchCalls(() => {
      this.calls++;
      this.#tell();
    });
  }

  /** The honest driver: one for each queue. Not to be mixed with `hostileDriver`. */
  get driver(): MockDriver {
    return (this.#driver ??= new MockDriver(this.raw.ring, this.guest.shared));
  }

  /** A driver that writes whatever it likes. */
  hostileDriver(): HostileDriver {
    const { desc, avail, used } = this.raw.addresses('gpa');
    const { regions, memory } = this.guest;
    const second = regions[1];
    const { gpa, sizeBytes } = this.guest.shared.region;
    return new HostileDriver({
      memory,
      size: this.raw.size,
      descGpa: desc,
      availGpa: avail,
      usedGpa: used,
      scratchGpa: this.scratch.gpa,
      scratchBytes: this.scratch.lengthBytes,
      splitGpa: second?.gpa ?? gpa + sizeBytes,
    });
  }

  /** The values of SET_VRING_ADDR. */
  addresses(): {
    readonly desc: number;
    readonly used: number;
    readonly avail: number;
    readonly flags: number;
    readonly log: bigint;
  } {
    const { desc, used, avail } = this.raw.addresses('gpa');
    const uva = (each: number): number => this.guest.uvaOf(each);
    return { desc: uva(desc), used: uva(used), avail: uva(avail), flags: 0, log: 0n };
  }

  /** Shows the device what was submitted, and kicks it if it wants that. */
  publish(): void {
    if (this.driver.publish()) this.raw.kick();
  }

  /** Makes one request and waits for its return. */
  async exchange(
    readable: readonly Uint8Array[],
    writable: readonly number[],
    timeoutMs: number = MOCK_TIMEOUT_MS,
  ): Promise<MockCompletion> {
    const token = this.driver.submit(readable, writable);
    this.publish();
    const list = await this.completions(1, timeoutMs);
    const done = list.find((each) => each.token === token);
    assert(done !== undefined, 'exchange is used for one request at a time');
    return done;
  }

  /**
   * Waits for the return of so many requests, by notifications alone: a back-end that forgets one
   * is found out.
   * @throws VhostUserError `ERR_VHU_MOCK_TIMEOUT`, or what `MockDriver.completed` finds.
   */
  async completions(count: number, timeoutMs: number = MOCK_TIMEOUT_MS): Promise<MockCompletion[]> {
    const list: MockCompletion[] = [];
    const endMs = performance.now() + timeoutMs;
    for (;;) {
      do list.push(...this.driver.completed());
      while (this.raw.ring.enableInterrupts());
      if (list.length >= count) return list;
      const restMs = endMs - performance.now();
      if (restMs <= 0 || !(await this.waitForCall(restMs))) {
        throw new VhostUserError(
          'ERR_VHU_MOCK_TIMEOUT',
          `mock: queue ${String(this.raw.index)}: ${String(list.length)} of ${String(count)} ` +
            `requests came back within ${String(timeoutMs)} ms, after ${String(this.calls)} ` +
            'notifications',
        );
      }
    }
  }

  /** Waits for the next notification, or error; false when none came. */
  waitForCall(timeoutMs: number = MOCK_TIMEOUT_MS): Promise<boolean> {
    return new Promise<boolean>((resolve) => {
      const told = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(told);
        resolve(true);
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(told);
        resolve(false);
      }, timeoutMs);
      this.#waiting.add(told);
    });
  }

  #tell(): void {
    for (const told of [...this.#waiting]) told();
  }
}

/** Cuts memory into regions of whole pages, as even as that allows. */
function cut(sizeBytes: number, count: number): MockRegion[] {
  const step = Math.ceil(sizeBytes / count / PAGE_BYTES_MAX) * PAGE_BYTES_MAX;
  const regions: MockRegion[] = [];
  for (let at = 0; at < sizeBytes; at += step) {
    regions.push({
      gpa: GUEST_GPA + at,
      sizeBytes: Math.min(step, sizeBytes - at),
      uva: GUEST_UVA + regions.length * UVA_GAP_BYTES + at,
      mmapOffset: at,
    });
  }
  return regions;
}
