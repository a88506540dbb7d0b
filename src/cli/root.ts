/**
 * The command line without its commands, and what is said of all of them.
 *
 * @module
 */
import { Command } from 'commander';
import { print } from './output.ts';
import { usageText } from './usage-text.ts';

/** The name under which the program is known. */
export const PROGRAM = 'vhost-user';

/** Adds a command to a program. */
export type AddCommand = (program: Command) => Command;

/** The commands that serve; each is loaded by itself, since each start of one counts. */
const SERVING: Readonly<Record<string, () => Promise<AddCommand>>> = {
  blk: async () => (await import('./commands/blk.ts')).addBlkCommand,
  fs: async () => (await import('./commands/fs.ts')).addFsCommand,
  vsock: async () => (await import('./commands/vsock.ts')).addVsockCommand,
  rng: async () => (await import('./commands/rng.ts')).addRngCommand,
  console: async () => (await import('./commands/console.ts')).addConsoleCommand,
  run: async () => (await import('./commands/run.ts')).addRunCommand,
};

/**
 * The program with what these words of a command line need: the one command that serves, or all.
 * Errors are thrown as CommanderError, with their text already printed.
 */
export async function programFor(words: readonly string[]): Promise<Command> {
  const name = words[0] ?? '';
  const load = Object.hasOwn(SERVING, name) ? SERVING[name] : undefined;
  if (load === undefined) return (await import('./program.ts')).buildProgram(words);
  const program = rootCommand(words);
  (await load())(program);
  return program;
}

/** The program without a command; errors name the words that it was called with. */
export function rootCommand(words: readonly string[] = []): Command {
  const program = new Command(PROGRAM);
  return program
    .description('Virtual devices for virtual machines, over vhost-user sockets.')
    .usage('COMMAND [OPTIONS]')
    .exitOverride()
    .configureOutput({
      writeOut: print,
      outputError: (text, write) => write(usageText(text, { program, words })),
    })
    .showHelpAfterError(`Try '${PROGRAM} --help'.`)
    .helpOption('-h, --help', 'show this help')
    .helpCommand('help [COMMAND]', 'show the help of a command')
    .option('-V, --version', 'print the version');
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
  // Help is to be had where nothing native loads.
  const { os, arch } = (await import('../abi/index.ts')).THIS_HOST;
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
