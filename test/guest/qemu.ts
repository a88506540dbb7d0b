/**
 * Boots a small Linux guest under QEMU (TCG: it runs everywhere, and a nested KVM may hang), with
 * vhost-user devices, runs a shell script in it and gives back what the script said.
 *
 * @module
 */
import { copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { startProgram } from '../peers/process.ts';
import type { ForeignGuest } from '../peers/foreign.ts';
import type { Peers, Qemu } from '../peers/setup.ts';
import { examineGuest } from './autopsy.ts';
import { ROOT_SERIAL, writeInitramfs } from './initramfs.ts';

const DEFAULTS = { memoryMb: 512, cpus: 2, queues: 2, timeoutMs: 150_000 } as const;
const PC = { board: ['q35', 'max'], console: 'ttyS0' } as const;
const VIRTIO_ID_BLOCK = 2;
const BLK_CONFIG_BYTES = 60; // struct virtio_blk_config up to and with secure erase
const VIRTIO_ID_CONSOLE = 3;
const CONSOLE_CONFIG_BYTES = 12; // struct virtio_console_config
const QUEUE_SIZE = 256;
const KERNEL_OPTIONS = 'quiet loglevel=3 panic=-1 mitigations=off nokaslr';

/** One vhost-user block device of the guest: /dev/vda, /dev/vdb and so on, in their order. */
export interface GuestDisk {
  /** The back-end's socket; in /tmp for QEMU 11. */
  readonly socketPath: string;
  /** `generic` is QEMU's vhost-user-test-device-pci, which knows nothing of block devices. */
  readonly device?: 'blk' | 'generic';
  /** Default: 2. */
  readonly queues?: number;
  /** QEMU connects again, after so long, when the back-end has gone. Default: it does not. */
  readonly reconnectMs?: number;
  /** QEMU makes the socket and waits for the back-end to connect. */
  readonly listen?: boolean;
}

/** One shared folder: `mount -t virtiofs TAG /mnt` in the guest. */
export interface GuestShare {
  /** The back-end's socket; in /tmp for QEMU 11. */
  readonly socketPath: string;
  readonly tag: string;
  /** Request queues. Default: 1. */
  readonly queues?: number;
  /** QEMU connects again, after so long, when the back-end has gone. Default: it does not. */
  readonly reconnectMs?: number;
  /** `ccw` is a device of s390x's channel subsystem. Default: `pci`. */
  readonly bus?: 'pci' | 'ccw';
}

/** One entropy device: `virtio_rng.0`, `virtio_rng.1` and so on, in their order. */
export interface GuestRng {
  /** The back-end's socket; in /tmp for QEMU 11. */
  readonly socketPath: string;
  /** Interrupts: a machine without pin interrupts needs one for each queue and one more. */
  readonly vectors?: number;
}

/** One vsock device of the guest. */
export interface GuestVsock {
  /** The back-end's socket; in /tmp for QEMU 11. */
  readonly socketPath: string;
  /** QEMU connects again, after so long, when the back-end has gone. Default: it does not. */
  readonly reconnectMs?: number;
  /** Interrupts, as of {@link GuestRng}. */
  readonly vectors?: number;
}

/** A cable between the network cards of two guests. */
export interface GuestCable {
  /** A Unix socket, which one of the two makes. */
  readonly socketPath: string;
  readonly end: 'makes' | 'joins';
}

/** A console device: /dev/hvc0 and so on. */
export interface GuestConsole {
  /** The back-end's socket; in /tmp for QEMU 11. */
  readonly socketPath: string;
  /** Queues of the device: two for each port, and two more. */
  readonly queues: number;
  /** QEMU makes the socket and waits for the back-end, which may go and come again. */
  readonly listen?: boolean;
  /** QEMU connects again when the server has gone, after so long. */
  readonly reconnectMs?: number;
}

/** A guest and what it is to do. */
export interface GuestOptions {
  readonly peers: Peers;
  readonly qemu: Qemu;
  /** The board, the processor and the console. Default: a PC's. */
  readonly machine?: Pick<ForeignGuest, 'board' | 'console'>;
  /** A folder of the test's own in /tmp. */
  readonly folder: string;
  readonly disks?: readonly GuestDisk[];
  readonly shares?: readonly GuestShare[];
  readonly rngs?: readonly GuestRng[];
  readonly vsock?: GuestVsock;
  readonly cable?: GuestCable;
  /** Programs without libraries: where they are in the guest, and on this host. */
  readonly programs?: ReadonlyMap<string, string>;
  /** The guest has busybox and `programs` alone, and is up sooner. */
  readonly bare?: boolean;
  readonly console?: GuestConsole;
  /** The script runs in a whole Debian, read-only but for /tmp, with compiler, git and so on. */
  readonly tools?: boolean;
  /** A reboot boots the guest again, and the script runs again. Default: it ends the guest. */
  readonly reboots?: boolean;
  /** Default: 2. */
  readonly cpus?: number;
  /** Default: 512. */
  readonly memoryMb?: number;
  /** For busybox's sh, or dash with `tools`. A line `@key=value` becomes a value of the result. */
  readonly script: string;
  /** How guest memory is made: both kinds are shared with the back-end. */
  readonly memory: 'memfd' | 'shm';
  /** Whether it is all there from the start: no page fault of the host is in a figure. */
  readonly preallocate?: boolean;
  /** Takes eventfd away from QEMU, so that it makes pipes, as it does on macOS and the BSDs. */
  readonly pipes?: boolean;
  readonly timeoutMs?: number;
  /** Called with every line of the console: a guest can ask its host for something by a line. */
  readonly onLine?: (line: string) => void;
  /** Kills QEMU when it is aborted. */
  readonly signal?: AbortSignal;
}

/** What became of a guest. */
export interface GuestResult {
  /** The script's exit status; undefined when the guest never came to its end. */
  readonly status: number | undefined;
  /** What the script told by `@key=value`. */
  readonly values: ReadonlyMap<string, string>;
  /** The console, QEMU's own messages included. */
  readonly output: string;
  /** The whole run, boot included. */
  readonly seconds: number;
}

/** Runs one guest to its end. No process of it is left, whatever happens. */
export async function runGuest(options: GuestOptions): Promise<GuestResult> {
  const started = performance.now();
  const values = new Map<string, string>();
  const program = startProgram(guestCommand(options), {
    logFile: join(options.folder, 'console.log'),
    onLine: (line) => {
      const match = /^@([\w./-]+)=(.*)$/.exec(line);
      if (match !== null) values.set(match[1] ?? '', match[2] ?? '');
      options.onLine?.(line);
    },
  });
  const timeoutMs = options.timeoutMs ?? DEFAULTS.timeoutMs;
  let found = '';
  const timer = setTimeout(() => {
    void examineGuest(controlSocket(options), program.output).then((text) => {
      found = `\n${text}`;
      return program.stop('SIGKILL');
    });
  }, timeoutMs);
  const kill = (): void => void program.stop('SIGKILL');
  options.signal?.addEventListener('abort', kill);
  try {
    await program.ended;
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', kill);
    await program.stop('SIGKILL');
  }
  const seconds = (performance.now() - started) / 1000;
  const note = found === '' ? '' : `${found}\n(killed after ${timeoutMs / 1000} s)`;
  const text = values.get('status');
  const status = text === undefined ? undefined : Number(text);
  return { status, values, output: program.output + note, seconds };
}

/** Where QEMU is asked about its guest. */
function controlSocket(options: GuestOptions): string {
  return join(options.folder, 'qmp');
}

/** The result of a guest that has to succeed; throws with the end of its console otherwise. */
export async function runGuestOrThrow(options: GuestOptions): Promise<GuestResult> {
  const result = await runGuest(options);
  if (result.status === 0) return result;
  const how = result.status === undefined ? 'did not end' : `ended with ${result.status}`;
  throw new Error(`the guest's script ${how}:\n${result.output.slice(-6_000)}`);
}

/** Makes the guest's files in its folder and returns the command that boots it. */
function guestCommand(options: GuestOptions): readonly string[] {
  const { peers, folder } = options;
  const kernel = join(folder, 'vmlinuz');
  const initramfs = join(folder, 'initramfs.cpio');
  if (!existsSync(kernel)) copyFileSync(peers.kernel, kernel); // QEMU 11 sees /tmp only
  const { script, tools = false, bare = false, programs = new Map<string, string>() } = options;
  writeInitramfs(peers, initramfs, { script, small: tools || bare, programs });
  return [
    ...(options.pipes === true ? withoutEventfd(peers) : []),
    ...options.qemu.command,
    ...machineOptions(options),
    ...['-kernel', kernel, '-initrd', initramfs],
    ...['-append', `console=${(options.machine ?? PC).console} ${KERNEL_OPTIONS}`],
    ...(options.disks ?? []).flatMap(diskOptions),
    ...(options.shares ?? []).flatMap(shareOptions),
    ...(options.rngs ?? []).flatMap(rngOptions),
    ...(options.vsock === undefined ? [] : vsockOptions(options.vsock)),
    ...(options.cable === undefined ? [] : cableOptions(options.cable)),
    ...(options.console === undefined ? [] : consoleOptions(options.console)),
    ...(options.tools === true ? rootOptions(options.qemu) : []),
  ];
}

function machineOptions(options: GuestOptions): readonly string[] {
  const size = `${options.memoryMb ?? DEFAULTS.memoryMb}M`;
  const preallocate = options.preallocate === true ? ',prealloc=on' : '';
  const [board, cpu] = (options.machine ?? PC).board;
  const memory = `memory-backend-${options.memory},id=mem,size=${size},share=on${preallocate}`;
  return [
    ...['-machine', `${board},memory-backend=mem`, '-accel', 'tcg,thread=multi', '-cpu', cpu],
    ...['-smp', String(options.cpus ?? DEFAULTS.cpus), '-m', size, '-object', memory],
    ...['-nodefaults', '-no-user-config', '-display', 'none'],
    ...(options.reboots === true ? [] : ['-no-reboot']),
    ...['-serial', 'stdio', '-monitor', 'none'],
    ...['-qmp', `unix:${controlSocket(options)},server=on,wait=off`],
  ];
}

/** The image is one for all guests, so it is read-only, and locked by none of them. */
function rootOptions(qemu: Qemu): readonly string[] {
  const image = `file=${qemu.guestRoot},format=raw,if=none,id=root,readonly=on,file.locking=off`;
  return ['-drive', image, '-device', `virtio-blk-pci,drive=root,serial=${ROOT_SERIAL}`];
}

function shareOptions(share: GuestShare, index: number): readonly string[] {
  const again = share.reconnectMs === undefined ? '' : `,reconnect-ms=${share.reconnectMs}`;
  const chardev = `socket,id=s${index},path=${share.socketPath}${again}`;
  const queues = share.queues === undefined ? '' : `,num-request-queues=${share.queues}`;
  const name = `vhost-user-fs-${share.bus ?? 'pci'}`;
  const device = `${name},queue-size=1024,chardev=s${index},tag=${share.tag}${queues}`;
  return ['-chardev', chardev, '-device', device];
}

function rngOptions(rng: GuestRng, index: number): readonly string[] {
  const chardev = `socket,id=r${index},path=${rng.socketPath}`;
  const vectors = rng.vectors === undefined ? '' : `,vectors=${rng.vectors}`;
  return ['-chardev', chardev, '-device', `vhost-user-rng-pci,chardev=r${index}${vectors}`];
}

function vsockOptions(vsock: GuestVsock): readonly string[] {
  const again = vsock.reconnectMs === undefined ? '' : `,reconnect-ms=${vsock.reconnectMs}`;
  const chardev = `socket,id=v0,path=${vsock.socketPath}${again}`;
  const vectors = vsock.vectors === undefined ? '' : `,vectors=${vsock.vectors}`;
  return ['-chardev', chardev, '-device', `vhost-user-vsock-pci,chardev=v0${vectors}`];
}

function cableOptions({ socketPath, end }: GuestCable): readonly string[] {
  const server = end === 'makes' ? 'on' : 'off,reconnect-ms=100';
  const netdev = `stream,id=n0,server=${server},addr.type=unix,addr.path=${socketPath}`;
  const mac = end === 'makes' ? '52:54:00:00:00:01' : '52:54:00:00:00:02';
  return ['-netdev', netdev, '-device', `virtio-net-pci,netdev=n0,mac=${mac}`];
}

/** QEMU has no vhost-user console of its own. */
function consoleOptions(device: GuestConsole): readonly string[] {
  const again = device.reconnectMs === undefined ? '' : `,reconnect-ms=${device.reconnectMs}`;
  const how = device.listen === true ? ',server=on,wait=on' : again;
  const properties = [
    `virtio-id=${VIRTIO_ID_CONSOLE}`,
    `num_vqs=${device.queues}`,
    `config_size=${CONSOLE_CONFIG_BYTES}`,
  ].join(',');
  return [
    ...['-chardev', `socket,id=console,path=${device.socketPath}${how}`],
    ...['-device', `vhost-user-test-device-pci,chardev=console,${properties}`],
  ];
}

function diskOptions(disk: GuestDisk, index: number): readonly string[] {
  const queues = disk.queues ?? DEFAULTS.queues;
  const again = disk.reconnectMs === undefined ? '' : `,reconnect-ms=${disk.reconnectMs}`;
  const listen = disk.listen === true ? ',server=on,wait=on' : '';
  const socket = `socket,id=c${index},path=${disk.socketPath}`;
  const chardev = ['-chardev', `${socket}${again}${listen}`];
  if (disk.device !== 'generic') {
    return [...chardev, '-device', `vhost-user-blk-pci,chardev=c${index},num-queues=${queues}`];
  }
  const properties = [
    `virtio-id=${VIRTIO_ID_BLOCK}`,
    `num_vqs=${queues}`,
    `vq_size=${QUEUE_SIZE}`,
    `config_size=${BLK_CONFIG_BYTES}`,
  ].join(',');
  return [...chardev, '-device', `vhost-user-test-device-pci,chardev=c${index},${properties}`];
}

/** QEMU tries eventfd first and falls back to a pipe, so a failing eventfd is what it takes. */
function withoutEventfd(peers: Peers): readonly string[] {
  const inject = ['-e', 'trace=eventfd2', '-e', 'inject=eventfd2:error=ENOSYS'];
  const strace = [peers.strace, '-f', '--seccomp-bpf', ...inject, '-o', '/dev/null'];
  return [...strace, 'setpriv', '--pdeathsig', 'KILL', '--']; // a killed strace lets QEMU run on
}
