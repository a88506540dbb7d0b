/**
 * Manual pages in roff, written from the same tree as the help texts. Nothing in them depends on
 * the host that they are made on.
 *
 * @module
 */
import type { Command, Option } from 'commander';
import {
  PROGRAM_EXAMPLES,
  QEMU_EXAMPLES,
  RUN_EXAMPLES,
  blkExamples,
  consoleExamples,
  fsExamples,
  rngExamples,
  vsockExamples,
} from './help.ts';
import type { Example } from './help.ts';
import {
  CONSOLE_NOTES,
  ELSEWHERE_NOTES,
  FS_ELSEWHERE_NOTES,
  qemuBlkLines,
  qemuConsoleLines,
  qemuFsLines,
  qemuHost,
  qemuRngLines,
  qemuVsockLines,
} from './qemu.ts';

const ALWAYS = (): boolean => true;

/** What the page of a device says beside its options. */
interface DeviceText {
  /** Behind the dash of NAME. */
  readonly about: string;
  /** Its placeholder; empty when there is none. */
  readonly argument: string;
  readonly description: readonly string[];
  /** What SIGHUP does; empty when it does nothing. */
  readonly onHangUp: string;
  readonly examples: readonly Example[];
  readonly macLines: readonly string[];
  readonly notes: readonly string[];
}

const LINUX = qemuHost('linux', 'x64', ALWAYS);
const MAC = qemuHost('darwin', 'arm64', ALWAYS);

/** By the name of the command. */
const DEVICES: Readonly<Record<string, DeviceText>> = {
  blk: {
    about: 'a disk for virtual machines',
    argument: 'IMAGE',
    description: [
      'One virtual machine after the other may attach. The program stays in the foreground.',
    ],
    onHangUp: 'Look again how large the image is, and tell the guest.',
    examples: blkExamples(LINUX),
    macLines: qemuBlkLines(MAC, { socketPath: '/tmp/disk.sock', queueCount: 1 }),
    notes: ELSEWHERE_NOTES,
  },
  fs: {
    about: 'a shared folder for virtual machines',
    argument: 'FOLDER',
    description: [
      'One virtual machine after the other may attach, and a guest may reboot. The program stays',
      'in the foreground. The options of virtiofsd are taken, in the older list of',
      '.B \\-o',
      'too; those that mean nothing here say so in the log.',
    ],
    onHangUp: '',
    examples: fsExamples(LINUX),
    macLines: qemuFsLines(MAC, { socketPath: '/tmp/fs.sock', tag: 'share', requestQueueCount: 1 }),
    notes: FS_ELSEWHERE_NOTES,
  },
  rng: {
    about: 'random bytes for virtual machines',
    argument: '',
    description: [
      'One virtual machine after the other may attach, and a guest may reboot. The program stays',
      'in the foreground. Under the name',
      '.B vhost-device-rng',
      '(a link to it) it adds a number to the path of each socket, also to that of a single one,',
      'as that program does.',
    ],
    onHangUp: '',
    examples: rngExamples(LINUX),
    macLines: qemuRngLines(MAC, '/tmp/rng.sock'),
    notes: FS_ELSEWHERE_NOTES,
  },
  console: {
    about: 'a console and serial ports for virtual machines',
    argument: '',
    description: [
      'One virtual machine after the other may attach, and a guest may reboot. The program stays',
      'in the foreground. A terminal that it runs on is raw while a guest is there: every key is',
      "the guest's, but for the one that leaves.",
    ],
    onHangUp: 'Open the log files anew, after another program has moved them away.',
    examples: consoleExamples(LINUX),
    macLines: qemuConsoleLines(MAC, { socketPath: '/tmp/console.sock', queueCount: 4 }),
    notes: CONSOLE_NOTES,
  },
  vsock: {
    about: 'sockets between virtual machines and this host',
    argument: '',
    description: [
      'One virtual machine after the other may attach, and a guest may reboot. The program stays',
      'in the foreground. The options and files of vhost-device-vsock are taken.',
    ],
    onHangUp: '',
    examples: vsockExamples(LINUX),
    macLines: qemuVsockLines(MAC, { socketPath: '/tmp/vsock.sock' }),
    notes: FS_ELSEWHERE_NOTES,
  },
};

/** All pages by file name. */
export function manPages(program: Command, version: string): Map<string, string> {
  const pages = new Map([['vhost-user.1', programPage(program, version)]]);
  for (const [name, text] of Object.entries(DEVICES)) {
    const command = program.commands.find((each) => each.name() === name);
    if (command !== undefined) {
      pages.set(`vhost-user-${name}.1`, devicePage(command, text, version));
    }
  }
  return pages;
}

function programPage(program: Command, version: string): string {
  const commands = program.createHelp().visibleCommands(program);
  const devices = Object.keys(DEVICES);
  const rest = commands.filter((command) => ![...devices, 'help'].includes(command.name()));
  return join([
    ...header('vhost-user', version),
    '.SH NAME',
    'vhost-user \\- virtual devices for virtual machines',
    '.SH SYNOPSIS',
    ...commands.map((command) => synopsis('vhost-user', command)).flatMap(broken),
    '.SH DESCRIPTION',
    escape(program.description()),
    'A virtual machine monitor, such as QEMU, attaches to the socket and hands over the memory of',
    'its guest; this program serves the requests of the guest.',
    '.SH COMMANDS',
    ...commands.filter((command) => devices.includes(command.name())).flatMap(deviceSection),
    ...rest.flatMap(commandSection),
    '.SH CONFIGURATION FILE',
    'The file of',
    '.B vhost-user run',
    'is YAML or JSON. Settings of a device have the names of the options of its command, without',
    'the dashes; what an option switches off is a setting that is false.',
    ...verbatim(CONFIG_EXAMPLE),
    ...examples([...PROGRAM_EXAMPLES, ...QEMU_EXAMPLES, ...RUN_EXAMPLES]),
    ...ending([...devices.map((name) => `.BR vhost-user-${name} (1),`), '.BR qemu (1)']),
  ]);
}

const CONFIG_EXAMPLE: readonly string[] = [
  'log-level: info',
  'devices:',
  '  - type: blk',
  '    name: root',
  '    image: root.img',
  '    socket-path: /run/vms/root.sock',
  '  - type: blk',
  '    name: data',
  '    image: data.img',
  '    read-only: true',
  '    num-queues: 2',
  '    discard: false',
  '    activation: data      # FileDescriptorName= of a systemd socket',
  '  - type: fs',
  '    name: home',
  '    shared-dir: /home',
  '    cache: always',
  '    socket-path: /run/vms/home.sock',
];

function devicePage(command: Command, text: DeviceText, version: string): string {
  const name = command.name();
  const argument = text.argument === '' ? '' : ` \\fI${text.argument}\\fR`;
  const hangUp = text.onHangUp === '' ? [] : ['.TP', '.B SIGHUP', text.onHangUp];
  return join([
    ...header(`vhost-user-${name}`, version),
    '.SH NAME',
    `vhost-user-${name} \\- ${text.about}`,
    '.SH SYNOPSIS',
    `.B vhost-user ${name}`,
    `[\\fIOPTION\\fR]...${argument}`,
    '.br',
    `.B vhost-user-${name}`,
    `[\\fIOPTION\\fR]...${argument}`,
    '.SH DESCRIPTION',
    escape(command.description()),
    ...text.description,
    ...optionSections(command),
    '.SH SIGNALS',
    '.TP',
    '.BR SIGTERM ,\\  SIGINT',
    'End: the requests that are under way are completed, and the socket is removed.',
    ...hangUp,
    ...examples(text.examples),
    '.PP',
    'With QEMU on macOS:',
    ...verbatim([text.macLines.join(' \\\n  ')]),
    ...text.notes.flatMap((note) => ['.PP', escape(note)]),
    ...ending(['.BR vhost-user (1),', '.BR qemu (1)']),
  ]);
}

/** A device among the commands: it has a page of its own. */
function deviceSection(command: Command): string[] {
  const name = command.name();
  return [
    ...['.TP', `.B ${name}`, `${sentence(command.summary())} See`],
    `.BR vhost-user-${name} (1).`,
  ];
}

function header(name: string, version: string): string[] {
  return [
    `.\\" Made by 'vhost-user man --dir man' from the command line's own tree; do not edit.`,
    `.TH ${name.toUpperCase().replaceAll('-', '\\-')} 1 "" "vhost-user ${version}" "User Commands"`,
  ];
}

function synopsis(program: string, command: Command): string {
  const name = escape(`${program} ${command.name()}`);
  const usage = command.usage().replace('[options]', '[OPTION]...').replace(/[<>]/g, '');
  return `\\fB${name}\\fR ${escape(usage)}`;
}

function broken(line: string): string[] {
  return [line, '.br'];
}

function commandSection(command: Command): string[] {
  const lines = ['.TP', `.B ${escape(command.name())}`, escape(command.description())];
  const options = optionsOf(command).filter((option) => option.long !== '--help');
  if (options.length === 0) return lines;
  return [...lines, '.RS', ...options.flatMap(optionLines), '.RE'];
}

/** The options under the headings that the help text has. */
function optionSections(command: Command): string[] {
  const groups = new Map<string, Option[]>();
  for (const option of optionsOf(command)) {
    const heading = (option.helpGroupHeading ?? 'Options:').replace(/:$/, '');
    groups.set(heading, [...(groups.get(heading) ?? []), option]);
  }
  const sections = [...groups].flatMap(([heading, options]) => {
    return [`.SS ${escape(heading)}`, ...options.flatMap(optionLines)];
  });
  return ['.SH OPTIONS', ...sections];
}

function optionLines(option: Option): string[] {
  const flags = option.flags.replace(/<([^>]+)>/, '\\fI$1\\fR').replaceAll('-', '\\-');
  const choices = option.argChoices === undefined ? '' : ` One of ${option.argChoices.join(', ')}.`;
  const value: unknown = option.defaultValue;
  const standard = typeof value === 'string' ? ` Default: ${value}.` : '';
  return [
    '.TP',
    `\\fB${flags}\\fR`,
    escape(`${sentence(option.description)}${choices}${standard}`),
  ];
}

function examples(list: readonly Example[]): string[] {
  const lines = list.flatMap(({ title, lines: command }) => {
    return ['.PP', escape(title), ...verbatim([command.join(' \\\n  ')])];
  });
  return ['.SH EXAMPLES', ...lines];
}

function verbatim(lines: readonly string[]): string[] {
  return [
    '.PP',
    '.RS 4',
    '.nf',
    ...lines.flatMap((line) => line.split('\n')).map(escape),
    '.fi',
    '.RE',
  ];
}

function ending(seeAlso: readonly string[]): string[] {
  return [
    '.SH EXIT STATUS',
    '.TP',
    '.B 0',
    'All went well, or a signal asked for the end.',
    '.TP',
    '.B 1',
    'Something failed: the text on stderr says what, and what to do about it.',
    '.TP',
    '.B 2',
    'The command line or the configuration file is wrong; nothing was started.',
    '.SH ENVIRONMENT',
    '.TP',
    '.BR LISTEN_FDS ", " LISTEN_PID ", " LISTEN_FDNAMES',
    'Sockets that systemd has opened, when neither a path nor a descriptor is given.',
    '.TP',
    '.B NO_COLOR',
    'When it is not empty, the log on a terminal has no colours.',
    '.SH SEE ALSO',
    ...seeAlso,
  ];
}

function optionsOf(command: Command): Option[] {
  return command.createHelp().visibleOptions(command);
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

/** Text as roff prints it: backslashes and dashes are meant, and no line begins with a control. */
function escape(text: string): string {
  // Quotes and tildes would become typographic ones, which no shell takes.
  const plain = text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('~', '\\(ti');
  return plain.startsWith('.') ? `\\&${plain}` : plain;
}

function join(lines: readonly string[]): string {
  return `${lines.join('\n')}\n`;
}
