/**
 * This program's own ground: Node, and native calls. What is broken here breaks everything, so it
 * is looked at without native calls.
 *
 * @module
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SUPPORTED_HOSTS } from '../abi/index.ts';
import { ask } from '../qemu/index.ts';
import { VhostUserError, errorCode, errorMessage } from '../util/index.ts';
import { remedy } from './finding.ts';
import type { Finding, Remedy, Status } from './finding.ts';
import type { HostFacts } from './host.ts';

/** The `sys` layer, once it is loaded. */
export type Sys = typeof import('../sys/index.ts');

/** `engines` of package.json: ^20.19.0 || >=22.12.0. */
export const NODE_FLOORS: readonly (readonly [major: number, minor: number])[] = [
  [20, 19],
  [22, 12],
];
/** The last day on which a release is looked after. */
const ENDS_OF_LIFE: Readonly<Record<number, string>> = {
  20: '2026-04-30',
  22: '2027-04-30',
  24: '2028-04-30',
  26: '2029-04-30',
};
const RECOMMENDED = '24';
const CHILD_LIMIT_MS = 20_000;

/** Loads the `sys` layer, and with it koffi; the error when that fails. */
export async function loadSys(): Promise<Sys | { readonly error: unknown }> {
  try {
    await tryInChild();
    return await import('../sys/index.ts');
  } catch (error) {
    return { error };
  }
}

/**
 * Loads it in another process first: a binary that was cut short or is for another processor does
 * not fail, it ends the process that loads it.
 */
async function tryInChild(): Promise<void> {
  const extension = extname(import.meta.url);
  const entry = fileURLToPath(new URL(`../sys/index${extension}`, import.meta.url));
  const { fault } = await ask(process.execPath, [entry], CHILD_LIMIT_MS);
  const signal = /^ended by (SIG\w+)/.exec(fault ?? '')?.[1];
  // Any other fault comes again when this process loads it, with all of its words.
  if (signal !== undefined) throw new Error(`it ends the process that loads it, by ${signal}`);
}

/** Whether a version of Node is one that this package is for, and whether it is looked after. */
export function nodeFinding(host: HostFacts, now: Date): Finding {
  const [major = 0, minor = 0] = host.node.split('.').map(Number);
  const common = { id: 'node', section: 'program', title: 'Node', needed: true } as const;
  const floor = NODE_FLOORS.find(([each]) => each === major);
  const newest = NODE_FLOORS.at(-1)?.[0] ?? 0;
  const isGood = floor === undefined ? major > newest : minor >= floor[1];
  if (!isGood) {
    const detail = `${host.node}; 20.19, 22.12 or a later one is needed`;
    return { ...common, status: 'missing', detail, remedy: newNode(host) };
  }
  const end = ENDS_OF_LIFE[major];
  if (end !== undefined && now.toISOString().slice(0, 10) > end) {
    const detail = `${host.node}; it works, and has had no security updates since ${end}`;
    return { ...common, status: 'works', detail, remedy: newNode(host) };
  }
  return { ...common, status: 'works', detail: nodeDetail(host.node), remedy: null };
}

/** Bun and Deno say which Node they are like. */
function nodeDetail(node: string): string {
  const { bun, deno } = process.versions;
  if (bun !== undefined) return `Bun ${bun}, which says that it is like ${node}`;
  return deno === undefined ? node : `Deno ${deno}, which says that it is like ${node}`;
}

function newNode(host: HostFacts): Remedy {
  const install: Readonly<Record<string, string>> = {
    brew: `brew install node@${RECOMMENDED}`,
    pkg: `sudo pkg install node${RECOMMENDED}`,
    pkg_add: 'doas pkg_add node',
    apk: 'sudo apk add nodejs npm',
    pacman: `sudo pacman -S nodejs-lts-krypton npm`,
  };
  const command = install[host.packager ?? ''];
  if (command !== undefined) return remedy(`Use Node ${RECOMMENDED} or later`, command);
  return remedy(`Use Node ${RECOMMENDED} or later, from nodejs.org or by a version manager`);
}

/** Whether this host has a table of constants, and whether native calls can be made. */
export function nativeFinding(sys: Sys | { readonly error: unknown }, host: HostFacts): Finding {
  const common = { id: 'koffi', section: 'program', title: 'Native calls', needed: true } as const;
  const { os, arch } = host;
  const known = SUPPORTED_HOSTS.some((each) => each.os === os && each.arch === arch);
  if (!known) {
    const detail = `${host.name} on ${arch} is not known to this package`;
    const todo = remedy(`Use Linux, macOS, FreeBSD or OpenBSD on x64 or arm64`);
    return { ...common, status: 'missing', detail, remedy: todo };
  }
  const koffi = installed('koffi');
  const prebuilt = installed(`@koromix/koffi-${os}-${arch}`);
  const version = koffi === null ? 'koffi' : `koffi ${koffi}`;
  if (!('error' in sys)) {
    const how = prebuilt === null ? 'built on this host' : `prebuilt for ${os}-${arch}`;
    return { ...common, status: 'works', detail: `${version}, ${how}`, remedy: null };
  }
  return { ...common, ...nativeFault(sys.error, version, koffi !== null, prebuilt !== null, host) };
}

interface Verdict {
  readonly status: Status;
  readonly detail: string;
  readonly remedy: Remedy;
}

/** Why koffi did not load, by what the loaders of Node and of the C library say. */
export function nativeFault(
  error: unknown,
  version: string,
  isInstalled: boolean,
  hasPrebuilt: boolean,
  host: HostFacts,
): Verdict {
  // What the loader said; the advice is given here.
  const isKoffi = error instanceof VhostUserError && error.code === 'ERR_VHU_KOFFI';
  const cause = isKoffi ? error.cause : error;
  const said = errorMessage(cause).split('\n')[0] ?? '';
  const missing = (detail: string, todo: Remedy): Verdict => {
    return { status: 'missing', detail: `${version}: ${detail}`, remedy: todo };
  };
  if (['EMFILE', 'ENFILE'].includes(errorCode(cause) ?? '')) {
    const todo = remedy('Let this program have more files open', 'ulimit -n 1024');
    return { status: 'unknown', detail: `could not be looked at: ${said}`, remedy: todo };
  }
  if (errorCode(error) === 'ERR_VHU_HOST') {
    return missing(said, remedy(`Use Node ${RECOMMENDED} or later`));
  }
  if (!isInstalled) {
    return missing('it is not installed', remedy('Install this package anew', 'npm install'));
  }
  if (!hasPrebuilt && host.os === 'netbsd') {
    const todo = remedy('See docs/hosts.md of this package: koffi needs to be mended there');
    return missing('it has no binary for NetBSD and does not compile there as it is', todo);
  }
  if (!hasPrebuilt && /cannot find|not find/i.test(said)) {
    const platform = `${host.os}-${host.arch}`;
    return missing(
      `its binary for ${platform} (@koromix/koffi-${platform}) is not installed`,
      remedy('Install with optional packages', 'npm install --include=optional'),
    );
  }
  if (/failed to map segment|operation not permitted|permission denied/i.test(said)) {
    return missing(
      `its binary may not be run where it lies: ${said}`,
      remedy('Install this package in a folder that is not mounted noexec (OpenBSD: wxallowed)'),
    );
  }
  if (/GLIBC_|GLIBCXX_|musl|symbol not found|wrong ELF class|architecture|ld-linux/i.test(said)) {
    return missing(
      `its binary does not fit this system: ${said}`,
      remedy(
        'Install this package anew on this very system: one that was copied does not fit',
        'rm -r node_modules && npm install',
      ),
    );
  }
  return missing(`it does not load: ${said}`, remedy('Install this package anew', 'npm install'));
}

/** The version of a package that this program sees, or null. */
function installed(name: string): string | null {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const file = join(folder, 'node_modules', name, 'package.json');
    if (existsSync(file)) {
      const { version } = JSON.parse(readFileSync(file, 'utf8')) as { readonly version?: string };
      return version ?? 'unknown';
    }
    const up = dirname(folder);
    if (up === folder) return null;
    folder = up;
  }
}
