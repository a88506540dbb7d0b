/**
 * The sandbox of Linux: no_new_privs, Landlock, and two filters of system calls.
 *
 * Landlock restricts one thread and what that starts. When the first line of this program runs,
 * V8 and libuv have threads already, and whoever can run code of his own in this process can run
 * it in any of them. So the program restricts its main thread and then executes itself: the new
 * one is restricted from its first instruction on, with all threads that it will ever have. It
 * costs a second start of Node, and the process keeps its number, its descriptors and its
 * environment. seccomp can be given to all threads at once, and needs nothing of the kind.
 *
 * @module
 */
import { closeSync, openSync } from 'node:fs';
import { SANDBOX_ARGS } from '../../abi/index.ts';
import { VhostUserError, errorCode, errorMessage } from '../../util/index.ts';
import { SystemError, errnoName } from '../errno.ts';
import { closeFd } from '../fd.ts';
import { abi, posixOnly } from '../host.ts';
import { leaveFolders } from '../socket-folders.ts';
import { dropCapabilities } from './capabilities.ts';
import { executeAgain, isExecutedAgain } from './execute-again.ts';
import { lastingRules, sealingRules } from './filter-rules.ts';
import { landlockVersion, makeRuleset, makeRulesetWithoutFiles, restrictSelf } from './landlock.ts';
import { linuxCall } from './linux-call.ts';
import { continueInNamespace, enterNamespace, namespaceObstacle, openFolder } from './namespace.ts';
import { loadedFiles, loadedNames, systemReads } from './program-files.ts';
import { installFilter } from './seccomp.ts';
import type { PathNeed, Sandbox, SandboxNeeds, SandboxPlan } from './types.ts';

/** Version 1 lets nothing move from one folder to another, which a shared folder has to. */
const VERSION_WITH_REFER = 2;
/** The first one with something beside files. */
const VERSION_WITH_PORTS = 4;
const NO_PROC = 'only /proc tells which files Node needs, and it is not mounted';

/** Enters it; the first time in a process by executing it again, so that this does not return. */
export function enterLinux(plan: SandboxPlan): Sandbox {
  const parts: string[] = [];
  const missing: string[] = [];
  if (linuxCall('prctl', SANDBOX_ARGS.PR_SET_NO_NEW_PRIVS, 1) < 0) {
    return { parts, missing: ['no_new_privs: this kernel has none'], seal: () => undefined };
  }
  const noNamespace = enterNamespaceOf(plan, parts);
  if (noNamespace !== true) {
    const landlock = enterLandlock(plan);
    if (typeof landlock === 'number' && plan.needs.hasReadOnce) {
      parts.push(`Landlock ${String(landlock)} of new threads`);
      missing.push("Landlock of Node's own threads: what came by a pipe cannot be read twice");
    } else if (typeof landlock === 'number') {
      parts.push(`Landlock ${String(landlock)}`);
    } else if (plan.files === 'landlock') {
      throw refused('landlock', landlock);
    } else {
      missing.push(`Landlock: ${landlock}`);
    }
  }
  const seal = enterFilters(plan, parts, missing);
  return { parts, missing, seal, ...(typeof noNamespace === 'string' ? { noNamespace } : {}) };
}

/** Installs the first filter of system calls; what is returned installs the second one. */
function enterFilters(plan: SandboxPlan, parts: string[], missing: string[]): () => void {
  const { onRefusal, needs } = plan;
  if (onRefusal === 'none') {
    missing.push('seccomp: it is not wanted');
    return leaveFolders;
  }
  const result = installFilter(lastingRules(needs, process.pid), onRefusal);
  if (result < 0) {
    missing.push(`seccomp: this kernel refuses a filter (${errnoName(-result)})`);
    return leaveFolders;
  }
  parts.push('seccomp');
  return () => {
    leaveFolders();
    const sealed = installFilter(sealingRules(needs), onRefusal);
    if (sealed < 0) throw new SystemError('seccomp(SECCOMP_SET_MODE_FILTER)', -sealed);
  };
}

/**
 * Why there is no mount namespace, in the environment of the second start: only the first one has
 * tried to make it.
 */
const WHY_NONE = 'VHOST_USER_NO_NAMESPACE';

/**
 * Whether files are shut off by a mount namespace, which is added to `parts` then; a text says why
 * one that was wanted cannot be had. The first time in a process this does not return when it is
 * there.
 *
 * @throws VhostUserError `ERR_VHU_SANDBOX` when it was asked for by name and cannot be had
 */
function enterNamespaceOf(plan: SandboxPlan, parts: string[]): boolean | string {
  if (isExecutedAgain() && continueInNamespace()) {
    const version = landlockVersion();
    parts.push('mount namespace');
    if (typeof version === 'number' && version >= VERSION_WITH_PORTS) {
      parts.push(`Landlock ${String(version)}`);
    }
    return true;
  }
  const { needs, files } = plan;
  const isWanted = files === 'namespace' || (files === 'best' && needs.sharesFolder);
  if (!isWanted) return false;
  if (isExecutedAgain()) {
    const why = process.env[WHY_NONE];
    Reflect.deleteProperty(process.env, WHY_NONE);
    return why ?? false;
  }
  const obstacle = isNode() ? namespaceObstacle(needs) : 'it is entered by a second start of Node';
  const reason = obstacle ?? changeNamespace(plan);
  if (files === 'namespace') throw refused('namespace', reason);
  process.env[WHY_NONE] = reason;
  return reason;
}

/** Does not return when it is there; else why not. */
function changeNamespace(plan: SandboxPlan): string {
  const loaded = loadedFiles();
  if (loaded === null) return NO_PROC;
  const runs = [...plan.program, process.execPath, ...loadedNames(), ...loaded.files];
  const started = process.argv[1];
  if (started !== undefined) runs.push(started); // a link, perhaps
  const needs = { ...plan.needs, paths: [...plan.needs.paths, ...ownPaths()] };
  const open = openFolder([0, 1, 2, ...needs.fds]);
  if (open !== null) return `descriptor ${String(open)}, which is inherited, is a folder`;
  const reads = systemReads(needs.looksUpNames);
  try {
    const fds = enterNamespace({ needs: withReads(needs, reads), runs });
    if (typeof fds === 'string') return fds;
    restrictMore(needs);
    executeAgain([...needs.fds, ...fds]);
  } catch (error) {
    throw halfBuilt(error);
  }
}

/** What a mount namespace has nothing to do with: ports, signals, sockets, and capabilities. */
function restrictMore(needs: SandboxNeeds): void {
  const version = landlockVersion();
  const ruleset = typeof version === 'number' ? makeRulesetWithoutFiles(version, needs) : -1;
  if (ruleset >= 0) {
    const result = restrictSelf(ruleset);
    if (result < 0) throw new SystemError('landlock_restrict_self()', -result);
    closeFd(ruleset);
  }
  dropCapabilities(needs.ownsFiles);
}

/** There is no way back from a root that was left: nobody is to be served from such a process. */
function halfBuilt(error: unknown): VhostUserError {
  const text =
    `the mount namespace cannot be completed: ${errorMessage(error)}; it is refused here, as by ` +
    'the filter of a container or a security module; --sandbox landlock takes no mount ' +
    'namespace, and --sandbox none takes no sandbox';
  return new VhostUserError('ERR_VHU_SANDBOX', text, { cause: error });
}

function refused(mode: string, reason: string): VhostUserError {
  const text = `--sandbox ${mode} cannot be had: ${reason}; --sandbox auto takes what there is`;
  return new VhostUserError('ERR_VHU_SANDBOX', text);
}

/** The version that this process is restricted by, or why it is not. */
function enterLandlock(plan: SandboxPlan): number | string {
  if (!isNode()) return 'it is entered by a second start, which is known for Node only';
  const version = landlockVersion();
  if (typeof version === 'string') return version;
  if (version < VERSION_WITH_REFER && plan.needs.ownsFiles) {
    return `version ${String(version)} would keep a guest from moving files between folders`;
  }
  const needs = allNeeds(plan);
  if (isExecutedAgain()) {
    checkRestricted(needs);
    return version;
  }
  const loaded = loadedFiles();
  if (loaded === null) return NO_PROC;
  const { files, loader } = loaded;
  const ruleset = makeRuleset(version, withReads(needs, files), [process.execPath, ...loader]);
  const result = restrictSelf(ruleset);
  closeFd(ruleset);
  if (result < 0) return `this process may not use it (${errnoName(-result)})`;
  // Node's own threads go without it then.
  if (needs.hasReadOnce) return version;
  executeAgain(needs.fds);
}

/** Bun and Deno have Node's modules, and neither its words on the command line nor its files. */
function isNode(): boolean {
  return !('bun' in process.versions) && !('deno' in process.versions);
}

/** What the device needs, and what the program and Node do. */
function allNeeds({ needs, program }: SandboxPlan): SandboxNeeds {
  const reads = [...program, ...systemReads(needs.looksUpNames)];
  return withReads({ ...needs, paths: [...needs.paths, ...ownPaths()] }, reads);
}

function ownPaths(): PathNeed[] {
  const own: PathNeed[] = [{ path: '/dev/null', access: 'write' }];
  // The fallback for memory that is shared and has no name.
  if (posixOnly || abi.optional.MFD_CLOEXEC === undefined) {
    own.push({ path: '/dev/shm', access: 'temporary' });
  }
  return own;
}

function withReads(needs: SandboxNeeds, reads: readonly string[]): SandboxNeeds {
  const added = reads.map((path): PathNeed => ({ path, access: 'read' }));
  return { ...needs, paths: [...needs.paths, ...added] };
}

/**
 * That it was executed again proves nothing, since anybody can give a program that name: what is
 * shut has to be shut. (This thread has restricted nothing yet, so what holds here holds in all.)
 */
function checkRestricted(needs: SandboxNeeds): void {
  if (needs.paths.some(({ path, access }) => path === '/' && access !== 'socket')) return;
  try {
    closeSync(openSync('/', 'r'));
  } catch (error) {
    if (errorCode(error) === 'EACCES') return;
    throw new VhostUserError('ERR_VHU_SANDBOX', `probing the sandbox: ${errorMessage(error)}`);
  }
  throw new VhostUserError(
    'ERR_VHU_SANDBOX',
    'this program was started under the name that it gives itself once it is in its sandbox, and ' +
      'it is in none: start it under another one (argv[0])',
  );
}
