/**
 * Folders of a {@link FsClient}: listings.
 *
 * @module
 */
import { FUSE_INIT, FUSE_OPCODE, LINUX_O } from '../../fuse/index.ts';
import type { FuseCalls, FuseHandle } from './calls.ts';
import { FsError } from './errors.ts';
import { about } from './mount.ts';
import type { FsMount } from './mount.ts';
import type { FsNode } from './nodes.ts';
import { FsDirent } from './structures.ts';
import type { FuseDirent } from './structures.ts';

const LIST_BYTES = 64 * 1024; // of one request
const DOTS = [Buffer.from('.'), Buffer.from('..')];

/** No handle of the server: OPENDIR was answered with ENOSYS, and is not needed. */
const NO_HANDLE: FuseHandle = { fh: 0n, openFlags: 0 };

/**
 * Lists a folder, without `.` and `..`. With `plus` each entry comes with its attributes where the
 * server has READDIRPLUS; what it thereby looked up is counted here, and stays known for a while.
 */
export async function* listFolder(
  mount: FsMount,
  calls: FuseCalls,
  node: FsNode,
  plus: boolean,
): AsyncGenerator<FuseDirent, void, void> {
  const { OPENDIR } = FUSE_OPCODE;
  const { flags } = calls.connection.agreement;
  const withPlus = plus && (flags & FUSE_INIT.DO_READDIRPLUS) !== 0;
  const open = (): Promise<FuseHandle> => calls.open(node.id, LINUX_O.DIRECTORY, true);
  const { fh } = await mount.optional(OPENDIR, open, () => NO_HANDLE);
  const bytes = Math.min(LIST_BYTES, calls.connection.readBytesMax);
  try {
    for (let cookie = 0n; ;) {
      const batch = await calls.readdir(node.id, fh, { cookie, bytes, plus: withPlus });
      for (const { entry } of batch) if (entry !== null) mount.nodes.note(entry.nodeId);
      const last = batch.at(-1);
      if (last === undefined) return;
      cookie = last.cookie;
      for (const each of batch) if (!DOTS.some((dots) => dots.equals(each.name))) yield each;
    }
  } finally {
    try {
      if (!mount.missing.has(OPENDIR)) await calls.release(node.id, fh, { folder: true });
    } catch (error) {
      if (!(error instanceof FsError)) throw error; // nobody can do anything about it
    }
  }
}

/**
 * An open folder: the methods of Node's `fs.Dir`. Closes itself at the end of an iteration.
 */
export class FsDir<Name extends string | Buffer = string> {
  readonly path: string;
  readonly #entries: AsyncGenerator<FsDirent<Name>, void, void>;
  #closing: Promise<void> | null = null;
  readonly #onClose: () => void;

  /** @param onClose called once, when it is closed */
  constructor(
    path: string,
    entries: AsyncGenerator<FsDirent<Name>, void, void>,
    onClose: () => void,
  ) {
    this.path = path;
    this.#entries = entries;
    this.#onClose = onClose;
  }

  /** The next entry; null after the last one. */
  async read(): Promise<FsDirent<Name> | null> {
    const { value } = await about('readdir', this.path, () => this.#entries.next());
    return value ?? null;
  }

  /** Closes the folder; may be called again. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** The entries that are left; closes the folder at the end, also when a loop is left. */
  async *[Symbol.asyncIterator](): AsyncGenerator<FsDirent<Name>, void, void> {
    try {
      for (let entry = await this.read(); entry !== null; entry = await this.read()) yield entry;
    } finally {
      await this.close();
    }
  }

  /** The same as `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    try {
      await this.#entries.return();
    } finally {
      this.#onClose();
    }
  }
}

/** Entries as people want them: names as text or as bytes. */
export async function* direntsOf<Name extends string | Buffer>(
  entries: AsyncGenerator<FuseDirent, void, void>,
  parentPath: string,
  nameOf: (bytes: Buffer) => Name,
): AsyncGenerator<FsDirent<Name>, void, void> {
  for await (const { name, ino, type, entry } of entries) {
    yield new FsDirent(nameOf(name), parentPath, { ino, type, stats: entry?.stats ?? null });
  }
}
