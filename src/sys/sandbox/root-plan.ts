/**
 * What a new root has in it: which folders, links and files stand for the paths of the old one, and
 * which of the old trees are mounted on them. Nothing is made here.
 *
 * @module
 */
import { lstatSync, readlinkSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { dirname, join } from 'node:path';

/** What may be done with a tree, most last. */
export type TreeAccess = 'read' | 'run' | 'write' | 'share';

/** A tree of the old root that is mounted in the new one, at the same path. */
export interface PlannedMount {
  /** Without links. */
  readonly path: string;
  readonly access: TreeAccess;
  readonly isFolder: boolean;
  readonly isDevice: boolean;
  /** A tree that is mounted before has it already, and something is put over it. */
  readonly isOver: boolean;
}

/** The new root; in the order in which it can be made. */
export interface RootPlan {
  readonly folders: readonly string[];
  readonly links: readonly (readonly [path: string, text: string])[];
  readonly mounts: readonly PlannedMount[];
}

const LINKS_MAX = 40; // of one path, as in the kernel
const ORDER: readonly TreeAccess[] = ['read', 'run', 'write', 'share'];

interface Tree {
  access: TreeAccess;
  readonly stats: Stats;
}

/** Takes paths, and makes the plan of them. */
export class RootPlanner {
  readonly #folders = new Set<string>();
  readonly #links = new Map<string, string>();
  readonly #trees = new Map<string, Tree>();

  /** A folder, a file or a device, under this name and each that leads to it by links. */
  add(path: string, access: TreeAccess): void {
    const found = this.#walk(path);
    if (found === null) return; // whoever opens it says what is wrong with it
    const tree = this.#trees.get(found.path);
    if (tree === undefined) this.#trees.set(found.path, { access, stats: found.stats });
    else if (ORDER.indexOf(access) > ORDER.indexOf(tree.access)) tree.access = access;
  }

  /** A folder with nothing in it, unless something else is added. */
  addEmpty(path: string): void {
    this.#walk(path);
  }

  /** A link of a text of ours. */
  addLink(path: string, text: string): void {
    this.#walk(dirname(path));
    this.#links.set(path, text);
  }

  /** What has come of it. */
  plan(): RootPlan {
    const mounts: PlannedMount[] = [];
    // Parents before what is in them.
    for (const [path, { access, stats }] of [...this.#trees].sort(byPath)) {
      const around = nearest(mounts, path);
      const isDevice = stats.isCharacterDevice() || stats.isBlockDevice();
      if (around !== null && isEnough(around.access, access) && !isDevice) continue;
      const isOver = around !== null;
      mounts.push({ path, access, isFolder: stats.isDirectory(), isDevice, isOver });
    }
    const isOutside = (path: string): boolean => !isMounted(mounts, path);
    return {
      folders: [...this.#folders].sort().filter(isOutside),
      links: [...this.#links].sort(byPath).filter(([path]) => isOutside(path)),
      mounts,
    };
  }

  /** Notes the folders and links on the way; where it ends, or null. */
  #walk(path: string): { path: string; stats: Stats } | null {
    const words = path.split('/');
    let at = '/';
    for (let links = 0; words.length > 0;) {
      const word = words.shift() ?? '';
      if (word === '' || word === '.') continue;
      if (word === '..') {
        at = dirname(at);
        continue;
      }
      const next = join(at, word);
      const found = statsOf(next);
      if (found === null) return null;
      if (found.isSymbolicLink()) {
        if (++links > LINKS_MAX) return null;
        const text = readlinkSync(next);
        this.#links.set(next, text);
        words.unshift(...text.split('/'));
        if (text.startsWith('/')) at = '/';
        continue;
      }
      if (found.isDirectory()) this.#folders.add(next);
      else if (words.some((each) => each !== '')) return null;
      at = next;
    }
    return { path: at, stats: lstatSync(at) };
  }
}

/** Null: it is not there, or not for this user. */
function statsOf(path: string): Stats | null {
  try {
    return lstatSync(path);
  } catch {
    return null;
  }
}

function byPath([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}

/** Whether what may be done with a tree covers what is to be done with a part of it. */
function isEnough(around: TreeAccess, access: TreeAccess): boolean {
  // A guest would find a mount in its folder that is not there.
  if (around === 'share') return true;
  // What is written to is not executed.
  if (access === 'run') return around === 'run';
  return ORDER.indexOf(around) >= ORDER.indexOf(access);
}

/** The innermost of the trees that a path is in. */
function nearest(mounts: readonly PlannedMount[], path: string): PlannedMount | null {
  return mounts.findLast((each) => isWithin(path, each.path)) ?? null;
}

function isMounted(mounts: readonly PlannedMount[], path: string): boolean {
  return mounts.some((each) => each.isFolder && isWithin(path, each.path));
}

function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === '/' ? folder : `${folder}/`);
}
