/**
 * What comes after the options in a help text: examples that work when they are pasted.
 *
 * @module
 */
import { wrap } from './format.ts';
import {
  CONSOLE_NOTES,
  ELSEWHERE_NOTES,
  FS_ELSEWHERE_NOTES,
  mountLine,
  qemuBlkLines,
  qemuConsoleLines,
  qemuFsLines,
  qemuRngLines,
  qemuVsockLines,
} from './qemu.ts';
import type { QemuHost } from './qemu.ts';

/** An example: what it does, and the command with its continuation lines. */
export interface Example {
  readonly title: string;
  readonly lines: readonly string[];
}

const WIDTH = 78;
const SOCKET = '/tmp/disk.sock';
const FS_SOCKET = '/tmp/fs.sock';
const VSOCK_SOCKET = '/tmp/vsock.sock';
const CONSOLE_SOCKET = '/tmp/console.sock';
const VSOCK_UDS = '/tmp/vm.vsock';
const RNG_SOCKET = '/tmp/rng.sock';

/** Examples of `vhost-user blk` on a host. */
export function blkExamples(host: QemuHost): Example[] {
  const disk = { socketPath: SOCKET, queueCount: 1 };
  return [
    { title: 'Make a disk of 1 GiB:', lines: [host.makeImage] },
    { title: 'Serve it:', lines: [`vhost-user blk /tmp/disk.img --socket-path ${SOCKET}`] },
    {
      title: `Attach it to a guest of QEMU on ${host.name}, in another terminal:`,
      lines: qemuBlkLines(host, disk),
    },
    {
      title: 'Serve it to several guests, one after the other, without writing to it:',
      lines: [`vhost-user blk /tmp/disk.img --socket-path ${SOCKET} --read-only`],
    },
    {
      title: 'Four queues on two threads, past the page cache:',
      lines: [
        `vhost-user blk /tmp/disk.img --socket-path ${SOCKET}`,
        '--num-queues 4 --threads 2 --direct',
      ],
    },
  ];
}

/** Examples of `vhost-user fs` on a host. */
export function fsExamples(host: QemuHost): Example[] {
  const serve = `--socket-path ${FS_SOCKET}`;
  const folder = { socketPath: FS_SOCKET, tag: 'share', requestQueueCount: 1 };
  return [
    {
      title: 'Share a folder:',
      lines: [`mkdir -p /tmp/share && vhost-user fs /tmp/share ${serve}`],
    },
    {
      title: `Attach it to a guest of QEMU on ${host.name}, in another terminal:`,
      lines: qemuFsLines(host, folder),
    },
    { title: 'Mount it, in the guest:', lines: [mountLine('share')] },
    {
      title: 'Only the guest uses the folder: let it cache all, and delay what it writes:',
      lines: [`vhost-user fs /tmp/share ${serve} --cache always --writeback`],
    },
    {
      title: 'The guest has owners of its own, and this user is not root:',
      lines: [`vhost-user fs /tmp/share ${serve} --owner xattr`],
    },
    {
      title: 'What is in an archive, without unpacking it:',
      lines: [`vhost-user fs --archive /tmp/sources.tar.gz ${serve}`],
    },
  ];
}

/** Examples of `vhost-user vsock` on a host. */
export function vsockExamples(host: QemuHost): Example[] {
  const serve = `vhost-user vsock --socket-path ${VSOCK_SOCKET}`;
  return [
    {
      title: 'Programs of this host and of the guest:',
      lines: [`${serve} --uds-path ${VSOCK_UDS}`],
    },
    {
      title: `Attach it to a guest of QEMU on ${host.name}, in another terminal:`,
      lines: qemuVsockLines(host, { socketPath: VSOCK_SOCKET }),
    },
    ...CONNECT_EXAMPLES,
    {
      title: "The guest's ssh server at port 2222 of this host, and our web server for the guest:",
      lines: [serve, '--listen tcp:127.0.0.1:2222=guest:22 --forward guest:80=tcp:127.0.0.1:8080'],
    },
    {
      title: 'Two guests that reach each other, as with vhost-device-vsock:',
      lines: [
        'vhost-user vsock --vm guest-cid=3,socket=/tmp/vm3.sock,uds-path=/tmp/vm3.vsock',
        '--vm guest-cid=4,socket=/tmp/vm4.sock,uds-path=/tmp/vm4.vsock',
      ],
    },
  ];
}

/** Examples of `vhost-user rng` on a host. */
export function rngExamples(host: QemuHost): Example[] {
  const serve = `vhost-user rng --socket-path ${RNG_SOCKET}`;
  return [
    { title: 'Give random bytes:', lines: [serve] },
    {
      title: `Attach it to a guest of QEMU on ${host.name}, in another terminal:`,
      lines: qemuRngLines(host, RNG_SOCKET),
    },
    { title: 'Read some of them, in the guest:', lines: ['head -c 32 /dev/hwrng | od -t x1'] },
    {
      title: 'At most 4 KiB a second:',
      lines: [`${serve} --max-bytes 4K --period 1000`],
    },
    {
      title: 'Three guests, which share what a hardware generator gives:',
      lines: [`${serve} --socket-count 3`, '--file /dev/hwrng --max-bytes 1536 --period 1000'],
    },
  ];
}

/** Examples of `vhost-user console` on a host. */
export function consoleExamples(host: QemuHost): Example[] {
  const serve = `vhost-user console --socket-path ${CONSOLE_SOCKET}`;
  return [
    { title: 'A console at this terminal, left by Ctrl-]:', lines: [serve] },
    {
      title: `Attach it to a guest of QEMU on ${host.name}, in another terminal:`,
      lines: qemuConsoleLines(host, { socketPath: CONSOLE_SOCKET, queueCount: 4 }),
    },
    { title: 'A shell on it, in the guest:', lines: ['setsid getty -L hvc0 0 xterm'] },
    {
      title: 'At a pseudo terminal, for any terminal program, with a log of all that is printed:',
      lines: [`${serve} --pty /tmp/vm-console`, '--log /tmp/vm-console.log --log-size 10M'],
    },
    {
      title: 'At a socket for several clients, and a serial port for the guest agent of QEMU:',
      lines: [
        `${serve} --unix /tmp/vm-console.sock`,
        '--port org.qemu.guest_agent.0=unix:/tmp/qga.sock',
      ],
    },
    {
      title: 'A client for it, left by Ctrl-]:',
      lines: ['socat -,raw,echo=0,escape=0x1d UNIX-CONNECT:/tmp/vm-console.sock'],
    },
  ];
}

/** Examples of `vhost-user vsock-connect`. */
export const CONNECT_EXAMPLES: readonly Example[] = [
  {
    title: 'Log in to a guest over ssh, without a network:',
    lines: [`ssh -o ProxyCommand='vhost-user vsock-connect ${VSOCK_UDS} 22' root@vm`],
  },
  {
    title: 'Wait for a guest that boots, and for its program at port 1234:',
    lines: [`vhost-user vsock-connect --wait 60 ${VSOCK_UDS} 1234`],
  },
];

/** Examples of `vhost-user qemu`. */
export const QEMU_EXAMPLES: readonly Example[] = [
  {
    title: 'A disk, a folder and a vsock; what comes after -- is for QEMU:',
    lines: [
      'vhost-user qemu --blk /tmp/disk.img --fs ~/src:src --vsock 3',
      '-- -m 2G -smp 2 -nographic',
    ],
  },
  { title: 'Mount the folder, in the guest:', lines: [mountLine('src')] },
  {
    title: 'Settings of the devices, as in a configuration file:',
    lines: [
      'vhost-user qemu --blk /tmp/disk.img,read-only,serial=DISK1',
      '--fs ~/src:src,cache=always,writeback --rng max-bytes=4K,period=1000',
      '--console unix:/tmp/console.sock -- -m 2G',
    ],
  },
  {
    title: 'The script, to read or to change, and the same for another monitor:',
    lines: ['vhost-user qemu --blk /tmp/disk.img --print -- -m 2G > /tmp/vm.sh'],
  },
  {
    title: 'A domain for libvirt:',
    lines: ['vhost-user qemu --blk /tmp/disk.img --print --for libvirt > /tmp/vm.xml'],
  },
];

/** Examples of `vhost-user run`. */
export const RUN_EXAMPLES: readonly Example[] = [
  {
    title: 'Write a configuration:',
    lines: [
      "printf '%s\\n' 'devices:' '  - type: blk' '    image: disk.img'",
      "'    socket-path: disk.sock' > /tmp/vms.yaml",
    ],
  },
  { title: 'Check it:', lines: ['vhost-user run --check /tmp/vms.yaml'] },
  { title: 'Serve its devices:', lines: ['vhost-user run /tmp/vms.yaml'] },
  {
    title: 'Let an editor check it while you write:',
    lines: ['vhost-user run --print-schema > /tmp/vhost-user.schema.json'],
  },
];

/** Examples of the whole program. */
export const PROGRAM_EXAMPLES: readonly Example[] = [
  { title: 'All about disks, with the QEMU command line:', lines: ['vhost-user blk --help'] },
  { title: 'All about shared folders:', lines: ['vhost-user fs --help'] },
  { title: 'All about consoles and serial ports:', lines: ['vhost-user console --help'] },
  { title: 'All about sockets between guest and host:', lines: ['vhost-user vsock --help'] },
  { title: 'Completions in this shell:', lines: ['eval "$(vhost-user completion bash)"'] },
];

/** The examples as the end of a help text. */
export function examplesText(examples: readonly Example[], notes: readonly string[] = []): string {
  const parts = ['', 'Examples:'];
  for (const { title, lines } of examples) {
    parts.push(`  ${title}`, `    ${lines.join(' \\\n      ')}`, '');
  }
  for (const note of notes) parts.push(...wrap(note, WIDTH), '');
  return parts.slice(0, -1).join('\n');
}

/** The end of the help text of `vhost-user blk`. */
export function blkHelp(host: QemuHost): string {
  return examplesText(blkExamples(host), host.complete ? [] : ELSEWHERE_NOTES);
}

/** The end of the help text of `vhost-user fs`. */
export function fsHelp(host: QemuHost): string {
  return examplesText(fsExamples(host), host.complete ? [] : FS_ELSEWHERE_NOTES);
}

/** The end of the help text of `vhost-user rng`. */
export function rngHelp(host: QemuHost): string {
  return examplesText(rngExamples(host), host.complete ? [] : FS_ELSEWHERE_NOTES);
}

/** The end of the help text of `vhost-user console`. */
export function consoleHelp(host: QemuHost): string {
  return examplesText(consoleExamples(host), CONSOLE_NOTES);
}

/** The end of the help text of `vhost-user vsock`. */
export function vsockHelp(host: QemuHost): string {
  return examplesText(vsockExamples(host), host.complete ? [] : FS_ELSEWHERE_NOTES);
}
