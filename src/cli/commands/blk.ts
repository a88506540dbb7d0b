/**
 * `vhost-user blk`: a disk out of a raw image or a block device.
 *
 * @module
 */
import { Option } from 'commander';
import type { Command } from 'commander';
import { UsageError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import {
  addInformationOptions,
  addLogOptions,
  addSandboxOptions,
  addSocketOptions,
  serialNumber,
  wholeNumber,
} from '../options.ts';
import type { LogOptions, SandboxOptions, SocketOptions } from '../options.ts';

/** What the command line says, by commander's names. */
export interface BlkCommandOptions extends SocketOptions, SandboxOptions, LogOptions {
  readonly blkFile?: string;
  readonly readOnly?: boolean;
  readonly serial?: string;
  readonly direct?: boolean;
  readonly engine?: 'auto' | 'io_uring' | 'pread';
  readonly blockSize?: number;
  readonly format?: 'auto' | 'raw';
  readonly discard: boolean;
  readonly lock: boolean;
  readonly numQueues?: number;
  readonly queueSize?: number;
  readonly threads?: number;
  readonly pollUs?: number;
}

const HELP = 'vhost-user blk --help';

/** Adds the command to the program. */
export function addBlkCommand(program: Command): Command {
  const command = program
    .command('blk')
    .summary('serve a disk')
    .description(
      'Serves a raw image file or a block device as a virtio disk to a virtual machine, over a ' +
        'vhost-user socket.',
    )
    .argument('[IMAGE]', 'the image file or block device')
    .showHelpAfterError(`Try '${HELP}'.`);
  addImageOptions(command);
  addSocketOptions(command);
  addQueueOptions(command);
  addSandboxOptions(command);
  addLogOptions(command);
  return addInformationOptions(command).action(serveBlk);
}

function addImageOptions(command: Command): void {
  command
    .optionsGroup('Image:')
    .option('--blk-file <PATH>', 'the same as IMAGE')
    .option('--read-only', 'the guest may not write')
    .addOption(
      new Option(
        '--serial <TEXT>',
        'the serial number that the guest sees, up to 20 bytes',
      ).argParser(serialNumber),
    )
    .option('--direct', "read and write past this host's page cache")
    .addOption(
      new Option(
        '--engine <NAME>',
        'how files are read and written (default: the fastest here)',
      ).choices(['auto', 'io_uring', 'pread']),
    )
    .addOption(
      new Option(
        '--block-size <BYTES>',
        "the guest's logical block (default: the image's own)",
      ).argParser(wholeNumber(LIMITS.blockBytes)),
    )
    .addOption(
      new Option(
        '--format <NAME>',
        'raw serves an image that looks like one of another format (default: auto, which refuses)',
      ).choices(['auto', 'raw']),
    )
    .option('--no-discard', 'do not let the guest give space back')
    .option('--no-lock', 'do not lock the image against other programs');
}

function addQueueOptions(command: Command): void {
  command
    .optionsGroup('Queues and threads:')
    .addOption(
      new Option(
        '--num-queues <N>',
        'virtqueues; at least as many as QEMU wants (default: 1)',
      ).argParser(wholeNumber(LIMITS.queueCount)),
    )
    .addOption(
      new Option('--queue-size <N>', 'the longest queue, a power of two (default: 1024)').argParser(
        wholeNumber(LIMITS.queueSize),
      ),
    )
    .addOption(
      new Option('--threads <N>', 'threads that serve the queues (default: 1)').argParser(
        wholeNumber(LIMITS.threads),
      ),
    )
    .addOption(
      new Option(
        '--poll-us <N>',
        'poll so many microseconds at most before sleeping (default: 64)',
      ).argParser(wholeNumber(LIMITS.pollUs)),
    );
}

async function serveBlk(image: string | undefined, options: BlkCommandOptions): Promise<void> {
  const path = imagePath(image, options.blkFile);
  const { numQueues = 1, threads = 1 } = options;
  if (threads > numQueues) {
    throw new UsageError(
      `--threads ${threads} and --num-queues ${numQueues}: a thread without a queue has no work, ` +
        `so give --num-queues ${threads} at least`,
      HELP,
    );
  }
  // What serves is loaded now, so that wrong usage and help are quick.
  const { blkNeeds, enterDeviceSandbox, socketNeeds } = await import('../enter-sandbox.ts');
  const needs = [blkNeeds(path, options.readOnly === true), socketNeeds(options)];
  enterDeviceSandbox(options, needs);
  const { serveOneBlk } = await import('../serve-blk.ts');
  process.exitCode = await serveOneBlk(path, options, HELP);
}

function imagePath(image: string | undefined, blkFile: string | undefined): string {
  if (image !== undefined && blkFile !== undefined && image !== blkFile) {
    throw new UsageError(`IMAGE is ${image} and --blk-file is ${blkFile}: give one of them`, HELP);
  }
  const path = image ?? blkFile;
  if (path === undefined || path === '') {
    throw new UsageError('which image? Give the path of a raw image or a block device', HELP);
  }
  return path;
}
