/**
 * The options of a shared folder, checked. Names follow virtiofsd's where they mean the same.
 *
 * @module
 */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { VhostUserError, errorCode } from '../../../util/index.ts';
import { IdMap } from './id-map.ts';
import { XattrMap } from './xattr-map.ts';

/** What `openFs` takes for a folder of this host; all but `folder` may be left out. */
export interface HostFolderOptions {
  /** Path of the folder. */
  readonly folder: string;
  /**
   * How long the guest may believe what it has seen: `never`, `metadata` (names and attributes for
   * a day, data never), `auto` (a second), `always` (a day). Default: auto.
   */
  readonly cache?: CachePolicy;
  /** The guest's page cache may delay writes. Default: false. */
  readonly writeback?: boolean;
  /** With `never` and `metadata`: files may be mapped shared all the same. Default: false. */
  readonly allowMmap?: boolean;
  /** O_DIRECT of the guest reaches the host. Default: false. */
  readonly allowDirectIo?: boolean;
  /** The guest may only read. Default: false. */
  readonly readOnly?: boolean;
  /** File systems mounted below the folder are mounts in the guest, too. Default: true. */
  readonly announceSubmounts?: boolean;
  /** Extended attributes. Default: false, or true with `xattrMap`, `posixAcl` or owner `xattr`. */
  readonly xattr?: boolean;
  /** Rules of virtiofsd's `--xattrmap`. */
  readonly xattrMap?: string;
  /** POSIX access control lists. Default: false. */
  readonly posixAcl?: boolean;
  /** Setuid and setgid go when a file is written or truncated (protocol 7.33). Default: true. */
  readonly killpriv?: boolean;
  /**
   * Locks are the host's, so that its programs and other guests see them. Without it they are the
   * guest's own: Linux's driver does not say when a process that waits for one is interrupted, so
   * such a process could not be ended. Default: false.
   */
  readonly sharedLocks?: boolean;
  /** O_NOATIME of the guest reaches the host. Default: false. */
  readonly preserveNoatime?: boolean;
  /**
   * Who owns files: `host` (as on the host, by the maps below), `squash` (one user and group own
   * everything), `xattr` (owner and mode are kept in an extended attribute of each file, for
   * hosts where this process is not root). Default: host.
   */
  readonly owner?: OwnerPolicy;
  /** Of `squash`: the owner that the guest sees. Default: 0. */
  readonly squashUid?: number;
  readonly squashGid?: number;
  /** Rules of virtiofsd's `--uid-map` and `--translate-uid`, and the same for groups. */
  readonly uidMap?: readonly string[];
  readonly gidMap?: readonly string[];
  readonly translateUid?: readonly string[];
  readonly translateGid?: readonly string[];
  /**
   * The most descriptors that this process may open, as far as RLIMIT_NOFILE goes and not below
   * {@link FOLDER_FDS_MIN}; 0: as many as it may.
   */
  readonly fdLimit?: number;
}

/** See {@link HostFolderOptions}. */
export type CachePolicy = 'never' | 'metadata' | 'auto' | 'always';

/** See {@link HostFolderOptions}. */
export type OwnerPolicy = 'host' | 'squash' | 'xattr';

/** All options, with their defaults filled in. Plain data, to be handed to a thread. */
export type HostFolderSettings = Required<HostFolderOptions>;

/** However low its limit is, a folder takes so many descriptors if need be. */
export const FOLDER_FDS_MIN = 96;

const CACHE_POLICIES: readonly string[] = ['never', 'metadata', 'auto', 'always'];
const OWNER_POLICIES: readonly string[] = ['host', 'squash', 'xattr'];
const ID_MAX = 0xffff_fffe;

/**
 * Fills in defaults, and looks whether the folder is one.
 * @throws VhostUserError `ERR_VHU_OPTION` naming the option, and `ERR_VHU_FS_FOLDER`.
 */
export function hostFolderSettings(options: HostFolderOptions): HostFolderSettings {
  const owner = options.owner ?? 'host';
  const posixAcl = options.posixAcl ?? false;
  const xattrMap = options.xattrMap ?? '';
  const cache = options.cache ?? 'auto';
  const settings: HostFolderSettings = {
    folder: resolve(options.folder),
    cache,
    writeback: options.writeback ?? false,
    allowMmap: options.allowMmap ?? false,
    allowDirectIo: options.allowDirectIo ?? false,
    readOnly: options.readOnly ?? false,
    announceSubmounts: options.announceSubmounts ?? true,
    xattr: options.xattr ?? (posixAcl || xattrMap !== '' || owner === 'xattr'),
    xattrMap,
    posixAcl,
    killpriv: options.killpriv ?? true,
    sharedLocks: options.sharedLocks ?? false,
    preserveNoatime: options.preserveNoatime ?? false,
    owner,
    squashUid: options.squashUid ?? 0,
    squashGid: options.squashGid ?? 0,
    uidMap: options.uidMap ?? [],
    gidMap: options.gidMap ?? [],
    translateUid: options.translateUid ?? [],
    translateGid: options.translateGid ?? [],
    fdLimit: options.fdLimit ?? 0,
  };
  oneOf('cache', cache, CACHE_POLICIES);
  oneOf('owner', owner, OWNER_POLICIES);
  for (const id of [settings.squashUid, settings.squashGid]) {
    if (Number.isInteger(id) && id >= 0 && id <= ID_MAX) continue;
    throw optionError(`squash: ${String(id)} is no user or group number`);
  }
  if (posixAcl && !settings.xattr) {
    throw optionError('posix-acl needs xattr: access control lists are extended attributes');
  }
  // Lists name owners by their numbers, and pass as they are; the host's kernel goes by them.
  const maps = [settings.uidMap, settings.gidMap, settings.translateUid, settings.translateGid];
  if (posixAcl && (owner !== 'host' || maps.some((rules) => rules.length > 0))) {
    throw optionError(
      "posix-acl needs owner host without maps: the owners in lists are the host's",
    );
  }
  if (settings.writeback && (cache === 'never' || cache === 'metadata')) {
    throw optionError(`writeback needs a cache for data: with cache ${cache} there is none`);
  }
  // The thread reads these again; here their faults are the caller's, and in time.
  IdMap.parse(settings.uidMap, settings.translateUid);
  IdMap.parse(settings.gidMap, settings.translateGid);
  if (xattrMap !== '') XattrMap.parse(xattrMap);
  checkFolder(settings.folder);
  return settings;
}

function checkFolder(folder: string): void {
  let why = 'it is not a folder';
  try {
    if (statSync(folder).isDirectory()) return;
  } catch (error) {
    const code = errorCode(error) ?? 'error';
    why = code === 'ENOENT' ? 'there is no such folder' : code;
  }
  throw new VhostUserError('ERR_VHU_FS_FOLDER', `${folder}: ${why}, so it cannot be shared`);
}

function oneOf(name: string, value: string, known: readonly string[]): void {
  if (known.includes(value)) return;
  throw optionError(`${name} is "${value}": one of ${known.join(', ')} is wanted`);
}

function optionError(text: string): VhostUserError {
  return new VhostUserError('ERR_VHU_OPTION', text);
}
