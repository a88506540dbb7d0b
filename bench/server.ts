/**
 * The servers that are compared: started, measured from outside, stopped.
 *
 * @module
 */
import { closeSync, openSync, readFileSync } from 'node:fs';
import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { isListeningOn } from './proc.ts';
import { commandText, processError, startProcess, stopProcess } from './process.ts';
import type { Command } from './process.ts';
import type { Mode } from './plan.ts';

const START_MS_MAX = 60_000; // on a machine that has much else to do
const LOG_TAIL_CHARS = 2000;

/** How a server is started. */
export interface ServerPlan {
  /** For people. */
  readonly name: string;
  readonly command: Command;
  readonly socketPath: string;
  /** Takes what it prints. */
  readonly logPath: string;
}

/** A server that listens. */
export class Server {
  readonly plan: ServerPlan;
  readonly pid: number;
  /** Milliseconds from its start to the moment when it listened. */
  readonly startMs: number;
  readonly #child: ChildProcess;

  private constructor(plan: ServerPlan, child: ChildProcess, startMs: number) {
    this.plan = plan;
    this.pid = child.pid as number;
    this.startMs = startMs;
    this.#child = child;
  }

  /** Starts a server and waits until it listens. */
  static async start(plan: ServerPlan): Promise<Server> {
    const log = openSync(plan.logPath, 'w');
    const startMs = performance.now();
    const child = startProcess(plan.command, { stdio: ['ignore', log, log] });
    closeSync(log);
    let failure: string | null = null;
    child.once('error', (error) => (failure = error.message));
    while (!isListeningOn(plan.socketPath)) {
      const ended = child.exitCode ?? child.signalCode;
      if (ended !== null) failure ??= `ended with ${String(ended)}`;
      if (performance.now() - startMs > START_MS_MAX) {
        failure ??= `does not listen on ${plan.socketPath} after ${START_MS_MAX / 1000} s`;
      }
      if (failure !== null) {
        await stopProcess(child);
        const text = `${plan.name}: ${failure}\n  ${commandText(plan.command)}\n${logTail(plan)}`;
        throw processError(text);
      }
      await sleep(1);
    }
    return new Server(plan, child, performance.now() - startMs);
  }

  /** What the server printed last, for an error message. */
  get logTail(): string {
    return logTail(this.plan);
  }

  /** Whether it still runs. */
  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Ends it and waits for that. */
  stop(): Promise<void> {
    return stopProcess(this.#child);
  }
}

/** What a plan needs to know of the place where it runs. */
export interface ServerSite {
  /** A folder, the same path in the peer's root. */
  readonly folder: string;
  readonly image: string;
  /** The root of the newer Debian suite. */
  readonly peerRoot: string;
  /** How the peer reads and writes; by default as is like our mode. */
  readonly peerAio?: PeerAio;
}

/** `aio=` of qemu-storage-daemon. */
export type PeerAio = 'io_uring' | 'threads';

/** How the peer reads and writes against one of our modes. */
export function peerAioOf(mode: Mode, { peerAio }: ServerSite): PeerAio {
  return peerAio ?? (mode === 'native' ? 'io_uring' : 'threads');
}

/** How our own server is started. */
export interface OurOptions {
  /** The compiled entry of the command line. */
  readonly entry: string;
  readonly extraArgs: readonly string[];
  readonly nodeArgs: readonly string[];
}

/** Our server. It takes no lock on the image, which the other one holds at the same time. */
export function ourPlan(mode: Mode, site: ServerSite, options: OurOptions): ServerPlan {
  const socketPath = `${site.folder}/ours-${mode}.sock`;
  const { entry, extraArgs, nodeArgs } = options;
  const blk = ['blk', site.image, '--socket-path', socketPath, '--no-lock', ...extraArgs];
  return {
    name: mode === 'native' ? 'vhost-user' : 'vhost-user (posix)',
    command: {
      file: process.execPath,
      args: [...nodeArgs, entry, ...blk],
      ...(mode === 'posix' ? { env: { VHOST_USER_HOST: 'posix' } } : {}),
    },
    socketPath,
    logPath: `${site.folder}/ours-${mode}.log`,
  };
}

/** The peer: qemu-storage-daemon with an I/O thread and its default polling. */
export function peerPlan(mode: Mode, site: ServerSite, tag = 'peer'): ServerPlan {
  const aio = peerAioOf(mode, site);
  const socketPath = `${site.folder}/${tag}-${mode}.sock`;
  // Two peers on one image (when a peer is compared with itself) must not lock each other out.
  const locking = tag === 'peer' ? '' : ',locking=off';
  const file = `driver=file,node-name=f0,filename=${site.image},aio=${aio}${locking}`;
  const socket = `addr.type=unix,addr.path=${socketPath}`;
  return {
    name: `qemu-storage-daemon aio=${aio}`,
    command: inPeerRoot(site.peerRoot, 'qemu-storage-daemon', [
      '--object',
      'iothread,id=t0',
      '--blockdev',
      file,
      '--export',
      `type=vhost-user-blk,id=e0,node-name=f0,${socket},writable=on,iothread=t0`,
    ]),
    socketPath,
    logPath: `${site.folder}/${tag}-${mode}.log`,
  };
}

/** A command line that runs in the peer's root; `chroot` becomes the program, with the same pid. */
export function inPeerRoot(root: string, file: string, args: readonly string[]): Command {
  return { file: 'chroot', args: [root, file, ...args] };
}

function logTail(plan: ServerPlan): string {
  return readFileSync(plan.logPath, 'utf8').slice(-LOG_TAIL_CHARS);
}
