/**
 * The command line as a tree: what help, completions and manual pages are made from.
 *
 * This file and `commands/` are all that is loaded to read a command line; what a command needs to
 * do its work it loads itself.
 *
 * @module
 */
import { Command } from 'commander';
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
import { print } from './output.ts';

/** The name under which the program is known. */
export const PROGRAM = 'vhost-user';

/** Makes the tree. Errors are thrown as CommanderError, with their text already printed. */
export function buildProgram(): Command {
  const program = new Command(PROGRAM)
    .description('Virtual devices for virtual machines, over vhost-user sockets.')
    .usage('COMMAND [OPTIONS]')
    .exitOverride()
    .configureOutput({
      writeOut: print,
      outputError: (text, write) => write(text.replace(/^error: /, `${PROGRAM}: `)),
    })
    .showHelpAfterError(`Try '${PROGRAM} --help'.`)
    .helpOption('-h, --help', 'show this help')
    .helpCommand('help [COMMAND]', 'show the help of a command')
    .option('-V, --version', 'print the version');
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

/** Adds the examples; a host's facts are needed for them, which take a moment to find. */
export async function addExamples(program: Command): Promise<void> {
  const {
    PROGRAM_EXAMPLES,
    RUN_EXAMPLES,
    QEMU_EXAMPLES,
    CONNECT_EXAMPLES,
    blkHelp,
    examplesText,
    fsHelp,
    rngHelp,
    consoleHelp,
    vsockHelp,
  } = await import('./help.ts');
  const { qemuHost } = await import('./qemu.ts');
  const { host } = await import('../sys/index.ts');
  const { os, arch } = host();
  const texts: Readonly<Record<string, string>> = {
    [PROGRAM]: examplesText(PROGRAM_EXAMPLES),
    blk: blkHelp(qemuHost(os, arch)),
    fs: fsHelp(qemuHost(os, arch)),
    vsock: vsockHelp(qemuHost(os, arch)),
    rng: rngHelp(qemuHost(os, arch)),
    console: consoleHelp(qemuHost(os, arch)),
    run: examplesText(RUN_EXAMPLES),
    qemu: examplesText(QEMU_EXAMPLES),
    'vsock-connect': examplesText(CONNECT_EXAMPLES),
  };
  for (const command of [program, ...program.commands]) {
    const text = texts[command.name()];
    if (text !== undefined) command.addHelpText('after', text);
  }
}

/** Whether the word after an option of a command is its value. */
export function takesValue(program: Command, name: string): (option: string) => boolean {
  const command = program.commands.find((each) => each.name() === name);
  const options = (command?.options ?? []).filter(({ required }) => required);
  const flags = new Set(options.flatMap(({ long, short }) => [long, short]));
  return (option) => flags.has(option);
}
