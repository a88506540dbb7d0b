/**
 * A virtual machine with its devices as a script for any POSIX shell: it starts the devices, waits
 * for their sockets, runs the monitor and ends the devices after it.
 *
 * @module
 */
import { shellWord } from '../shell.ts';

/** A device and the command that serves it. */
export interface ServerCommand {
  readonly title: string;
  readonly words: readonly string[];
  /** All sockets that it makes for front-ends. */
  readonly socketPaths: readonly string[];
}

/** The parts of a script. */
export interface ShellScript {
  /** What it does, in comments at its top. */
  readonly about: readonly string[];
  /** A folder of its own that the script makes and takes away; null when there is none. */
  readonly folder: string | null;
  readonly servers: readonly ServerCommand[];
  /** Comments on the monitor's command line. */
  readonly remarks: readonly string[];
  /** The monitor's words: the program, then options with their values, one of them a line. */
  readonly monitor: readonly (readonly string[])[];
}

/** Writes the script. */
export function shellScript(script: ShellScript): string {
  const { about, folder, servers, remarks, monitor } = script;
  return [
    '#!/bin/sh',
    ...comments(about),
    '',
    ...PROLOGUE,
    ...(folder === null ? [] : folderLines(folder)),
    ...servers.flatMap(serverLines),
    '',
    ...comments(remarks),
    commandLines(monitor, '  '),
    '',
  ].join('\n');
}

/** Words in lines that end with a backslash, quoted for a shell. */
export function commandLines(lines: readonly (readonly string[])[], indent: string): string {
  return lines.map((words) => words.map(shellWord).join(' ')).join(` \\\n${indent}`);
}

/** A device has to be there before the monitor looks for it, and goes when the monitor has. */
const PROLOGUE: readonly string[] = [
  'servers=',
  'folder=',
  'made=',
  '# In its sandbox a device may be unable to take its sockets away',
  'end() {',
  '  kill $servers',
  '  wait',
  '  printf %s "$made" | while IFS= read -r socket; do rm -f "$socket"; done',
  '  [ -z "$folder" ] || rmdir "$folder"',
  '}',
  'trap end EXIT',
  "trap 'exit 1' HUP INT TERM",
  '',
  '# Starts a device and waits for its sockets: serve SOCKETS COMMAND',
  'serve() {',
  '  sockets=$1',
  '  shift',
  '  "$@" &',
  '  servers="$servers $!"',
  '  while IFS= read -r socket; do',
  '    until [ -S "$socket" ]; do kill -0 $! || exit 1; sleep 0.1; done',
  '    made="$made$socket',
  '"',
  '  done <<END',
  '$sockets',
  'END',
  '}',
];

function folderLines(folder: string): string[] {
  return [
    '',
    '# Nobody else gets at the sockets; a folder that is there may have another owner',
    `mkdir -m 700 ${shellWord(folder)} || exit 1`,
    `folder=${shellWord(folder)}`,
  ];
}

function serverLines({ title, words, socketPaths }: ServerCommand): string[] {
  const sockets = shellWord(socketPaths.join('\n'));
  const [program = '', command = '', ...rest] = words;
  const lines = [[program, command], ...optionLines(rest)];
  return ['', ...comments([title]), `serve ${sockets} \\`, `  ${commandLines(lines, '    ')}`];
}

/** An option and its value stay in one line. */
function optionLines(words: readonly string[]): string[][] {
  const lines: string[][] = [];
  for (const word of words) {
    const last = lines.at(-1);
    const [first = ''] = last ?? [];
    if (last?.length === 1 && first.startsWith('--') && !word.startsWith('--')) last.push(word);
    else lines.push([word]);
  }
  return lines;
}

/** A line break in a name must not end a comment. */
function comments(lines: readonly string[]): string[] {
  return lines.map((line) => `# ${line.replaceAll(/[\r\n]/g, ' ')}`);
}
