/**
 * Operations on paths: the walk to a node, or to the folder that a name is in, the requests there,
 * and an error that names the operation and the path.
 *
 * @module
 */
import type { FuseCalls, FuseChanges } from './calls.ts';
import { FsError } from './errors.ts';
import { about } from './mount.ts';
import type { FsMount } from './mount.ts';
import type { FsNode } from './nodes.ts';
import type { FsStats } from './structures.ts';
import { Walker } from './walk.ts';
import type { FsPath, Trail, WalkMode } from './walk.ts';

/** Whether an operation is about a link itself. */
export interface LinkOptions {
  /** True by default: about what the link leads to. */
  readonly follow?: boolean;
}

/** A name in a folder that is used meanwhile. */
export interface PlacedName {
  readonly parent: number;
  readonly name: Buffer;
}

/** An error whose subject is filled in by {@link FsPaths}. */
export function fsError(code: string): FsError {
  return new FsError(code, { syscall: 'fuse' });
}

/** See the module. */
export class FsPaths {
  readonly walker: Walker;
  readonly #mount: FsMount;
  readonly #calls: FuseCalls;

  constructor(mount: FsMount, calls: FuseCalls) {
    this.#mount = mount;
    this.#calls = calls;
    this.walker = new Walker(calls, mount.nodes);
  }

  /** What an operation needs that is not one here. */
  get parts(): { readonly mount: FsMount; readonly calls: FuseCalls; readonly walker: Walker } {
    return { mount: this.#mount, calls: this.#calls, walker: this.walker };
  }

  /** Runs a part on the node that a path leads to. */
  at<T>(
    syscall: string,
    path: FsPath,
    mode: WalkMode,
    body: (node: FsNode, stats: FsStats | null) => Promise<T> | T,
  ): Promise<T> {
    return about(syscall, path, async () => {
      const trail = await this.walker.walk(path, mode);
      try {
        return await body(trail.end.node, trail.end.stats);
      } finally {
        trail.release();
      }
    });
  }

  /**
   * Runs a part on the folder that a path's last name is in. `noName` is the error of a path that
   * has none: of the root, or by the dots that it ends in.
   */
  inParent<T>(
    syscall: string,
    path: FsPath,
    noName: string | Readonly<Record<string, string>>,
    body: (parent: FsNode, name: Buffer, trail: Trail) => Promise<T>,
  ): Promise<T> {
    return about(syscall, path, async () => {
      const trail = await this.walker.walk(path, 'parent');
      try {
        const { name, dots } = trail;
        if (name !== null) return await body(trail.end.node, name, trail);
        throw fsError(typeof noName === 'string' ? noName : (noName[dots] ?? 'EBUSY'));
      } finally {
        trail.release();
      }
    });
  }

  /** SETATTR of what a path leads to. */
  change(syscall: string, path: FsPath, mode: WalkMode, changes: FuseChanges): Promise<void> {
    return this.at(syscall, path, mode, async (node) => {
      await this.#calls.setattr(node.id, changes);
    });
  }

  /** A request about extended attributes, which not every server has. */
  xattr<T>(
    syscall: string,
    path: FsPath,
    options: LinkOptions,
    opcode: number,
    send: (node: FsNode) => Promise<T>,
  ): Promise<T> {
    const mode = options.follow === false ? 'nofollow' : 'follow';
    return this.at(syscall, path, mode, (node) => {
      return this.#mount.optional(
        opcode,
        () => send(node),
        () => {
          throw fsError('EOPNOTSUPP'); // as a kernel says it
        },
      );
    });
  }

  /** A path with a slash at its end leads to a folder: not for what makes or removes a file. */
  async refuseFolderPath(trail: Trail, name: Buffer, what: 'make' | 'remove'): Promise<void> {
    if (!trail.wantsFolder) return;
    const folder = await this.#isFolder(trail, name);
    if (what === 'make') throw fsError('EEXIST');
    throw fsError(folder ? 'EISDIR' : 'ENOTDIR');
  }

  /**
   * Runs a part on two names, the first of which exists: the checks of rename(2) in its order, as
   * far as they are about paths.
   */
  async inParents<T>(
    from: FsPath,
    to: FsPath,
    body: (source: PlacedName, target: PlacedName) => Promise<T>,
  ): Promise<T> {
    const source = await this.walker.walk(from, 'parent');
    try {
      const target = await this.walker.walk(to, 'parent');
      try {
        if (source.name === null || target.name === null) throw fsError('EBUSY');
        const folder = await this.#isFolder(source, source.name);
        const wantsFolder = source.wantsFolder || target.wantsFolder;
        if (wantsFolder && !folder) throw fsError('ENOTDIR');
        return await body(
          { parent: source.end.node.id, name: source.name },
          { parent: target.end.node.id, name: target.name },
        );
      } finally {
        target.release();
      }
    } finally {
      source.release();
    }
  }

  async #isFolder(trail: Trail, name: Buffer): Promise<boolean> {
    const step = await this.walker.child(trail, name);
    if (step === null) throw fsError('ENOENT');
    this.#mount.nodes.release(step.node);
    return step.stats?.isDirectory() === true;
  }
}
