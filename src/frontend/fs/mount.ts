/**
 * What all parts of a mounted file system share: the connection, the nodes that are known, and what
 * the server turned out not to have.
 *
 * @module
 */
import { FORGETS_MAX, FuseCalls } from './calls.ts';
import type { FuseConnection } from './connection.ts';
import { FsError } from './errors.ts';
import type { FsErrorSubject } from './errors.ts';
import { NodeTable } from './nodes.ts';
import { pathText } from './walk.ts';
import type { FsPath } from './walk.ts';

/** See the module. */
export class FsMount {
  readonly connection: FuseConnection;
  readonly nodes: NodeTable;
  /** Requests that the server has answered with ENOSYS: they are not sent again. */
  readonly missing: Set<number> = new Set<number>();
  readonly #posts = new Set<Promise<void>>();
  #owners = 0n;

  constructor(connection: FuseConnection, idleNodesMax: number) {
    this.connection = connection;
    const calls = new FuseCalls(connection, connection.identity);
    this.nodes = new NodeTable(idleNodesMax, FORGETS_MAX, (list) => {
      // It fails when the session has ended, and the server has forgotten everything then.
      const post = calls.forget(list).catch(() => undefined);
      this.#posts.add(post);
      void post.finally(() => this.#posts.delete(post));
    });
  }

  /** A number for an owner of locks that no other one has. */
  newOwner(): bigint {
    return ++this.#owners;
  }

  /** Forgets all nodes that nobody uses, and waits until the server has taken that. */
  async settle(): Promise<void> {
    this.nodes.trim();
    await Promise.all(this.#posts);
  }

  /**
   * Sends a request that a server may lack, in which case `without` is the result, now and in
   * future.
   */
  async optional<T>(opcode: number, send: () => Promise<T>, without: () => T): Promise<T> {
    if (this.missing.has(opcode)) return without();
    try {
      return await send();
    } catch (error) {
      if (!isError(error, 'ENOSYS')) throw error;
      this.missing.add(opcode);
      return without();
    }
  }
}

/** Whether something that was thrown is an error of a file system with one of these codes. */
export function isError(error: unknown, ...codes: readonly string[]): error is FsError {
  return error instanceof FsError && codes.includes(error.code);
}

/** Runs a part of an operation; an error of the file system then names the operation. */
export async function about<T>(
  syscall: string,
  path: FsPath | undefined,
  body: () => Promise<T>,
  dest?: FsPath,
): Promise<T> {
  try {
    return await body();
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    const subject: FsErrorSubject = {
      syscall,
      path: path === undefined ? undefined : pathText(path),
      dest: dest === undefined ? undefined : pathText(dest),
    };
    throw new FsError(-error.errno, subject);
  }
}
