/**
 * The command line as a tree: what help, completions and manual pages are made from.
 *
 * To read a command line no more is loaded than this file, or `root.ts` alone for a command that
 * serves, and `commands/`; what a command needs to do its work it loads itself.
 *
 * @module
 */
import type { Command } from 'commander';
import { addBlkCommand } from './commands/blk.ts';
import { addCompletionCommand } from './commands/completion.ts';
import { addConsoleCommand } from './commands/console.ts';
import { addDescriptionCommand } from './commands/description.ts';
import { addDoctorCommand } from './commands/doctor.ts';
import { addFsCommand } from './commands/fs.ts';
import { addManCommand } from './commands/man.ts';
import { addQemuCommand } from './commands/qemu.ts';
import { addRngCommand } from './commands/rng.ts';
import { addRunCommand } from './commands/run.ts';
import { addVsockCommand } from './commands/vsock.ts';
import { addVsockConnectCommand } from './commands/vsock-connect.ts';
import { rootCommand } from './root.ts';

/** Makes the tree. Errors are thrown as CommanderError, with their text already printed. */
export function buildProgram(words: readonly string[] = []): Command {
  const program = rootCommand(words);
  program.commandsGroup('Devices:');
  addBlkCommand(program);
  addFsCommand(program);
  addVsockCommand(program);
  addRngCommand(program);
  addConsoleCommand(program);
  addRunCommand(program);
  program.commandsGroup('Virtual machines:');
  addQemuCommand(program);
  program.commandsGroup('For your programs:');
  addVsockConnectCommand(program);
  program.commandsGroup('For your system:');
  addDoctorCommand(program);
  addDescriptionCommand(program);
  addCompletionCommand(program);
  addManCommand(program);
  return program;
}
