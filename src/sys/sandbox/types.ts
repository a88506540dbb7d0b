/**
 * What a device needs of its host once it runs, the same for every host; what is not named here is
 * shut.
 *
 * @module
 */

/**
 * What may be done with a path.
 * - `read`: read the file, or all below the folder.
 * - `write`: read and write the file or device, which is there already.
 * - `tree`: everything below the folder but running programs.
 * - `socket`: make the socket, and remove it.
 * - `file`: make, write, rename and remove the file, and others beside it of the same name's kind.
 * - `link`: make the symbolic link, and remove it.
 * - `temporary`: folders and files of its own below the folder.
 * - `terminals`: make pseudo terminals (`path` is where they appear).
 * - `connect`: connect to the socket of another program.
 * - `connect-prefix`: connect to the sockets whose names begin with the path.
 */
export type PathAccess =
  | 'read'
  | 'write'
  | 'tree'
  | 'socket'
  | 'file'
  | 'link'
  | 'temporary'
  | 'terminals'
  | 'connect'
  | 'connect-prefix';

/** A path that stays in reach. One that does not exist is passed over, unless it is to be made. */
export interface PathNeed {
  readonly path: string;
  readonly access: PathAccess;
}

/** What one device, or all devices of this process together, need. */
export interface SandboxNeeds {
  readonly paths: readonly PathNeed[];
  /** Unix sockets of other programs are connected to while it runs. */
  readonly connectsUnix: boolean;
  /** TCP ports that are connected to; null: any. */
  readonly connectsTcp: readonly number[] | null;
  /** TCP ports that it listens on; 0: one that the host chooses. */
  readonly listensTcp: readonly number[];
  /** Names of hosts are looked up. */
  readonly looksUpNames: boolean;
  /** Sockets of the host's own AF_VSOCK. */
  readonly usesVsock: boolean;
  /** Acts as other users, makes special files, and sets owners and permissions: a shared folder. */
  readonly ownsFiles: boolean;
  /** A folder of this host is shared with a guest. */
  readonly sharesFolder: boolean;
  /** Inherited fds that are to be used. */
  readonly fds: readonly number[];
  /** Something was read that cannot be read again, such as a pipe: there is no second start. */
  readonly hasReadOnce: boolean;
}

/** Nothing. */
export const NO_NEEDS: SandboxNeeds = {
  paths: [],
  connectsUnix: false,
  connectsTcp: [],
  listensTcp: [],
  looksUpNames: false,
  usesVsock: false,
  ownsFiles: false,
  sharesFolder: false,
  fds: [],
  hasReadOnce: false,
};

/** What devices need that share a process. */
export function mergeNeeds(all: readonly SandboxNeeds[]): SandboxNeeds {
  const some = (of: (needs: SandboxNeeds) => boolean): boolean => all.some(of);
  const connects = all.map(({ connectsTcp }) => connectsTcp);
  const ports = connects.filter((each) => each !== null);
  return {
    paths: all.flatMap(({ paths }) => paths),
    connectsUnix: some(({ connectsUnix }) => connectsUnix),
    connectsTcp: ports.length < connects.length ? null : ports.flat(),
    listensTcp: all.flatMap(({ listensTcp }) => listensTcp),
    looksUpNames: some(({ looksUpNames }) => looksUpNames),
    usesVsock: some(({ usesVsock }) => usesVsock),
    ownsFiles: some(({ ownsFiles }) => ownsFiles),
    sharesFolder: some(({ sharesFolder }) => sharesFolder),
    fds: all.flatMap(({ fds }) => fds),
    hasReadOnce: some(({ hasReadOnce }) => hasReadOnce),
  };
}

/** What becomes of a system call that is refused. */
export type RefusalAction = 'error' | 'kill' | 'trap' | 'log' | 'none';

/** What is asked for. */
export interface SandboxPlan {
  readonly needs: SandboxNeeds;
  /** `required`: fail when any part of the host's sandbox is missing. */
  readonly mode: 'auto' | 'required';
  /** Linux: by what files are shut off; `best`: by what costs the devices least. */
  readonly files: 'best' | 'namespace' | 'landlock';
  /** What a filter of system calls does; `none`: there is none. */
  readonly onRefusal: RefusalAction;
  /** Folders and files that the program itself is made of, which stay readable. */
  readonly program: readonly string[];
}

/** A sandbox that this process is in. */
export interface Sandbox {
  /** Its parts, for people: `Landlock 7`, `seccomp`. Empty: there is none on this host. */
  readonly parts: readonly string[];
  /** What could not be had, and why, for people. */
  readonly missing: readonly string[];
  /** Linux: why files are shut off by Landlock, where a mount namespace was wanted. */
  readonly noNamespace?: string;
  /** Shuts what was needed to start only. Call it once, when all threads and devices are there. */
  seal(): void;
}
