/**
 * The sandbox of macOS: sandbox_init(3) with a profile of our own.
 *
 * Apple calls the function deprecated since 10.8 and uses it still, as browsers do; the language of
 * profiles (SBPL, a Scheme) is not documented, and what is written here is what public profiles
 * have. The profile is about the whole process and for ever, so it is entered once, with what the
 * start needs, and sealing shuts nothing more. What a release may not know is asked for by
 * `defined?`, since one unknown word refuses a whole profile.
 *
 * @module
 */
import { realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { isatty } from 'node:tty';
import * as libc from '../libc.ts';
import { NativeBlock } from '../native.ts';
import { darwinCalls } from './bsd-calls.ts';
import type { DarwinCalls } from './bsd-calls.ts';
import type { PathNeed, Sandbox, SandboxNeeds, SandboxPlan } from './types.ts';

/** Readable by any user: what Node, dyld and the C library read. */
const SYSTEM_READS = [
  ...['/usr/lib', '/System/Library', '/usr/share/zoneinfo', '/private/var/db/timezone'],
  ...['/private/etc/localtime', '/private/etc/group', '/private/etc/ssl/openssl.cnf'],
  ...['/dev/urandom', '/dev/random'],
];
const NAME_READS = [
  '/private/etc/resolv.conf',
  '/private/etc/hosts',
  '/private/etc/services',
  '/private/var/run/resolv.conf',
];
const NAME_SERVER = '/private/var/run/mDNSResponder';
const DNS_PORT = 53;
const TERMINALS = '(regex #"^/dev/ttys[0-9]+$")';
const MULTIPLEXER = '/dev/ptmx';

/** What a profile depends on beside the needs; all paths are resolved already. */
export interface ProfileFacts {
  readonly program: readonly string[];
  /** Standard input, output or error is a terminal. */
  readonly onTerminal: boolean;
}

/** The profile, in SBPL. */
export function profileText(needs: SandboxNeeds, { program, onTerminal }: ProfileFacts): string {
  const reads = [...SYSTEM_READS, ...(needs.looksUpNames ? NAME_READS : []), ...program];
  const lines = [
    '(version 1)',
    '(deny default)',
    // As on Linux: whether files exist is no secret, and each path is walked by it.
    '(allow file-read-metadata)',
    allow('file-read*', ...reads.map(subpath)),
    allow('file-map-executable', ...['/usr/lib', '/System/Library', ...program].map(subpath)),
    allow('file-read* file-write-data file-ioctl', literal('/dev/null')),
    '(allow sysctl-read)',
    '(allow signal (target self))',
    ifDefined('process-info*', '(allow process-info* (target self))'),
    // V8 compiles.
    ifDefined('dynamic-code-generation', '(allow dynamic-code-generation)'),
    // The record of requests in flight, which has a name for an instant.
    allow('ipc-posix-shm*', `(ipc-posix-name-prefix ${quoted('/vhu-')})`),
    ifDefined('system-socket', '(allow system-socket)'),
  ];
  if (onTerminal) lines.push(allow('file-read* file-write-data file-ioctl', TERMINALS));
  return [...lines, ...needs.paths.flatMap(pathRules), ...networkRules(needs), ''].join('\n');
}

function pathRules({ path, access }: PathNeed): string[] {
  switch (access) {
    case 'read':
      return [allow('file-read* file-ioctl', subpath(path))];
    case 'write':
      return [allow('file-read* file-write-data file-ioctl', literal(path))];
    case 'tree':
      return [
        allow('file-read* file-write*', subpath(path)),
        ifDefined('file-link', allow('file-link', subpath(path))),
        ifDefined('file-mknod', allow('file-mknod', subpath(path))),
      ];
    case 'temporary':
      return [allow('file-read* file-write*', subpath(path))];
    case 'socket':
      return [
        allow('file-read* file-write*', literal(path)),
        allow('network-bind network-inbound', literal(path)),
        // Whether another process is listening there is asked by connecting to it.
        allow('network-outbound', literal(path)),
      ];
    case 'link':
      return [allow('file-read* file-write*', literal(path))];
    case 'file':
      return [allow('file-read* file-write*', prefix(path))];
    case 'terminals':
      return [
        '(allow pseudo-tty)',
        allow('file-read* file-write* file-ioctl', literal(MULTIPLEXER), TERMINALS),
      ];
    case 'connect':
      return [allow('network-outbound', literal(path))];
    case 'connect-prefix':
      return [allow('network-outbound', prefix(path))];
  }
}

function networkRules(needs: SandboxNeeds): string[] {
  const { connectsTcp, listensTcp, looksUpNames } = needs;
  const rules: string[] = [];
  if (connectsTcp === null) rules.push('(allow network-outbound (remote tcp))');
  for (const port of connectsTcp ?? [])
    rules.push(`(allow network-outbound ${remote('tcp', port)})`);
  for (const port of listensTcp) {
    const at = `(local tcp "*:${port === 0 ? '*' : String(port)}")`;
    rules.push(`(allow network-bind network-inbound ${at})`);
  }
  if (looksUpNames) {
    rules.push(allow('network-outbound', literal(NAME_SERVER), remote('udp', DNS_PORT)));
    rules.push(allow('network-outbound', remote('tcp', DNS_PORT)));
  }
  return rules;
}

function allow(operations: string, ...filters: readonly string[]): string {
  return `(allow ${operations} ${filters.join(' ')})`;
}

function ifDefined(operation: string, rule: string): string {
  return `(if (defined? '${operation}) ${rule})`;
}

function remote(protocol: string, port: number): string {
  return `(remote ${protocol} "*:${String(port)}")`;
}

/** This path and nothing else. */
function literal(path: string): string {
  return `(literal ${quoted(path)})`;
}

/** This path and what is below it. */
function subpath(path: string): string {
  return `(subpath ${quoted(path)})`;
}

/** Paths that begin with it. A raw text knows no escape for `"`: any character stands for it. */
function prefix(path: string): string {
  const escaped = path.replace(/[.\\+*?()[\]{}^$|]/g, '\\$&').replaceAll('"', '.');
  return `(regex #"^${escaped}")`;
}

function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`;
}

/** The path as the kernel sees it: /tmp is a link to /private/tmp. Its last names may be new. */
export function resolvedPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    const folder = dirname(path);
    return folder === path ? path : join(resolvedPath(folder), basename(path));
  }
}

/** Enters it. */
export function enterDarwin(plan: SandboxPlan): Sandbox {
  const paths = plan.needs.paths.map((need) => ({ ...need, path: resolvedPath(need.path) }));
  const program = [...plan.program, process.execPath].map(resolvedPath);
  const onTerminal = [0, 1, 2].some((fd) => isatty(fd));
  const refused = init(
    darwinCalls(),
    profileText({ ...plan.needs, paths }, { program, onTerminal }),
  );
  const seal = (): void => undefined;
  if (refused === null) return { parts: ['Seatbelt'], missing: [], seal };
  return { parts: [], missing: [`Seatbelt: sandbox_init() refuses: ${refused}`], seal };
}

/** Null, or what the system has to say against the profile. */
function init(calls: DarwinCalls, profile: string): string | null {
  const error = new NativeBlock(8);
  try {
    if (calls.sandboxInit(profile, 0, error.address) === 0) return null;
    const address = Number(error.view.getBigUint64(0, true));
    if (address === 0) return 'and does not say why';
    // SAFETY: the text is the system's until it is given back below, and ends with a NUL.
    const text = Buffer.from(libc.rawView(address, calls.strlen(address))).toString();
    calls.sandboxFreeError(address);
    return text.trim();
  } finally {
    error.free();
  }
}
