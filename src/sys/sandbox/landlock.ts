/**
 * Landlock: which files this process, and all that it starts, can reach.
 *
 * @module
 */
import { fstatSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  LANDLOCK,
  LANDLOCK_NET_PORT_ATTR,
  LANDLOCK_PATH_BENEATH_ATTR,
  LANDLOCK_RULESET_ATTR,
} from '../../abi/index.ts';
import { ERRNO, SystemError } from '../errno.ts';
import { closeFd } from '../fd.ts';
import { abi } from '../host.ts';
import { NativeBlock } from '../native.ts';
import { linuxCall } from './linux-call.ts';
import type { PathNeed, SandboxNeeds } from './types.ts';

const L = LANDLOCK;
/** ioctl is for devices, which are asked for their size by it. */
const READ = L.ACCESS_FS_READ_FILE | L.ACCESS_FS_READ_DIR | L.ACCESS_FS_IOCTL_DEV;
const WRITE = READ | L.ACCESS_FS_WRITE_FILE | L.ACCESS_FS_TRUNCATE;
/** All of version 1; later ones are added by what the kernel has. */
const FS_RIGHTS_1 = 0x1fff;
const TREE = 0xffff & ~L.ACCESS_FS_EXECUTE;

/** Rights below the path itself; the others are below the folder that it is in, or will be. */
const AT_PATH: Readonly<Partial<Record<PathNeed['access'], number>>> = {
  read: READ,
  write: WRITE,
  tree: TREE,
  temporary: WRITE | L.ACCESS_FS_MAKE_DIR | L.ACCESS_FS_MAKE_REG | removing(),
  terminals: WRITE,
};
const IN_FOLDER: Readonly<Partial<Record<PathNeed['access'], number>>> = {
  socket: L.ACCESS_FS_MAKE_SOCK | L.ACCESS_FS_REMOVE_FILE,
  link: L.ACCESS_FS_MAKE_SYM | L.ACCESS_FS_REMOVE_FILE,
  file: L.ACCESS_FS_MAKE_REG | L.ACCESS_FS_REMOVE_FILE | L.ACCESS_FS_WRITE_FILE,
};
/** The only rights that a rule about something other than a folder may have. */
const FILE_RIGHTS =
  L.ACCESS_FS_EXECUTE |
  L.ACCESS_FS_WRITE_FILE |
  L.ACCESS_FS_READ_FILE |
  L.ACCESS_FS_TRUNCATE |
  L.ACCESS_FS_IOCTL_DEV;

/** O_PATH: the rule needs no right to read what it is about. */
const OPEN_FLAGS = abi.files.open.O_PATH | abi.constants.O_CLOEXEC;

function removing(): number {
  return L.ACCESS_FS_REMOVE_DIR | L.ACCESS_FS_REMOVE_FILE;
}

/** The version of this kernel's Landlock, or why there is none. */
export function landlockVersion(): number | string {
  const version = linuxCall('landlock_create_ruleset', 0, 0, L.CREATE_RULESET_VERSION);
  if (version > 0) return version;
  if (version === -(ERRNO.EOPNOTSUPP as number)) return 'it is switched off when this host boots';
  return 'this kernel has none';
}

/**
 * A set of rules: what `needs` names, and of those paths that `runs` names the running. Returns an
 * fd that is the caller's to close.
 *
 * @throws SystemError when the kernel refuses a rule
 */
export function makeRuleset(version: number, needs: SandboxNeeds, runs: readonly string[]): number {
  return rulesetOf(handledRights(version, needs), needs, runs);
}

/**
 * The same for a process that has only the files that it needs: of ports, signals and abstract
 * sockets. -1 for a version that knows nothing of these. No call on a file looks at it.
 */
export function makeRulesetWithoutFiles(version: number, needs: SandboxNeeds): number {
  const handled = { ...handledRights(version, needs), files: 0 };
  if (handled.net === 0 && handled.scopes === 0) return -1;
  return rulesetOf(handled, { ...needs, paths: [] }, []);
}

function rulesetOf(
  handled: ReturnType<typeof handledRights>,
  needs: SandboxNeeds,
  runs: readonly string[],
): number {
  const attr = new NativeBlock(LANDLOCK_RULESET_ATTR.SIZE);
  attr.view.setUint32(LANDLOCK_RULESET_ATTR.handledAccessFs, handled.files, true);
  attr.view.setUint32(LANDLOCK_RULESET_ATTR.handledAccessNet, handled.net, true);
  attr.view.setUint32(LANDLOCK_RULESET_ATTR.scoped, handled.scopes, true);
  const fd = linuxCall('landlock_create_ruleset', attr.address, handled.attrBytes, 0);
  attr.free();
  if (fd < 0) throw new SystemError('landlock_create_ruleset()', -fd);
  try {
    for (const { path, access } of needs.paths) {
      const own = AT_PATH[access];
      const place = own === undefined ? dirname(path) : path;
      addPath(fd, place, (own ?? IN_FOLDER[access] ?? 0) & handled.files);
      if (access === 'terminals') addPath(fd, MULTIPLEXER, WRITE & handled.files);
    }
    for (const path of runs) {
      addPath(fd, path, (L.ACCESS_FS_EXECUTE | L.ACCESS_FS_READ_FILE) & handled.files);
    }
    if ((handled.net & L.ACCESS_NET_CONNECT_TCP) !== 0) {
      for (const port of needs.connectsTcp ?? []) addPort(fd, port, L.ACCESS_NET_CONNECT_TCP);
      // A name server's long answers come by TCP.
      if (needs.looksUpNames) addPort(fd, DNS_PORT, L.ACCESS_NET_CONNECT_TCP);
    }
    if ((handled.net & L.ACCESS_NET_BIND_TCP) !== 0) {
      for (const port of needs.listensTcp) addPort(fd, port, L.ACCESS_NET_BIND_TCP);
    }
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** Where new pseudo terminals come from. */
const MULTIPLEXER = '/dev/ptmx';
const DNS_PORT = 53;
const EBADFD = 77; // asm-generic/errno.h; Node has no name for it

/** What a ruleset of a version governs, and how many bytes of its structure that version knows. */
export function handledRights(
  version: number,
  needs: SandboxNeeds,
): { files: number; net: number; scopes: number; attrBytes: number } {
  let files = FS_RIGHTS_1;
  if (version >= 2) files |= L.ACCESS_FS_REFER;
  if (version >= 3) files |= L.ACCESS_FS_TRUNCATE;
  if (version >= 5) files |= L.ACCESS_FS_IOCTL_DEV;
  let net = 0;
  if (version >= 4) {
    net = L.ACCESS_NET_BIND_TCP;
    if (needs.connectsTcp !== null) net |= L.ACCESS_NET_CONNECT_TCP;
  }
  let scopes = 0;
  if (version >= 6) scopes = L.SCOPE_SIGNAL | L.SCOPE_ABSTRACT_UNIX_SOCKET;
  const { handledAccessNet, scoped, SIZE } = LANDLOCK_RULESET_ATTR;
  const attrBytes = version >= 6 ? SIZE : version >= 4 ? scoped : handledAccessNet;
  return { files, net, scopes, attrBytes };
}

/** Restricts this thread, and threads and programs that it starts from now on; 0 or -errno. */
export function restrictSelf(rulesetFd: number): number {
  return linuxCall('landlock_restrict_self', rulesetFd, 0);
}

/** Adds a rule; a path that is not there needs none, since it cannot be opened either. */
function addPath(rulesetFd: number, path: string, rights: number): void {
  let parent: number;
  try {
    parent = openSync(path, OPEN_FLAGS);
  } catch {
    return; // whoever opens it says what is wrong with it
  }
  try {
    const allowed = fstatSync(parent).isDirectory() ? rights : rights & FILE_RIGHTS;
    if (allowed === 0) return;
    const attr = new NativeBlock(LANDLOCK_PATH_BENEATH_ATTR.SIZE);
    attr.view.setUint32(LANDLOCK_PATH_BENEATH_ATTR.allowedAccess, allowed, true);
    attr.view.setInt32(LANDLOCK_PATH_BENEATH_ATTR.parentFd, parent, true);
    addRule(rulesetFd, L.RULE_PATH_BENEATH, attr, path);
  } finally {
    closeFd(parent);
  }
}

function addPort(rulesetFd: number, port: number, rights: number): void {
  const attr = new NativeBlock(LANDLOCK_NET_PORT_ATTR.SIZE);
  attr.view.setUint32(LANDLOCK_NET_PORT_ATTR.allowedAccess, rights, true);
  attr.view.setUint32(LANDLOCK_NET_PORT_ATTR.port, port, true);
  addRule(rulesetFd, L.RULE_NET_PORT, attr, `TCP port ${String(port)}`);
}

function addRule(rulesetFd: number, kind: number, attr: NativeBlock, what: string): void {
  const result = linuxCall('landlock_add_rule', rulesetFd, kind, attr.address, 0);
  attr.free();
  // Pipes and sockets are in no folder, so no rule is about them and none shuts them.
  if (result < 0 && result !== -EBADFD) {
    throw new SystemError(`landlock_add_rule(${what})`, -result);
  }
}
