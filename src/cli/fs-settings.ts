/**
 * A shared folder, or another file system, as an operator asks for it: what the options of the
 * command and the settings of a configuration file have in common.
 *
 * @module
 */
import { basename, resolve } from 'node:path';
import { TAG_BYTES_MAX } from './limits.ts';

/** What `--cache` allows. */
export const CACHE_MODES: readonly ['never', 'metadata', 'auto', 'always'] = [
  'never',
  'metadata',
  'auto',
  'always',
];

/** What `--owner` allows. */
export const OWNERS: readonly ['host', 'squash', 'xattr'] = ['host', 'squash', 'xattr'];

/** What `--posix-acl` allows, as in virtiofsd. */
export const ACL_MODES: readonly ['never', 'auto', 'always'] = ['never', 'auto', 'always'];

/** All that can be chosen, by commander's names. */
export interface FsChoices {
  readonly sharedDir?: string | undefined;
  readonly archive?: string | undefined;
  /** Bytes of a file system in memory; true sets no limit. */
  readonly memory?: number | true | undefined;
  /** What the memory is filled with at first: a folder or an archive. */
  readonly preload?: string | undefined;
  readonly tag?: string | undefined;
  readonly readonly?: boolean | undefined;
  readonly cache?: (typeof CACHE_MODES)[number] | undefined;
  readonly writeback?: boolean | undefined;
  readonly allowMmap?: boolean | undefined;
  readonly allowDirectIo?: boolean | undefined;
  readonly readdirplus?: boolean | undefined;
  readonly sharedLocks?: boolean | undefined;
  readonly preserveNoatime?: boolean | undefined;
  readonly announceSubmounts?: boolean | undefined;
  readonly owner?: (typeof OWNERS)[number] | undefined;
  readonly squashUid?: number | undefined;
  readonly squashGid?: number | undefined;
  readonly translateUid?: readonly string[] | undefined;
  readonly translateGid?: readonly string[] | undefined;
  readonly uidMap?: readonly string[] | undefined;
  readonly gidMap?: readonly string[] | undefined;
  readonly killprivV2?: boolean | undefined;
  readonly xattr?: boolean | undefined;
  readonly xattrmap?: string | undefined;
  readonly posixAcl?: (typeof ACL_MODES)[number] | undefined;
  readonly numRequestQueues?: number | undefined;
  readonly queueSize?: number | undefined;
  readonly pollUs?: number | undefined;
  readonly rlimitNofile?: number | undefined;
}

/** Something that does not go together: the option without its dashes, and why. */
export interface FsFault {
  readonly key: string;
  readonly text: string;
}

type Choice = keyof FsChoices;

const SOURCES = ['sharedDir', 'archive', 'memory'] as const;

/** What has a meaning for a folder of this host only. */
const OF_A_FOLDER: readonly Choice[] = [
  ...(['cache', 'writeback', 'allowMmap', 'xattr'] as const),
  ...(['allowDirectIo', 'sharedLocks', 'preserveNoatime', 'owner'] as const),
  ...(['translateUid', 'translateGid', 'uidMap', 'gidMap', 'killprivV2'] as const),
  ...(['announceSubmounts', 'xattrmap', 'posixAcl', 'rlimitNofile'] as const),
];

/** The option of a name of commander's: `numRequestQueues` is `num-request-queues`. */
export function optionKey(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** What does not go together; virtiofsd refuses `--posix-acl` with `--translate-uid`, too. */
export function fsFaults(choices: FsChoices): FsFault[] {
  const faults: FsFault[] = [];
  const add = (name: Choice, text: string): void => {
    faults.push({ key: optionKey(name), text });
  };
  const given = SOURCES.filter((name) => choices[name] !== undefined);
  const [first = 'sharedDir', ...others] = given;
  for (const name of others) {
    add(name, `is a file system of its own, as ${optionKey(first)} is: give one of them`);
  }
  if (choices.sharedDir === undefined && given.length === 1) {
    for (const name of OF_A_FOLDER.filter((each) => choices[each] !== undefined)) {
      add(name, `is for a folder of this host, and not for ${first}`);
    }
  }
  if (choices.preload !== undefined && choices.memory === undefined) {
    add('preload', 'is for a file system in memory, which is not asked for');
  }
  for (const name of ['squashUid', 'squashGid'] as const) {
    if (choices[name] !== undefined && (choices.owner ?? 'host') === 'host') {
      add(name, 'is for owner squash, and for files of owner xattr that say nothing');
    }
  }
  const { cache = 'auto', posixAcl = 'never' } = choices;
  if (choices.writeback === true && (cache === 'never' || cache === 'metadata')) {
    add('writeback', `needs a cache for data: with cache ${cache} there is none`);
  }
  for (const name of ['translateUid', 'translateGid', 'uidMap', 'gidMap'] as const) {
    const isGiven = (choices[name] ?? []).length > 0;
    if (isGiven && posixAcl !== 'never') {
      add(name, 'cannot be used with posix-acl: the ids in access control lists stay as they are');
    }
    if (isGiven && choices.owner !== undefined && choices.owner !== 'host') {
      add(name, `cannot be used with owner ${choices.owner}, which asks no map`);
    }
  }
  return faults;
}

/** As many as /etc/subuid gives a user: nobody has to be told of more. */
const USERS_ENOUGH = 65_536;

/**
 * What somebody who is not root, or root of a few users only, should know of owners, unless he has
 * chosen how it is to be; null when there is nothing to say.
 */
export function ownerRemark(choices: FsChoices, userId: number, userCount: number): string | null {
  const { sharedDir, readonly = false, owner } = choices;
  const isChosen = [owner, choices.uidMap, choices.translateUid].some((each) => each !== undefined);
  if (sharedDir === undefined || readonly || isChosen) return null;
  if (userId === 0 && userCount >= USERS_ENOUGH) return null;
  if (userId === 0) {
    const users = userCount === 1 ? 'no user but root' : `${String(userCount)} users only`;
    return (
      `this user namespace has ${users}: what others of the guest make, or are to own, is ` +
      "refused with EINVAL; 'unshare --map-auto' maps more, --owner xattr needs none"
    );
  }
  return (
    'what the guest makes belongs to the user of this process, who is not root, and chown fails ' +
    'in the guest; --owner xattr lets it have owners of its own'
  );
}

/**
 * What somebody should know who asks for more or fewer open files than there will be; null when it
 * is as he says.
 *
 * @param soft what this process may open, raised as far as it goes
 * @param hard up to which the system would let it be raised
 * @param least what a folder takes in any case
 */
export function openFilesRemark(
  asked: number,
  soft: number,
  hard: number,
  least: number,
): string | null {
  const start = `rlimit-nofile ${asked}`;
  if (asked > 0 && asked < least) {
    return `${start}: ${least} files are opened if need be, since a folder cannot do with fewer`;
  }
  if (asked <= soft) return null;
  const limit = `${start}: this process may open no more than ${soft} files, `;
  if (soft < hard) return `${limit}which is all that this host allows, and goes by that`;
  return (
    `${limit}its hard limit, and goes by that; for more, start it with a higher one ` +
    `('ulimit -n' as root, LimitNOFILE= of a service)`
  );
}

/** What is wrong with a tag; null when nothing is. */
export function tagFault(tag: string): string | null {
  const bytes = Buffer.byteLength(tag);
  if (bytes === 0) return 'it is empty';
  if (/[\x00-\x1f\x7f]/.test(tag)) return 'control characters are not allowed';
  return bytes <= TAG_BYTES_MAX
    ? null
    : `at most ${TAG_BYTES_MAX} bytes are allowed, and it has ${bytes}`;
}

/**
 * The tag of a file system that was given none: the name of the folder or archive. One that is too
 * long is cut, since the tag that counts is the one on QEMU's command line.
 */
export function standardTag(choices: FsChoices): string {
  const { sharedDir, archive } = choices;
  const name =
    sharedDir !== undefined
      ? basename(resolve(sharedDir)) || 'root'
      : basename(archive ?? 'memory').replace(/\.(tar|tgz|zip|tar\.gz)$/i, '');
  const plain = name.replaceAll(/[\x00-\x1f\x7f]/g, '_');
  let end = plain.length;
  while (Buffer.byteLength(plain.slice(0, end)) > TAG_BYTES_MAX) end--;
  // Not in the middle of a character that takes two code units.
  if (/[\ud800-\udbff]$/.test(plain.slice(0, end))) end--;
  return plain.slice(0, end) || 'share';
}
