/**
 * The host in a test of escapes: a process that swaps folders and files of a share for links that
 * lead outside, for FIFOs and devices, and back again, as fast as it can. Its argument is a
 * {@link SwapPlan}; at the end it prints a {@link SwapReport}.
 *
 * It walks by descriptors and never through a link: the guest makes links, too, and this process
 * must not be the one that is led astray.
 *
 * @module
 */
import { closeSync, writeSync } from 'node:fs';
import { dirname, basename, join } from 'node:path';
import {
  NativeBlock,
  RENAME,
  hostOpenFlags,
  mkdirAt,
  mknodAt,
  openAt,
  openFile,
  renameAt,
  rmdirAt,
  symlinkAt,
  unlinkAt,
} from '../../src/sys/index.ts';
import { LINUX_O, S_IF } from '../../src/fuse/index.ts';
import { Random } from './exchange.ts';
import { CHAIN_NAME, FILE_PATHS, FOLDER_PATHS, SHARED } from './fs-canary.ts';

/** What a run is made of. */
export interface SwapPlan {
  readonly base: string;
  readonly seed: number;
  readonly seconds: number;
  /** Devices can be made. */
  readonly isRoot: boolean;
}

/** What was done. */
export interface SwapReport {
  readonly swaps: number;
  /** What the guest had removed or replaced, and was made again. */
  readonly repairs: number;
  /** Folders that changed places. */
  readonly moves: number;
}

const FOLDER_FLAGS = hostOpenFlags(LINUX_O.DIRECTORY | LINUX_O.NONBLOCK);
const NEW_FILE_FLAGS = hostOpenFlags(LINUX_O.WRONLY | LINUX_O.CREAT | LINUX_O.EXCL);
const HOLD_US_MAX = 300;
/** Steps between two looks at the clock. */
const STEPS_PER_LOOK = 16;

/** A name or target in native memory, which is kept. */
const texts = new Map<string, NativeBlock>();
function text(value: string): number {
  let block = texts.get(value);
  if (block === undefined) {
    block = new NativeBlock(Buffer.byteLength(value) + 1);
    block.bytes.set(Buffer.from(value));
    texts.set(value, block);
  }
  return block.address;
}

class Swapper {
  readonly #plan: SwapPlan;
  readonly #random: Random;
  readonly #share: number;
  readonly #staging: number;
  #swaps = 0;
  #repairs = 0;
  #moves = 0;
  #count = 0;

  constructor(plan: SwapPlan) {
    this.#plan = plan;
    this.#random = new Random(plan.seed);
    this.#share = openFile(join(plan.base, 'share'), { writable: false });
    this.#staging = openFile(join(plan.base, 'staging'), { writable: false });
  }

  run(): SwapReport {
    const endMs = performance.now() + this.#plan.seconds * 1000;
    while (performance.now() < endMs) {
      for (let i = 0; i < STEPS_PER_LOOK; i++) this.#step();
    }
    return { swaps: this.#swaps, repairs: this.#repairs, moves: this.#moves };
  }

  #step(): void {
    const isFolder = this.#random.below(2) === 0;
    const path = this.#pick(isFolder ? FOLDER_PATHS : FILE_PATHS);
    const parent = this.#openFolder(dirname(path));
    if (parent < 0) return;
    this.#ensure(parent, basename(path), isFolder, path);
    if (isFolder && this.#random.below(8) === 0) this.#move(parent, basename(path));
    else this.#swap(parent, basename(path), path);
    closeSync(parent);
  }

  /** Puts something else in place of what is there, and after a while takes it away again. */
  #swap(parent: number, name: string, path: string): void {
    // What is swapped out is below the share at times, and at times outside of it.
    const inside = this.#random.below(2) === 0;
    const staging = inside ? this.#share : this.#staging;
    const decoy = `.swap${String(this.#count++)}`;
    if (!this.#makeDecoy(staging, decoy, path)) return;
    const put = renameAt(staging, text(decoy), parent, text(name), RENAME.EXCHANGE);
    if (put >= 0) {
      this.#swaps++;
      this.#hold();
      renameAt(staging, text(decoy), parent, text(name), RENAME.EXCHANGE);
    }
    if (unlinkAt(staging, text(decoy)) < 0) rmdirAt(staging, text(decoy));
    texts.get(decoy)?.free();
    texts.delete(decoy);
  }

  /** Two folders change places, wherever they are. */
  #move(parent: number, name: string): void {
    const other = this.#pick(FOLDER_PATHS);
    const otherParent = this.#openFolder(dirname(other));
    if (otherParent < 0) return;
    const moved = renameAt(parent, text(name), otherParent, text(basename(other)), RENAME.EXCHANGE);
    if (moved >= 0) this.#moves++;
    closeSync(otherParent);
  }

  #makeDecoy(staging: number, name: string, path: string): boolean {
    const { isRoot } = this.#plan;
    const kind = this.#random.below(isRoot ? 12 : 11);
    if (kind === 11) return mknodAt(staging, text(name), S_IF.CHR | 0o666, 1, 5) >= 0; // zero
    if (kind === 10) return mknodAt(staging, text(name), S_IF.IFO | 0o666, 0, 0) >= 0;
    if (kind === 9) return mkdirAt(staging, text(name), 0o755) >= 0;
    if (kind === 8) return this.#makeFile(staging, name, 'another');
    return symlinkAt(text(this.#target(kind, path)), staging, text(name)) >= 0;
  }

  /** Ways to say `outside/PATH`, or something else that is nobody's business. */
  #target(kind: number, path: string): string {
    const { base } = this.#plan;
    const outside = join(base, 'outside');
    const up = '../'.repeat(path.split('/').length);
    switch (kind) {
      case 0:
        return join(outside, path);
      case 1:
        return `${up}outside/${path}`;
      case 2:
        return `/proc/self/root${join(outside, path)}`;
      case 3:
        return `/proc/self/cwd/${path}`; // where the back-end's process is
      case 4:
        return `/proc/${String(process.pid)}/cwd/outside/${path}`;
      case 5:
        return join(base, 'links', CHAIN_NAME, path);
      case 6:
        return '/';
      default:
        return '..';
    }
  }

  /** The guest may have removed it, or put something else there. */
  #ensure(parent: number, name: string, isFolder: boolean, path: string): void {
    if (!isFolder) {
      if (this.#makeFile(parent, name, path)) this.#repairs++;
      return;
    }
    const fd = openAt(parent, text(name), FOLDER_FLAGS, 0);
    if (fd >= 0) {
      closeSync(fd);
      return;
    }
    unlinkAt(parent, text(name));
    if (mkdirAt(parent, text(name), 0o755) >= 0) this.#repairs++;
  }

  #makeFile(parent: number, name: string, content: string): boolean {
    const fd = openAt(parent, text(name), NEW_FILE_FLAGS, 0o644);
    if (fd < 0) return false;
    writeSync(fd, `${SHARED}of ${content}\n`);
    closeSync(fd);
    return true;
  }

  /** Opens a folder of the share, name by name; what is missing is made. */
  #openFolder(path: string): number {
    let fd = openAt(this.#share, text('.'), FOLDER_FLAGS, 0);
    for (const name of path === '.' ? [] : path.split('/')) {
      if (fd < 0) return fd;
      this.#ensure(fd, name, true, name);
      const next = openAt(fd, text(name), FOLDER_FLAGS, 0);
      closeSync(fd);
      fd = next;
    }
    return fd;
  }

  #hold(): void {
    const endMs = performance.now() + this.#random.below(HOLD_US_MAX) / 1000;
    while (performance.now() < endMs);
  }

  #pick(list: readonly string[]): string {
    return list[this.#random.below(list.length)] as string;
  }
}

const plan = JSON.parse(process.argv[2] ?? '') as SwapPlan;
process.chdir(plan.base);
console.log(JSON.stringify(new Swapper(plan).run()));
