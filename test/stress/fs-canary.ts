/**
 * What stands around a shared folder in a test of escapes: beside the share another folder of the
 * very same shape, so that whatever is led astray finds something to read, write or remove there;
 * and a look at whether anything has been touched.
 *
 *     BASE/share/    the folder that is shared
 *     BASE/outside/  the same names, with contents and further names that say CANARY
 *     BASE/links/    a chain of links to `outside`
 *     BASE/staging/  where the host prepares what it puts into the share
 *
 * @module
 */
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** In every content and every further name outside of the share. */
export const CANARY = 'CANARY';
/** What files of the share have in them. */
export const SHARED = 'shared ';

const FOLDERS = ['d0', 'd1', 'd0/d0', 'd0/d1', 'd1/d0', 'd0/d0/d0'];
const FILES = ['f0', 'f1', 'f2'];

/** Paths of the folders of both trees, in an order in which they can be made. */
export const FOLDER_PATHS: readonly string[] = FOLDERS;
/** Paths of the files of both trees. */
export const FILE_PATHS: readonly string[] = ['', ...FOLDERS].flatMap((folder) =>
  FILES.map((file) => join(folder, file)),
);
/** Links in a chain: fewer than Linux follows (40). */
const CHAIN_LENGTH = 30;
/** The end of the chain in `links/`, which leads to `outside`. */
export const CHAIN_NAME: string = `l${String(CHAIN_LENGTH - 1)}`;

/** See the module. */
export class Surroundings {
  readonly base: string;
  readonly share: string;
  readonly outside: string;
  /** Inode numbers of what is outside. */
  readonly outsideInos: ReadonlySet<number>;
  readonly #before: readonly string[];

  constructor() {
    this.base = mkdtempSync(join(tmpdir(), 'vhu-escape-'));
    this.share = join(this.base, 'share');
    this.outside = join(this.base, 'outside');
    makeTree(this.share, SHARED);
    makeTree(this.outside, CANARY);
    for (const folder of ['', ...FOLDERS]) {
      writeFileSync(join(this.outside, folder, `${CANARY}-name`), CANARY);
    }
    mkdirSync(join(this.base, 'staging'));
    this.#makeChain();
    // A read would set the time of access, when that is older than the others (relatime).
    for (const path of this.#paths()) utimesSync(path, 1, 2);
    this.#before = this.#look();
    this.outsideInos = new Set([
      ...this.#paths().map((path) => lstatSync(path).ino),
      lstatSync(this.base).ino,
      lstatSync(dirname(this.base)).ino,
    ]);
  }

  /** What has changed outside since the beginning, or was read; empty when nothing has. */
  changes(): string[] {
    const now = this.#look();
    const gone = this.#before.filter((line) => !now.includes(line)).map((line) => `- ${line}`);
    const come = now.filter((line) => !this.#before.includes(line)).map((line) => `+ ${line}`);
    return [...gone, ...come];
  }

  /** Removes everything. */
  remove(): void {
    rmSync(this.base, { recursive: true, force: true });
  }

  #makeChain(): void {
    const links = join(this.base, 'links');
    mkdirSync(links);
    symlinkSync(this.outside, join(links, 'l0'));
    for (let i = 1; i < CHAIN_LENGTH; i++) {
      symlinkSync(`l${String(i - 1)}`, join(links, `l${String(i)}`));
    }
  }

  #paths(): string[] {
    const below = readdirSync(this.outside, { recursive: true, encoding: 'utf8' });
    return ['', ...below.sort()].map((path) => join(this.outside, path));
  }

  /**
   * A line for each file outside. Its time of access says whether somebody has read it; a folder's
   * does not, since this look reads it.
   */
  #look(): string[] {
    return this.#paths().map((path) => {
      const stats = lstatSync(path, { bigint: true });
      const { mode, uid, gid, nlink, size, ino, atimeNs, mtimeNs, ctimeNs } = stats;
      const times = stats.isFile() ? [atimeNs, mtimeNs, ctimeNs] : [mtimeNs, ctimeNs];
      return [path, mode.toString(8), uid, gid, nlink, size, ino, ...times].join(' ');
    });
  }
}

function makeTree(root: string, content: string): void {
  mkdirSync(root);
  for (const folder of FOLDERS) mkdirSync(join(root, folder));
  for (const file of FILE_PATHS) writeFileSync(join(root, file), `${content} of ${file}\n`);
}
