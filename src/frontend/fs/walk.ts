/**
 * Paths to nodes: what a kernel does with a path before it asks a file system anything else.
 *
 * Symbolic links are followed here, inside of the mount: an absolute target begins at the mount's
 * root, and `..` goes back to the folder that the walk came through, never above the root.
 *
 * @module
 */
import type { FuseCalls } from './calls.ts';
import { FsError } from './errors.ts';
import type { FsNode, NodeTable } from './nodes.ts';
import type { FsStats } from './structures.ts';

/** A path: text is UTF-8; bytes are for names that are not. `/` and no `/` begin at the root. */
export type FsPath = string | Uint8Array;

const SLASH = 0x2f;
const LINKS_MAX = 40; // as Linux: MAXSYMLINKS
const PATH_BYTES_MAX = 4095; // PATH_MAX with its NUL

/** A folder or file on the way, with its name in the folder before it. */
export interface Step {
  readonly node: FsNode; // pinned
  readonly name: Buffer;
  /** As LOOKUP had it; null of the root. */
  readonly stats: FsStats | null;
}

/** Where a walk went. Holds its nodes until `release`. */
export class Trail {
  /** From the root to where the path leads. */
  readonly steps: Step[];
  /**
   * Of a walk to the parent: the last name, which was not looked up; null when the path ends in the
   * root, in `.` or in `..`.
   */
  name: Buffer | null = null;
  /** The last name if that is `.` or `..`; else empty. */
  dots = '';
  /** The path ends in a slash, or the like: it has to be a folder. */
  wantsFolder = false;
  /** Symbolic links that were followed. */
  links = 0;
  readonly #nodes: NodeTable;

  constructor(nodes: NodeTable, steps: Step[]) {
    this.#nodes = nodes;
    this.steps = steps;
  }

  /** Where the path leads; of a walk to the parent, the folder. */
  get end(): Step {
    return this.steps[this.steps.length - 1] as Step;
  }

  /** Adds a step, whose node is pinned. */
  push(step: Step): void {
    this.steps.push(step);
  }

  /** Goes back a step; not above the root. */
  pop(): void {
    if (this.steps.length === 1) return;
    this.#nodes.release((this.steps.pop() as Step).node);
  }

  /** Goes back to the root. */
  rewind(): void {
    while (this.steps.length > 1) this.pop();
  }

  /** Releases the nodes; may be called again. */
  release(): void {
    this.rewind();
  }
}

/** What a walk is to do with the last name of a path. */
export type WalkMode = 'follow' | 'nofollow' | 'parent';

/** Walks paths with the requests of `calls`. */
export class Walker {
  readonly #calls: FuseCalls;
  readonly #nodes: NodeTable;

  constructor(calls: FuseCalls, nodes: NodeTable) {
    this.#calls = calls;
    this.#nodes = nodes;
  }

  /** Walks a path. The caller releases the trail. @throws FsError without a path in it. */
  async walk(path: FsPath, mode: WalkMode): Promise<Trail> {
    const bytes = pathBytes(path);
    const root = { node: this.#nodes.root, name: Buffer.alloc(0), stats: null };
    const trail = new Trail(this.#nodes, [root]);
    await this.advance(trail, bytes, mode);
    return trail;
  }

  /**
   * Goes on from where a trail ends, with a path that may be absolute; releases it on an error.
   * Symbolic links that were followed before count.
   */
  async advance(trail: Trail, path: Buffer, mode: WalkMode): Promise<void> {
    try {
      await this.#advance(trail, path, mode);
    } catch (error) {
      trail.release();
      throw error;
    }
  }

  /** Looks a name up in the folder where a trail ends; null when there is nothing. Pins. */
  async child(trail: Trail, name: Buffer): Promise<Step | null> {
    try {
      const entry = await this.#calls.lookup(trail.end.node.id, name);
      if (entry === null) return null;
      return { node: this.#nodes.learn(entry.nodeId), name, stats: entry.stats };
    } catch (error) {
      if (error instanceof FsError && error.code === 'ENOENT') return null;
      throw error;
    }
  }

  /** The target of a symbolic link that is the next step; counts it. */
  async target(trail: Trail, link: Step): Promise<Buffer> {
    if (++trail.links > LINKS_MAX) throw new FsError('ELOOP', { syscall: 'walk' });
    const target = await this.#calls.readlink(link.node.id);
    if (target.length === 0) throw new FsError('ENOENT', { syscall: 'walk' });
    return target;
  }

  async #advance(trail: Trail, path: Buffer, mode: WalkMode): Promise<void> {
    let rest = splitPath(trail, path);
    trail.name = null;
    trail.dots = '';
    trail.wantsFolder = endsInFolder(path);
    for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
      const last = rest.length === 0;
      if (isDots(name)) {
        checkFolder(trail.end);
        trail.dots = last ? name.toString() : '';
        if (name.length === 2) trail.pop();
        continue;
      }
      if (last && mode === 'parent') {
        checkFolder(trail.end);
        trail.name = name;
        return;
      }
      checkFolder(trail.end); // before the server looks at the name
      const step = await this.child(trail, name);
      if (step === null) throw new FsError('ENOENT', { syscall: 'walk' });
      const follow = !last || mode === 'follow' || trail.wantsFolder;
      if (step.stats?.isSymbolicLink() !== true || !follow) {
        trail.push(step);
        continue;
      }
      try {
        const target = await this.target(trail, step);
        if (last) trail.wantsFolder ||= endsInFolder(target);
        rest = [...splitPath(trail, target), ...rest];
      } finally {
        this.#nodes.release(step.node);
      }
    }
    if (trail.wantsFolder) checkFolder(trail.end);
  }
}

/** The bytes of a path. @throws FsError `ENOENT`, `ENAMETOOLONG`, `EINVAL`. */
export function pathBytes(path: FsPath): Buffer {
  const bytes = typeof path === 'string' ? Buffer.from(path) : Buffer.from(path);
  if (bytes.length === 0) throw new FsError('ENOENT', { syscall: 'walk' });
  if (bytes.length > PATH_BYTES_MAX) throw new FsError('ENAMETOOLONG', { syscall: 'walk' });
  if (bytes.includes(0)) throw new FsError('EINVAL', { syscall: 'walk' });
  return bytes;
}

/** A path for people, and for the `path` of an error. */
export function pathText(path: FsPath): string {
  return typeof path === 'string' ? path : Buffer.from(path).toString();
}

/** The names of a path; an absolute one takes the trail back to the root. */
function splitPath(trail: Trail, path: Buffer): Buffer[] {
  if (path[0] === SLASH) trail.rewind();
  const names: Buffer[] = [];
  let from = 0;
  while (from < path.length) {
    let end = path.indexOf(SLASH, from);
    if (end < 0) end = path.length;
    if (end > from) names.push(path.subarray(from, end));
    from = end + 1;
  }
  return names;
}

function endsInFolder(path: Buffer): boolean {
  const name = path.subarray(path.lastIndexOf(SLASH) + 1);
  return name.length === 0 || isDots(name);
}

/** `.` or `..`. */
function isDots(name: Buffer): boolean {
  return name.length <= 2 && name.every((byte) => byte === 0x2e);
}

function checkFolder(step: Step): void {
  if (step.stats === null || step.stats.isDirectory()) return;
  throw new FsError('ENOTDIR', { syscall: 'walk' });
}
