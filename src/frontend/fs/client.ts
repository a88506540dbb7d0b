/**
 * A shared folder of any vhost-user-fs back-end, for programs: what `node:fs/promises` is for the
 * host's files.
 *
 * @module
 */
import { errorCode } from '../../util/index.ts';
import { FUSE_OPCODE, RENAME, S_IF } from '../../fuse/index.ts';
import { ACCESS, allows } from './access.ts';
import { FuseCalls } from './calls.ts';
import type { FsClientOptions, ReaddirOptions, WriteFileOptions } from './client-options.ts';
import { listPath, textOf } from './client-lists.ts';
import { copyWhole, makePath, makeTemporary, withFile } from './client-steps.ts';
import { getXattr, listXattrs, removeXattr, setXattr } from './client-xattrs.ts';
import type { SetXattrOptions } from './client-xattrs.ts';
import { FuseConnection } from './connection.ts';
import { FsDir, direntsOf, listFolder } from './directory.ts';
import { FsFileHandle, ownerChange } from './file-handle.ts';
import type { FsData, ReadFileOptions } from './file-handle.ts';
import type { FuseIdentity } from './lane.ts';
import { FsMount, about, isError } from './mount.ts';
import { openFlags, openPath } from './open.ts';
import { FsPaths, fsError } from './paths.ts';
import type { LinkOptions } from './paths.ts';
import type { FsDirent, FsName, FsStatFs, FsStats, FsTime } from './structures.ts';
import { removeTree } from './tree-walk.ts';
import { pathBytes, pathText } from './walk.ts';
import type { FsPath } from './walk.ts';

const DEFAULTS = { umask: 0o022, idleNodesMax: 1024, fileMode: 0o666, folderMode: 0o777 } as const;

/** What may come of the last request of a session, and is no reason for an error. */
const ENDINGS = new Set(['ERR_VHU_BACKEND_GONE', 'ERR_VHU_CLOSED', 'ERR_VHU_FS_REPLY', 'ENOSYS']);

/** What rmdir(2) says of a path that ends in these. */
const RMDIR_DOTS = { '.': 'EINVAL', '..': 'ENOTEMPTY' } as const;

/**
 * The methods of `fs.promises`, on a mount without a kernel. Paths are UTF-8 text or bytes, and
 * begin at the mount's root with or without a `/`. Links are followed inside of the mount.
 *
 * Errors are `FsError`s like Node's (`code: 'ENOENT'`, `syscall`, `path`); what ends the session
 * rejects with a `VhostUserError`. Permissions are the server's to check: a server that leaves that
 * to the guest's kernel, as most do, lets this client do what the server itself may do; `access`
 * tells what the owner and mode of a file say.
 *
 * ```ts
 * const fs = await FsClient.mount('/tmp/fs.sock');
 * await fs.mkdir('/a/b', { recursive: true });
 * await fs.writeFile('/a/b/hello.txt', 'hello');
 * console.log(await fs.readFile('/a/b/hello.txt', 'utf8'), await fs.readdir('/a'));
 * const file = await fs.open('/a/b/hello.txt', 'r+');
 * await file.flock({ type: 'exclusive' }).catch(() => undefined); // not every server has locks
 * await file.write('J', 0, 1, 0);
 * await file.close();
 * await fs.rm('/a', { recursive: true });
 * await fs.unmount();
 * ```
 */
export class FsClient {
  readonly #mount: FsMount;
  readonly #calls: FuseCalls;
  readonly #paths: FsPaths;
  readonly #umask: number;
  readonly #owner: bigint; // of POSIX locks

  private constructor(mount: FsMount, identity: FuseIdentity, umask: number) {
    this.#mount = mount;
    this.#calls = new FuseCalls(mount.connection, identity);
    this.#paths = new FsPaths(mount, this.#calls);
    this.#umask = umask;
    this.#owner = mount.newOwner();
  }

  /** Mounts what a back-end serves that listens on `socketPath`; see `FuseConnection.connect`. */
  static async mount(socketPath: string, options: FsClientOptions = {}): Promise<FsClient> {
    return FsClient.over(await FuseConnection.connect(socketPath, options), options);
  }

  /** The same on a connected socket, which the client takes over. */
  static async fromFd(fd: number, options: FsClientOptions = {}): Promise<FsClient> {
    return FsClient.over(await FuseConnection.fromFd(fd, options), options);
  }

  /** The same on a connection, which the client takes over. */
  static over(connection: FuseConnection, options: FsClientOptions = {}): FsClient {
    const mount = new FsMount(connection, options.idleNodesMax ?? DEFAULTS.idleNodesMax);
    return new FsClient(mount, connection.identity, options.umask ?? DEFAULTS.umask);
  }

  /** The requests themselves, for what has no method here. */
  get connection(): FuseConnection {
    return this.#mount.connection;
  }

  /** The requests as methods, with this client's identity. */
  get calls(): FuseCalls {
    return this.#calls;
  }

  /** The name that a guest mounts it by, if the server says one. */
  get tag(): string | null {
    return this.connection.info.tag;
  }

  /** Nodes that the server keeps for this mount, used or not; without the root. */
  get nodeCount(): number {
    return this.#mount.nodes.size;
  }

  /** The same mount for somebody else, with POSIX locks of his own. */
  as(identity: FuseIdentity, umask: number = this.#umask): FsClient {
    return new FsClient(this.#mount, identity, umask);
  }

  /** Opens a file, or a folder for its `stat` and `sync`. Numbers for flags are Linux's. */
  open(
    path: FsPath,
    flags: string | number = 'r',
    mode: number = DEFAULTS.fileMode,
  ): Promise<FsFileHandle> {
    return about('open', path, () => {
      const opener = { ...this.#paths.parts, owner: this.#owner };
      return openPath(opener, path, openFlags(flags), mode & ~this.#umask);
    });
  }

  /** Reads a whole file as text. */
  readFile(
    path: FsPath | FsFileHandle,
    options: BufferEncoding | (ReadFileOptions & { readonly encoding: BufferEncoding }),
  ): Promise<string>;
  /** The same as bytes. */
  readFile(
    path: FsPath | FsFileHandle,
    options?: ReadFileOptions & { readonly encoding?: null },
  ): Promise<Buffer>;
  /** Either, by the encoding. */
  async readFile(
    path: FsPath | FsFileHandle,
    options: BufferEncoding | ReadFileOptions = {},
  ): Promise<Buffer | string> {
    const how = typeof options === 'string' ? { encoding: options } : options;
    if (path instanceof FsFileHandle) return path.readFile(how);
    return withFile(this, path, 'r', DEFAULTS.fileMode, (file) => file.readFile(how));
  }

  /** Writes a whole file, anew. */
  async writeFile(
    path: FsPath | FsFileHandle,
    data: FsData,
    options: BufferEncoding | WriteFileOptions = {},
  ): Promise<void> {
    const how: WriteFileOptions = typeof options === 'string' ? { encoding: options } : options;
    if (path instanceof FsFileHandle) return path.writeFile(data, how);
    const { flag = 'w', mode = DEFAULTS.fileMode, flush = false } = how;
    return withFile(this, path, flag, mode, async (file) => {
      await file.writeFile(data, how);
      if (flush) await file.sync();
    });
  }

  /** Writes to the end of a file. */
  appendFile(
    path: FsPath | FsFileHandle,
    data: FsData,
    options: BufferEncoding | WriteFileOptions = {},
  ): Promise<void> {
    const how = typeof options === 'string' ? { encoding: options } : options;
    return this.writeFile(path, data, { flag: 'a', ...how });
  }

  /** Copies a file's bytes and permissions. @param mode 1: the copy must not exist */
  copyFile(from: FsPath, to: FsPath, mode: number = 0): Promise<void> {
    return about('copyfile', from, () => copyWhole(this, this.#mount, from, to, mode), to);
  }

  /** What a path leads to. */
  stat(path: FsPath): Promise<FsStats> {
    return this.#paths.at(
      'stat',
      path,
      'follow',
      (node, stats) => stats ?? this.#calls.getattr(node.id),
    );
  }

  /** The same of a link itself. */
  lstat(path: FsPath): Promise<FsStats> {
    return this.#paths.at('lstat', path, 'nofollow', (node, stats) => {
      return stats ?? this.#calls.getattr(node.id);
    });
  }

  /** Whether a path leads somewhere. */
  async exists(path: FsPath): Promise<boolean> {
    try {
      await this.stat(path);
      return true;
    } catch (error) {
      if (isError(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG')) return false;
      throw error;
    }
  }

  /** Resolves when this client's user may do what `mode` (`ACCESS`) says, by owner and mode. */
  access(path: FsPath, mode: number = ACCESS.F_OK): Promise<void> {
    return this.#paths.at('access', path, 'follow', async (node, stats) => {
      if (mode === ACCESS.F_OK) return;
      const own = async (): Promise<void> => {
        const known = stats ?? (await this.#calls.getattr(node.id));
        if (!allows(known, this.#calls.identity, mode)) throw fsError('EACCES');
      };
      const send = async (): Promise<boolean> => {
        await this.#calls.access(node.id, mode);
        return true;
      };
      if (!(await this.#mount.optional(FUSE_OPCODE.ACCESS, send, () => false))) await own();
    });
  }

  /** The absolute path without links, `.` and `..`. */
  realpath(path: FsPath): Promise<string> {
    return about('realpath', path, async () => {
      const trail = await this.#paths.walker.walk(path, 'follow');
      const names = trail.steps.slice(1).map((step) => step.name.toString());
      trail.release();
      return `/${names.join('/')}`;
    });
  }

  /** The names in a folder, in the server's order. */
  readdir(path: FsPath, options?: { readonly encoding?: 'utf8' }): Promise<string[]>;
  /** Its entries, with kinds of files, or all that there is to know. */
  readdir(
    path: FsPath,
    options: { readonly encoding?: 'utf8' } & (
      { readonly withFileTypes: true } | { readonly withStats: true }
    ),
  ): Promise<FsDirent[]>;
  /** Its names as bytes. */
  readdir(path: FsPath, options: { readonly encoding: 'buffer' }): Promise<Buffer[]>;
  /** Either, by the options. */
  async readdir(
    path: FsPath,
    options: ReaddirOptions = {},
  ): Promise<(string | Buffer | FsDirent | FsDirent<Buffer>)[]> {
    return listPath(this.#mount, this.#calls, this.#paths, path, options);
  }

  /** Opens a folder to go through its entries one by one: `for await (const entry of dir)`. */
  opendir(path: FsPath): Promise<FsDir> {
    return this.#paths.at('opendir', path, 'follow', (node, stats) => {
      if (stats?.isDirectory() === false) throw fsError('ENOTDIR');
      this.#mount.nodes.pin(node);
      const entries = listFolder(this.#mount, this.#calls, node, false);
      const named = direntsOf(entries, pathText(path), textOf);
      return new FsDir(pathText(path), named, () => this.#mount.nodes.release(node));
    });
  }

  /**
   * Makes a folder. With `recursive` also those before it, and it may be there already; resolves
   * with the first path that was made, if any.
   */
  async mkdir(
    path: FsPath,
    options: number | { readonly recursive?: boolean; readonly mode?: number } = {},
  ): Promise<string | undefined> {
    const how = typeof options === 'number' ? { mode: options } : options;
    const mode = (how.mode ?? DEFAULTS.folderMode) & ~this.#umask;
    if (how.recursive === true) return about('mkdir', path, () => makePath(this, path, mode));
    await this.#paths.inParent('mkdir', path, 'EEXIST', async (parent, name) => {
      const entry = await this.#calls.mkdir(parent.id, name, mode);
      this.#mount.nodes.note(entry.nodeId);
    });
    return undefined;
  }

  /** Makes a folder whose name is `prefix` and six letters that no other one has. */
  mkdtemp(prefix: string): Promise<string> {
    return about('mkdtemp', `${prefix}XXXXXX`, () => makeTemporary(this, prefix));
  }

  /** Removes an empty folder. */
  rmdir(path: FsPath): Promise<void> {
    return this.#paths.inParent('rmdir', path, RMDIR_DOTS, (parent, name) => {
      return this.#calls.rmdir(parent.id, name);
    });
  }

  /** Removes a name of a file. */
  unlink(path: FsPath): Promise<void> {
    return this.#paths.inParent('unlink', path, 'EISDIR', async (parent, name, trail) => {
      await this.#paths.refuseFolderPath(trail, name, 'remove');
      await this.#calls.unlink(parent.id, name);
    });
  }

  /** Removes a file, or with `recursive` a folder and all that is in it. */
  rm(
    path: FsPath,
    options: { readonly recursive?: boolean; readonly force?: boolean } = {},
  ): Promise<void> {
    const { recursive = false, force = false } = options;
    return about('rm', path, async () => {
      try {
        const stats = await this.lstat(path);
        if (stats.isDirectory() && !recursive) throw fsError('EISDIR');
        await this.#paths.inParent('rm', path, 'EBUSY', async (parent, name) => {
          if (stats.isDirectory()) await removeTree(this.#mount, this.#calls, parent, name);
          else await this.#calls.unlink(parent.id, name);
        });
      } catch (error) {
        if (!force || !isError(error, 'ENOENT')) throw error;
      }
    });
  }

  /** Gives a file another name, over what has that name. */
  rename(
    from: FsPath,
    to: FsPath,
    options: { readonly noReplace?: boolean; readonly exchange?: boolean } = {},
  ): Promise<void> {
    const flags =
      (options.noReplace === true ? RENAME.NOREPLACE : 0) |
      (options.exchange === true ? RENAME.EXCHANGE : 0);
    const rename = async (): Promise<void> => {
      await this.#paths.inParents(from, to, async (source, target) => {
        await this.#calls.rename(source, target, flags);
      });
    };
    return about('rename', from, rename, to);
  }

  /** Gives a file another name, beside the one that it has. A link is not followed. */
  link(existing: FsPath, path: FsPath): Promise<void> {
    const link = (): Promise<void> =>
      this.#paths.at('link', existing, 'nofollow', async (node) => {
        await this.#paths.inParent('link', path, 'EEXIST', async (parent, name, trail) => {
          await this.#paths.refuseFolderPath(trail, name, 'make');
          const entry = await this.#calls.link(node.id, parent.id, name);
          this.#mount.nodes.note(entry.nodeId);
        });
      });
    return about('link', existing, link, path);
  }

  /** Makes a symbolic link at `path`, whose target need not exist. */
  symlink(target: FsPath, path: FsPath): Promise<void> {
    const symlink = (): Promise<void> =>
      this.#paths.inParent('symlink', path, 'EEXIST', async (parent, name, trail) => {
        await this.#paths.refuseFolderPath(trail, name, 'make');
        const entry = await this.#calls.symlink(parent.id, name, pathBytes(target));
        this.#mount.nodes.note(entry.nodeId);
      });
    return about('symlink', target, symlink, path);
  }

  /** The target of a symbolic link. */
  readlink(path: FsPath): Promise<string>;
  /** The same as bytes. */
  readlink(path: FsPath, encoding: 'buffer'): Promise<Buffer>;
  /** Either, by the encoding. */
  readlink(path: FsPath, encoding?: 'buffer'): Promise<string | Buffer> {
    return this.#paths.at('readlink', path, 'nofollow', async (node, stats) => {
      if (stats?.isSymbolicLink() !== true) throw fsError('EINVAL');
      const target = await this.#calls.readlink(node.id);
      return encoding === 'buffer' ? target : target.toString();
    });
  }

  /** Makes a FIFO, a socket, a device or a file: the mode has its kind (`S_IF`). */
  mknod(path: FsPath, mode: number, rdev: number = 0): Promise<void> {
    const kind = mode & S_IF.MT || S_IF.REG;
    const permissions = mode & 0o7777 & ~this.#umask;
    return this.#paths.inParent('mknod', path, 'EEXIST', async (parent, name, trail) => {
      await this.#paths.refuseFolderPath(trail, name, 'make');
      const entry = await this.#calls.mknod(parent.id, name, kind | permissions, rdev);
      this.#mount.nodes.note(entry.nodeId);
    });
  }

  /** Changes the permissions. */
  chmod(path: FsPath, mode: number): Promise<void> {
    return this.#paths.change('chmod', path, 'follow', { mode });
  }

  /** Changes the owner; -1 leaves one as it is. */
  chown(path: FsPath, uid: number, gid: number): Promise<void> {
    return this.#paths.change('chown', path, 'follow', ownerChange(uid, gid));
  }

  /** The same of a link itself. */
  lchown(path: FsPath, uid: number, gid: number): Promise<void> {
    return this.#paths.change('lchown', path, 'nofollow', ownerChange(uid, gid));
  }

  /** Changes the times: seconds, dates, or nanoseconds as bigints. */
  utimes(path: FsPath, atime: FsTime, mtime: FsTime): Promise<void> {
    return this.#paths.change('utime', path, 'follow', { atime, mtime });
  }

  /** The same of a link itself. */
  lutimes(path: FsPath, atime: FsTime, mtime: FsTime): Promise<void> {
    return this.#paths.change('lutime', path, 'nofollow', { atime, mtime });
  }

  /** Makes a file so many bytes long. */
  truncate(path: FsPath, bytes: number = 0): Promise<void> {
    return this.#paths.change('truncate', path, 'follow', { size: bytes });
  }

  /** What the file system has, and what of it is free. */
  statfs(path: FsPath = '/'): Promise<FsStatFs> {
    return this.#paths.at('statfs', path, 'follow', (node) => this.#calls.statfs(node.id));
  }

  /** An extended attribute. @throws FsError `ENODATA` when there is none of this name */
  getxattr(path: FsPath, name: FsName, options: LinkOptions = {}): Promise<Buffer> {
    return getXattr(this.#paths, this.#calls, path, name, options);
  }

  /** Sets an extended attribute; `create` and `replace` say that it must not, or must, exist. */
  setxattr(
    path: FsPath,
    name: FsName,
    value: FsData,
    options: SetXattrOptions = {},
  ): Promise<void> {
    return setXattr(this.#paths, this.#calls, path, name, value, options);
  }

  /** The names of a file's extended attributes. */
  listxattr(path: FsPath, options: LinkOptions = {}): Promise<string[]> {
    return listXattrs(this.#paths, this.#calls, path, options);
  }

  /** Removes an extended attribute. */
  removexattr(path: FsPath, name: FsName, options: LinkOptions = {}): Promise<void> {
    return removeXattr(this.#paths, this.#calls, path, name, options);
  }

  /** Has the server forget every node that nothing uses; resolves when it has. */
  forgetIdleNodes(): Promise<void> {
    return this.#mount.settle();
  }

  /**
   * Ends the mount: the server closes and forgets everything (FUSE_DESTROY). Files that are open
   * cannot be used any more.
   */
  async unmount(): Promise<void> {
    const { connection } = this.#mount;
    try {
      if (connection.session.connected) {
        await this.#mount.settle();
        await this.#calls.destroy();
      }
    } catch (error) {
      // The back-end may be gone; and not every server answers FUSE_DESTROY (virtiofsd does not).
      if (!ENDINGS.has(errorCode(error) ?? '')) throw error;
    } finally {
      await connection.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.unmount();
  }
}
