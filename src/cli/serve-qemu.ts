/**
 * `vhost-user qemu` at work: serves devices in this process and runs QEMU with them, or prints how
 * a monitor is to be run.
 *
 * @module
 */
import { accessSync, constants } from 'node:fs';
import type { LogLevel } from '../backend/index.ts';
import type { QemuProbe } from '../qemu/index.ts';
import { host } from '../sys/index.ts';
import type { DeviceType } from './config-schema.ts';
import { UsageError } from './errors.ts';
import type { LogFormat } from './options.ts';
import { print } from './output.ts';
import { qemuDevices } from './qemu-job.ts';
import type { QemuDevice } from './qemu-job.ts';
import { configEntries } from './serve-config.ts';
import { openLog, serve } from './serve.ts';
import type { ServeEntry } from './serve.ts';
import { shellWord } from './shell.ts';
import { assumedQemu, findQemu, missingQemu, namedQemu } from './vmm/choose-qemu.ts';
import type { QemuNeeds } from './vmm/choose-qemu.ts';
import {
  cloudHypervisorScript,
  crosvmScript,
  libkrunText,
  libvirtText,
  qemuScript,
} from './vmm/print.ts';
import type { Monitor, PrintJob } from './vmm/print.ts';
import { readQemuArguments } from './vmm/qemu-arguments.ts';
import type { QemuArguments } from './vmm/qemu-arguments.ts';
import { qemuRemarks } from './vmm/qemu-fitness.ts';
import { planQemu, planWords } from './vmm/qemu-plan.ts';
import type { QemuHostFacts } from './vmm/qemu-plan.ts';
import { QemuProcess } from './vmm/qemu-process.ts';
import type { ServerCommand } from './vmm/shell-script.ts';
import { SocketFolder } from './vmm/socket-folder.ts';

/** What is asked for. */
export interface QemuWishes {
  readonly devices: readonly { readonly type: DeviceType; readonly text: string }[];
  readonly config: string | undefined;
  /** A name or path; the first of this host that can do it without one. */
  readonly qemu: string | undefined;
  readonly socketDir: string | undefined;
  /** The monitor's own arguments. */
  readonly words: readonly string[];
}

const HELP = 'vhost-user qemu --help';

/** The folder of a script, which cannot know what is free where it will run. */
const PRINTED_FOLDER = '/tmp/vhost-user-vm';

const NO_ARGUMENTS: QemuArguments = readQemuArguments([]);

/** Runs QEMU with the devices and returns its exit code. */
export async function runQemu(
  wishes: QemuWishes,
  log: { readonly level: LogLevel; readonly format: LogFormat },
): Promise<number> {
  const user = readQemuArguments(wishes.words);
  const folder = new SocketFolder(wishes.socketDir ?? null);
  try {
    const devices = devicesOf(wishes, user.cpuCount, folder.path);
    const needs = needsOf(devices, user);
    const { host: facts, attachments } = needs;
    const qemu =
      wishes.qemu === undefined ? await findQemu(needs) : await namedQemu(wishes.qemu, needs);
    if (qemu === null) throw missingQemu(facts.arch);
    const words = planWords(planQemu(qemu, facts, attachments, user));
    const out = openLog(log.level, log.format);
    for (const remark of qemuRemarks(qemu, facts.os))
      out.write('warn', remark, { event: 'remark' });
    out.write('info', `starting ${words.map(shellWord).join(' ')}`, { event: 'starting' });
    const entries = configEntries(
      devices.map(({ config }) => config),
      HELP,
    );
    folder.keep(attachments.map(({ socketPath }) => socketPath));
    const process = new QemuProcess(words, folder, (served) => tell(devices, served));
    return await serve(entries, out, process);
  } finally {
    folder.remove();
  }
}

/** What a user has to know before QEMU has the terminal: places that he has not chosen. */
function tell(devices: readonly QemuDevice[], entries: readonly ServeEntry[]): void {
  const lines = devices.flatMap(({ config, udsPath }, i) => {
    if (udsPath !== null) {
      const reach = `vhost-user vsock-connect ${udsPath} PORT`;
      return `${config.name}: the ports of the guest are reached by ${reach}`;
    }
    const isElsewhere = config.type === 'console' && config.choices.pty === true;
    return isElsewhere ? `${config.name}: ${entries[i]?.describe() ?? ''}` : [];
  });
  for (const line of lines) process.stderr.write(`vhost-user: ${line}\n`);
}

/** Prints how a monitor is run with the devices. */
export async function printMonitor(monitor: Monitor, wishes: QemuWishes): Promise<void> {
  const isQemu = monitor === 'qemu' || monitor === 'libvirt';
  if (monitor === 'libkrun' && wishes.words.some((word) => !/^(-m|-smp|\d.*)$/.test(word))) {
    throw new UsageError('libkrun has no command line: only -m and -smp can be given', HELP);
  }
  const isCounted = isQemu || monitor === 'libkrun';
  const user = isCounted ? readQemuArguments(wishes.words) : NO_ARGUMENTS;
  const folder = wishes.socketDir ?? PRINTED_FOLDER;
  const devices = devicesOf(wishes, user.cpuCount, folder);
  const job: PrintJob = {
    host: hostFacts(),
    attachments: devices.map(({ attachment }) => attachment),
    servers: serversOf(devices, wishes.config),
    folder: usesFolder(devices, folder) ? folder : null,
  };
  print(await monitorText(monitor, job, user, wishes));
}

async function monitorText(
  monitor: Monitor,
  job: PrintJob,
  user: QemuArguments,
  wishes: QemuWishes,
): Promise<string> {
  switch (monitor) {
    case 'qemu': {
      const needs = { ...needsOfJob(user), host: job.host, attachments: job.attachments };
      const found = await qemuToPrint(wishes.qemu, needs);
      return qemuScript(job, found ?? assumedQemu(job.host), user, found === null);
    }
    case 'cloud-hypervisor':
      return cloudHypervisorScript(job, wishes.words);
    case 'crosvm':
      return crosvmScript(job, wishes.words);
    case 'libkrun':
      return libkrunText(job, user);
    case 'libvirt':
      return libvirtText(job, user);
  }
}

async function qemuToPrint(name: string | undefined, needs: QemuNeeds): Promise<QemuProbe | null> {
  return name === undefined ? await findQemu(needs) : await namedQemu(name, needs);
}

function devicesOf(wishes: QemuWishes, cpuCount: number, folder: string): QemuDevice[] {
  if (wishes.devices.length === 0 && wishes.config === undefined) {
    throw new UsageError(
      'which devices? Give --blk, --fs, --vsock, --rng, --console, or --config FILE',
      HELP,
    );
  }
  return qemuDevices({ texts: wishes.devices, config: wishes.config, cpuCount, folder });
}

function needsOf(devices: readonly QemuDevice[], user: QemuArguments): QemuNeeds {
  const attachments = devices.map(({ attachment }) => attachment);
  return { ...needsOfJob(user), host: hostFacts(), attachments };
}

function needsOfJob(user: QemuArguments): Pick<QemuNeeds, 'needsMemory' | 'searchPath'> {
  return {
    needsMemory: !user.ownsMemory && user.memoryPath === null,
    searchPath: process.env.PATH ?? '',
  };
}

function hostFacts(): QemuHostFacts {
  const { os, arch } = host();
  return { os, arch, mayUseKvm: mayOpen('/dev/kvm') };
}

function mayOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Each device by a command of its own, those of a file by one. */
function serversOf(devices: readonly QemuDevice[], config: string | undefined): ServerCommand[] {
  const single = devices.flatMap(({ command }) => command ?? []);
  const ofFile = devices.filter(({ command }) => command === null);
  if (config === undefined || ofFile.length === 0) return single;
  const socketPaths = ofFile.map(({ attachment }) => attachment.socketPath);
  return [...single, { title: config, words: ['vhost-user', 'run', config], socketPaths }];
}

function usesFolder(devices: readonly QemuDevice[], folder: string): boolean {
  return devices.some(({ attachment }) => attachment.socketPath.startsWith(`${folder}/`));
}
