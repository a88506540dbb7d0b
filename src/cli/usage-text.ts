/**
 * Wrong command lines in words: what commander says of them, with the words themselves, and what is
 * behind a word that was taken for something else than was meant.
 *
 * @module
 */
import type { Command, Option } from 'commander';
import { nearWord } from './near-word.ts';

/** What other programs' flags have as values. */
const SWITCHES = /^(true|false|yes|no|on|off|0|1)$/i;

/** What the text of an error is about. */
interface Line {
  readonly program: Command;
  /** As they were typed, from the command on. */
  readonly words: readonly string[];
}

/** An error of commander's, with the program's name, and in our words where those are better. */
export function usageText(text: string, line: Line): string {
  const start = `${line.program.name()}: `;
  return start + rewritten(text.replace(/^error: /, ''), line);
}

function rewritten(text: string, line: Line): string {
  const argument = /^command-argument value (.*) is invalid for argument '(.*?)'/.exec(text);
  if (argument !== null) {
    const [said, value, name] = argument;
    return `${name} ${value} is invalid${text.slice(said.length)}`;
  }
  const command = commandOf(line);
  if (command === undefined) return text;
  const valued = /^unknown option '(--[^=']+)=(.*)'/.exec(text);
  if (valued !== null) {
    const [, name = '', value = ''] = valued;
    if (optionWith(command, name) !== undefined) return `${needlessValue(name, value)}\n`;
    const near = nearWord(name, optionNames(command)); // commander compares the value, too
    return near === null ? text : `unknown option '${name}'\n(Did you mean ${near}?)\n`;
  }
  return text.startsWith('too many arguments') ? tooMany(command, line) : text;
}

function needlessValue(name: string, value: string): string {
  const start = `option '${name}' takes no value, and '${value}' was given`;
  return `${start}: write ${name}, or leave it out`;
}

function tooMany(command: Command, line: Line): string {
  const { args, registeredArguments } = command;
  const expected = registeredArguments.map((each, i) => `${each.name()} ('${args[i] ?? ''}')`);
  const takes = expected.length === 0 ? 'options only' : `${expected.join(' and ')}, and options`;
  const surplus = args.slice(expected.length).map((word) => `'${word}'`);
  const start = `too many arguments for '${command.name()}', which takes ${takes}`;
  const blanks = expected.length === 0 ? null : 'a path with blanks is put in quotes';
  const hint = strayWord(line, false) ?? blanks;
  return `${start}: ${surplus.join(', ')} is too much${hint === null ? '' : `; ${hint}`}\n`;
}

/**
 * Says of a word that it comes after an option which does not take it: somebody who writes
 * `--readonly true` means no folder of that name. Null when there is none. A word that is no
 * such value is what it was taken for, and the option is innocent.
 */
function strayWord(line: Line, isTaken: boolean = true): string | null {
  const command = commandOf(line);
  if (command === undefined) return null;
  const { words } = line;
  for (let i = 1; i + 1 < words.length; i++) {
    const word = words[i] ?? '';
    const next = words[i + 1] ?? '';
    if (word === '--') return null;
    const option = optionWith(command, word);
    if (option === undefined) continue;
    if (option.required) i++;
    else if (isValue(option, next) && !takes(option, next)) {
      return strayText(isTaken ? command : null, option, word, next);
    }
  }
  return null;
}

/** The text for an error at run time that is about such a word; null when it is about another. */
export function strayWordIn(message: string, line: Line): string | null {
  const found = strayWord(line);
  const word = /^'(.*?)' comes/.exec(found ?? '')?.[1];
  if (word === undefined) return null;
  return message.split(/[^\w-]+/).includes(word) ? found : null;
}

/** `command`: the one that has taken it for its argument; null when it is one too many. */
function strayText(command: Command | null, option: Option, name: string, word: string): string {
  const place = command?.registeredArguments[0]?.name();
  const taken = place === undefined ? '' : `, and was taken for ${place}`;
  if (!option.optional) {
    return `'${word}' comes after ${name}, which takes no value${taken}: write ${name} alone`;
  }
  const values = option.argChoices?.join(', ') ?? '';
  return `'${word}' comes after ${name} and is none of its values (${values})${taken}`;
}

/** Whether a word looks like the value of a flag, or is nearly one of the option's own. */
function isValue({ argChoices }: Option, word: string): boolean {
  return SWITCHES.test(word) || nearWord(word, argChoices ?? []) !== null;
}

/** Whether an option whose value may be left out takes this one. */
function takes(option: Option, word: string): boolean {
  return option.optional && (option.argChoices?.includes(word) ?? true);
}

function commandOf({ program, words }: Line): Command | undefined {
  return program.commands.find((each) => each.name() === words[0]);
}

function optionNames({ options }: Command): string[] {
  return options.flatMap(({ long }) => (long === undefined ? [] : [long]));
}

function optionWith(command: Command, name: string): Option | undefined {
  return command.options.find(({ long, short }) => long === name || short === name);
}
