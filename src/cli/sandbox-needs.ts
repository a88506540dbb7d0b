/**
 * What each device needs of this host, from what was asked for. Loaded before anything else of a
 * device, so it knows their options and nothing of them.
 *
 * @module
 */
import { realpathSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import { tmpdir } from 'node:os';
import { resolve } from 'node:path';
import { isatty } from 'node:tty';
import { NO_NEEDS, mergeNeeds } from '../sys/sandbox/index.ts';
import type { PathNeed, SandboxNeeds } from '../sys/sandbox/index.ts';
import type { ConsoleChoices, PortChoices } from './console-settings.ts';
import type { FsChoices } from './fs-settings.ts';
import type { RngChoices } from './rng-settings.ts';
import type { SocketSettings } from './socket-address.ts';
import { forwardsOf, listensOf } from './vsock-settings.ts';
import type { VsockChoices } from './vsock-settings.ts';

/** Makes needs of some of them. */
function needs(some: Partial<SandboxNeeds>): SandboxNeeds {
  return { ...NO_NEEDS, ...some };
}

/** The place where a front-end is met. */
export function socketNeeds(settings: SocketSettings): SandboxNeeds {
  const { socketPath, connect = false, fd } = settings;
  if (connect) return connectsTo(socketPath, 'connect');
  return needs({
    paths: socketPath === undefined ? [] : [{ path: resolve(socketPath), access: 'socket' }],
    fds: fd === undefined ? [] : [fd],
  });
}

/** A disk. */
export function blkNeeds(image: string, readOnly: boolean): SandboxNeeds {
  return needs({ paths: [{ path: resolve(image), access: readOnly ? 'read' : 'write' }] });
}

/** A file system. */
export function fsNeeds(choices: FsChoices): SandboxNeeds {
  const { sharedDir, archive, preload, readonly = false } = choices;
  const paths: PathNeed[] = [];
  if (sharedDir !== undefined) {
    paths.push({ path: resolve(sharedDir), access: readonly ? 'read' : 'tree' });
  }
  const source = archive ?? preload;
  if (source !== undefined) {
    paths.push({ path: resolve(source), access: 'read' });
    // What is compressed is unpacked into a file without a name.
    paths.push({ path: tmpdir(), access: 'temporary' });
  }
  const sharesFolder = sharedDir !== undefined;
  return needs({ paths, sharesFolder, ownsFiles: sharesFolder && !readonly });
}

/** Random bytes. */
export function rngNeeds({ file }: RngChoices): SandboxNeeds {
  return needs({ paths: file === undefined ? [] : [{ path: resolve(file), access: 'read' }] });
}

/** A guest's vsock. */
export function vsockNeeds(choices: VsockChoices): SandboxNeeds {
  const { udsPath } = choices;
  const all: SandboxNeeds[] = [];
  if (udsPath !== undefined) all.push(listener(udsPath), connectsTo(udsPath, 'connect-prefix'));
  for (const { guestPort, target } of forwardsOf(choices)) {
    if (target.kind === 'unix') {
      all.push(connectsTo(target.path, 'connect'));
    } else if (target.kind === 'vsock') {
      all.push(needs({ usesVsock: true }));
    } else {
      const port = target.port ?? guestPort;
      const looksUpNames = isIP(target.host) === 0;
      all.push(needs({ connectsTcp: port === '*' ? null : [port], looksUpNames }));
    }
  }
  for (const { source } of listensOf(choices)) {
    if (source.kind === 'unix') all.push(listener(source.path));
    else if (source.kind === 'vsock') all.push(needs({ usesVsock: true }));
    else all.push(tcpListener(source.host, source.port));
  }
  return mergeNeeds(all);
}

/** A console and its ports. */
export function consoleNeeds(choices: ConsoleChoices): SandboxNeeds {
  return mergeNeeds([choices, ...(choices.ports ?? [])].map(portNeeds));
}

function portNeeds({ pty, unix, tcp, log }: PortChoices): SandboxNeeds {
  const all: SandboxNeeds[] = [];
  if (pty !== undefined) {
    all.push(needs({ paths: [{ path: '/dev/pts', access: 'terminals' }] }));
    if (pty !== true) all.push(needs({ paths: [{ path: resolve(pty), access: 'link' }] }));
  }
  if (unix !== undefined) all.push(listener(unix));
  if (tcp?.kind === 'tcp') all.push(tcpListener(tcp.host, tcp.port));
  if (log !== undefined) all.push(needs({ paths: [{ path: resolve(log), access: 'file' }] }));
  return mergeNeeds(all);
}

/** Linux guards no connecting by path; other hosts need to know the paths. */
function connectsTo(path: string | undefined, access: PathNeed['access']): SandboxNeeds {
  const paths = path === undefined ? [] : [{ path: resolve(path), access }];
  return needs({ paths, connectsUnix: true });
}

function listener(path: string): SandboxNeeds {
  return needs({ paths: [{ path: resolve(path), access: 'socket' }] });
}

function tcpListener(host: string | undefined, port: number): SandboxNeeds {
  return needs({ listensTcp: [port], looksUpNames: host !== undefined && isIP(host) === 0 });
}

/** A file that is read again when the program is in its sandbox, such as its configuration. */
export function fileNeeds(path: string): SandboxNeeds {
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) {
    return needs({ hasReadOnce: true });
  }
  return needs({ paths: [{ path: resolve(path), access: 'read' }] });
}

/** What Node and this program need whatever they serve. */
export function programNeeds(): SandboxNeeds {
  const paths: PathNeed[] = [];
  // Node opens the terminals that it is on once more.
  for (const fd of [0, 1, 2].filter((each) => isatty(each))) {
    const path = real(`/proc/self/fd/${fd}`);
    if (path !== null) paths.push({ path, access: 'write' });
  }
  // Measured coverage is written at the end.
  const { NODE_V8_COVERAGE } = process.env;
  if (NODE_V8_COVERAGE !== undefined && NODE_V8_COVERAGE !== '') {
    paths.push({ path: resolve(NODE_V8_COVERAGE), access: 'temporary' });
  }
  return needs({ paths });
}

function real(path: string): string | null {
  try {
    return realpathSync(path);
  } catch {
    return null;
  }
}
