/**
 * `vhost-user fs`: a folder of this host, an archive or memory as a file system of a guest.
 *
 * @module
 */
import { Option } from 'commander';
import type { Command } from 'commander';
import { UsageError } from '../errors.ts';
import { ACL_MODES, CACHE_MODES, OWNERS, fsFaults } from '../fs-settings.ts';
import type { FsChoices } from '../fs-settings.ts';
import { LIMITS } from '../limits.ts';
import { loadInTurn } from '../load-in-turn.ts';
import {
  VIRTIOFSD_SANDBOXES,
  addInformationOptions,
  addLogOptions,
  addSandboxOptions,
  addSocketOptions,
  byteSize,
  collected,
  fsTag,
  wholeNumber,
} from '../options.ts';
import type { LogOptions, SandboxOptions, SocketOptions } from '../options.ts';
import type { WithoutMeaning } from '../virtiofsd.ts';

/** What the command line says, by commander's names. */
export interface FsCommandOptions
  extends
    FsChoices,
    Omit<WithoutMeaning, keyof SandboxOptions>,
    SocketOptions,
    SandboxOptions,
    LogOptions {}

const HELP = 'vhost-user fs --help';

/** Adds the command to the program. */
export function addFsCommand(program: Command): Command {
  const command = program
    .command('fs')
    .summary('share a folder')
    .description(
      'Shares a folder of this host with a virtual machine as a virtio file system, over a ' +
        'vhost-user socket. Takes the options of virtiofsd.',
    )
    .argument('[FOLDER]', 'the folder')
    .showHelpAfterError(`Try '${HELP}'.`);
  addSourceOptions(command);
  addSocketOptions(command);
  addCacheOptions(command);
  addOwnerOptions(command);
  addAttributeOptions(command);
  addQueueOptions(command);
  addVirtiofsdOptions(command);
  addSandboxOptions(command, VIRTIOFSD_SANDBOXES);
  addLogOptions(command);
  return addInformationOptions(command).action(serveFs);
}

function addSourceOptions(command: Command): void {
  command
    .optionsGroup('File system (one of FOLDER, --archive and --memory):')
    .option('--shared-dir <FOLDER>', 'the same as FOLDER')
    .option('--archive <FILE>', 'what is in a .tar, .tar.gz or .zip, read-only')
    .addOption(
      new Option(
        '--memory [SIZE]',
        'a file system in memory, empty at first, of at most SIZE, such as 512M',
      ).argParser(byteSize),
    )
    .option('--preload <PATH>', 'what is in the memory at first: a folder or an archive')
    .addOption(
      new Option(
        '--tag <NAME>',
        "what the guest mounts, up to 36 bytes (default: the folder's name)",
      ).argParser(fsTag),
    )
    .option('--readonly', 'the guest may only read')
    .option('--announce-submounts', 'mounts below the folder are mounts in the guest (default)')
    .option('--no-announce-submounts', 'they are folders as others');
}

function addCacheOptions(command: Command): void {
  command
    .optionsGroup('Caches of the guest:')
    .addOption(
      new Option(
        '--cache <MODE>',
        'how long the guest believes what it has seen (default: auto)',
      ).choices(CACHE_MODES),
    )
    .option('--writeback', 'the guest may delay what it writes')
    .option('--allow-mmap', 'files can be mapped with --cache never and metadata, too')
    .option('--allow-direct-io', "the guest's O_DIRECT reaches this host's files")
    .option('--no-readdirplus', 'list names without their attributes')
    .option('--shared-locks', "locks of the guest's programs are locks on this host")
    .option('--preserve-noatime', "the guest's O_NOATIME reaches this host's files");
}

function addOwnerOptions(command: Command): void {
  const map = (flags: string, text: string): Option => new Option(flags, text).argParser(collected);
  command
    .optionsGroup('Owners:')
    .addOption(
      new Option('--owner <HOW>', 'who owns files in the guest (default: host)').choices(OWNERS),
    )
    .addOption(
      new Option(
        '--squash-uid <N>',
        'who that is with squash; with xattr, whose files are that say nothing (default: 0)',
      ).argParser(wholeNumber(LIMITS.id)),
    )
    .addOption(
      new Option('--squash-gid <N>', 'the same for the group (default: 0)').argParser(
        wholeNumber(LIMITS.id),
      ),
    )
    .addOption(map('--translate-uid <RULE>', 'TYPE:FROM:TO:COUNT, as in virtiofsd; repeatable'))
    .addOption(map('--translate-gid <RULE>', 'the same for groups'))
    .addOption(map('--uid-map <RULE>', ':GUEST:HOST:COUNT:, both ways; repeatable'))
    .addOption(map('--gid-map <RULE>', 'the same for groups'))
    .option('--killpriv-v2', 'writing clears setuid and setgid on this host (default)')
    .option('--no-killpriv-v2', "clearing them is left to the guest's kernel");
}

function addAttributeOptions(command: Command): void {
  command
    .optionsGroup('Extended attributes:')
    .option('--xattr', 'the guest may have extended attributes')
    .option('--xattrmap <RULES>', 'their names on this host, as in virtiofsd; implies --xattr')
    .addOption(
      new Option(
        '--posix-acl [MODE]',
        'access control lists; implies --xattr (default: never; without a value: always)',
      ).choices(ACL_MODES),
    );
}

function addQueueOptions(command: Command): void {
  command
    .optionsGroup('Queues and resources:')
    .addOption(
      new Option(
        '--num-request-queues <N>',
        'request queues; at least as many as QEMU wants (default: 1)',
      ).argParser(wholeNumber(LIMITS.requestQueueCount)),
    )
    .addOption(
      new Option('--queue-size <N>', 'the longest queue, a power of two (default: 1024)').argParser(
        wholeNumber(LIMITS.queueSize),
      ),
    )
    .addOption(
      new Option(
        '--poll-us <N>',
        'poll so many microseconds at most before sleeping (default: 200)',
      ).argParser(wholeNumber(LIMITS.pollUs)),
    )
    .addOption(
      new Option(
        '--rlimit-nofile <N>',
        'open so many files at most (default: as many as this user may)',
      ).argParser(wholeNumber(LIMITS.openFiles)),
    );
}

/** What is taken so that scripts and libvirt go on working, and said to be without effect. */
function addVirtiofsdOptions(command: Command): void {
  command
    .optionsGroup('Taken for the sake of virtiofsd, without effect here:')
    .addOption(
      new Option('--thread-pool-size <N>', 'it is not needed').argParser(
        wholeNumber(LIMITS.threadPool),
      ),
    )
    .addOption(
      new Option('--inode-file-handles <MODE>', 'there are none').choices([
        'never',
        'prefer',
        'mandatory',
      ]),
    )
    .option('--modcaps <LIST>', 'the sandbox leaves what it leaves')
    .option('--syslog', 'the log goes to standard error');
}

async function serveFs(folder: string | undefined, options: FsCommandOptions): Promise<void> {
  const choices = { ...options, sharedDir: folderPath(folder, options.sharedDir) };
  const { sharedDir, archive, memory } = choices;
  const [fault] = fsFaults(choices);
  if (fault !== undefined) throw new UsageError(`--${fault.key} ${fault.text}`, HELP);
  if (sharedDir === undefined && archive === undefined && memory === undefined) {
    throw new UsageError('which folder? Give the path of a folder to share', HELP);
  }
  // What serves is loaded now, so that wrong usage and help are quick.
  const { enterDeviceSandbox, fsNeeds, socketNeeds } = await import('../enter-sandbox.ts');
  enterDeviceSandbox(options, [fsNeeds(choices), socketNeeds(options)]);
  await loadInTurn();
  const { serveOneFs } = await import('../serve-fs.ts');
  process.exitCode = await serveOneFs(choices, HELP);
}

function folderPath(folder: string | undefined, sharedDir: string | undefined): string | undefined {
  if (folder !== undefined && sharedDir !== undefined && folder !== sharedDir) {
    throw new UsageError(
      `FOLDER is ${folder} and --shared-dir is ${sharedDir}: give one of them`,
      HELP,
    );
  }
  const path = folder ?? sharedDir;
  if (path === '') throw new UsageError('which folder? Its path is empty', HELP);
  return path;
}
