/**
 * Completion scripts for bash, zsh and fish, written from commander's tree.
 *
 * They are static: a press of TAB starts no process, and what takes a path completes files.
 *
 * @module
 */
import type { Argument, Command, Option } from 'commander';
import { CAPABILITIES } from './capabilities.ts';
import type { SHELLS } from './commands/completion.ts';

/** What may follow an option or stand as an argument. */
interface Values {
  readonly kind: 'words' | 'files' | 'any';
  /** For `words`. */
  readonly words: readonly string[];
}

/** Placeholders that stand for a file. */
const FILE_PLACEHOLDERS: readonly string[] = [
  'PATH',
  'IMAGE',
  'CONFIG',
  'FOLDER',
  'FILE',
  'LINK',
  'PROGRAM',
];

/** The devices that the program also has a name for. */
const DEVICES: readonly string[] = Object.keys(CAPABILITIES);

/** The script for one shell. */
export function completionScript(program: Command, shell: (typeof SHELLS)[number]): string {
  if (shell === 'bash') return bashScript(program);
  return shell === 'zsh' ? zshScript(program) : fishScript(program);
}

/** Works with bash 3.2, which macOS has, and without the package bash-completion. */
function bashScript(program: Command): string {
  const commands = commandsOf(program);
  const cases = commands.map(bashCase);
  const names = commands.map((command) => command.name()).join(' ');
  const words = [names, 'help', '--help', '--version'];
  return `# bash completion for ${program.name()}
_vhost_user() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD - 1]}" command='' i
  # "--option=value" comes as three words.
  if [[ "$current" == = ]]; then current=''
  elif [[ "$previous" == = ]]; then previous="\${COMP_WORDS[COMP_CWORD - 2]}"
  fi
  COMPREPLY=()
  case "\${COMP_WORDS[0]##*/}" in
    vhost-user-*) command="\${COMP_WORDS[0]##*vhost-user-}" ;;
    *) for ((i = 1; i < COMP_CWORD; i++)); do
      if [[ "\${COMP_WORDS[i]}" != -* ]]; then command="\${COMP_WORDS[i]}"; break; fi
    done ;;
  esac
  case "$command" in
${cases.join('\n')}
    help) COMPREPLY=($(compgen -W '${names}' -- "$current")) ;;
    '') COMPREPLY=($(compgen -W '${words.join(' ')}' -- "$current")) ;;
  esac
}
complete -F _vhost_user ${namesOf(program).join(' ')}
`;
}

function bashCase(command: Command): string {
  const options = optionsOf(command);
  const lines = options.filter(takesValue).map((option) => {
    return `        ${flags(option).join('|')}) ${bashAnswer(optionValues(option))} ;;`;
  });
  const names = options.flatMap(flags).join(' ');
  const argument = bashAnswer(argumentValues(command.registeredArguments[0]));
  return `    ${command.name()})
      case "$previous" in
${[...lines, '        *)'].join('\n')}
          if [[ "$current" == -* ]]; then COMPREPLY=($(compgen -W '${names}' -- "$current"))
          else ${argument}
          fi ;;
      esac ;;`;
}

function bashAnswer(values: Values): string {
  if (values.kind === 'any') return ':';
  if (values.kind === 'words') {
    return `COMPREPLY=($(compgen -W '${values.words.join(' ')}' -- "$current"))`;
  }
  // A line a file: names may have spaces. compopt (bash 4) quotes them and adds the slash of
  // folders.
  const setUp = `compopt -o filenames 2>/dev/null; local IFS=$'\\n'`;
  return `${setUp}; COMPREPLY=($(compgen -f -- "$current"))`;
}

function zshScript(program: Command): string {
  const commands = commandsOf(program);
  const described = commands.map((each) => {
    return zshQuote(`${each.name()}:${each.summary() || each.description()}`);
  });
  const functions = commands.map((command) => {
    const specs = [
      ...optionsOf(command).flatMap(zshOption),
      ...command.registeredArguments.map((each, i) => {
        return zshQuote(`${i + 1}:${each.name()}:${zshAction(argumentValues(each))}`);
      }),
    ];
    return `_vhost_user_${command.name()}() {
  _arguments -S \\
    ${specs.join(' \\\n    ')}
}`;
  });
  return `#compdef ${namesOf(program).join(' ')}
# zsh completion for ${program.name()}
${functions.join('\n')}
_vhost_user() {
  local -a commands
  commands=(
    ${described.join('\n    ')}
  )
  if [[ \${service:-} == ${program.name()}-* ]]; then
    _vhost_user_\${service#${program.name()}-}
  elif (( CURRENT == 2 )); then
    _describe command commands
    _arguments '--help[show this help]' '--version[print the version]'
  else
    local command=\${words[2]}
    shift words
    (( CURRENT-- ))
    if [[ $command == help ]]; then _describe command commands
    elif (( \${+functions[_vhost_user_$command]} )); then _vhost_user_$command
    fi
  fi
}
if [[ \${funcstack[1]:-} == _vhost-user ]]; then _vhost_user "$@"
else compdef _vhost_user ${namesOf(program).join(' ')}
fi
`;
}

function zshOption(option: Option): string[] {
  const text = `[${option.description.replaceAll(/[[\]\\]/g, '\\$&')}]`;
  const value = takesValue(option)
    ? `:${placeholder(option)}:${zshAction(optionValues(option))}`
    : '';
  return flags(option).map((flag) => {
    // "--flag value" and "--flag=value".
    const equals = takesValue(option) && flag.startsWith('--') ? '=' : '';
    return zshQuote(`${flag}${equals}${text}${value}`);
  });
}

function zshAction(values: Values): string {
  if (values.kind === 'files') return '_files';
  return values.kind === 'words' ? `(${values.words.join(' ')})` : ' ';
}

function zshQuote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function fishScript(program: Command): string {
  const name = program.name();
  const lines = [
    `# fish completion for ${name}`,
    `complete -c ${name} -f`,
    ...DEVICES.map((device) => `complete -c ${name}-${device} -w '${name} ${device}'`),
    `complete -c ${name} -n __fish_use_subcommand -l help -d 'show this help'`,
    `complete -c ${name} -n __fish_use_subcommand -l version -d 'print the version'`,
  ];
  for (const command of commandsOf(program)) {
    const about = fishQuote(command.summary() || command.description());
    lines.push(
      `complete -c ${name} -n __fish_use_subcommand -a ${command.name()} -d ${about}`,
      `complete -c ${name} -n '__fish_seen_subcommand_from help' -a ${command.name()} -d ${about}`,
    );
    const within = `complete -c ${name} -n '__fish_seen_subcommand_from ${command.name()}'`;
    for (const option of optionsOf(command)) {
      const long = option.long === undefined ? '' : ` -l ${option.long.slice(2)}`;
      const short = option.short === undefined ? '' : ` -s ${option.short.slice(1)}`;
      const value = takesValue(option) ? ` ${fishValues(optionValues(option), true)}` : '';
      lines.push(`${within}${short}${long}${value} -d ${fishQuote(option.description)}`);
    }
    const values = argumentValues(command.registeredArguments[0]);
    if (values.kind !== 'any') lines.push(`${within} ${fishValues(values, false)}`);
  }
  return `${lines.join('\n')}\n`;
}

function fishValues(values: Values, required: boolean): string {
  if (values.kind === 'files') return required ? '-r -F' : '-F';
  if (values.kind === 'any') return '-x';
  return `${required ? '-x ' : ''}-a ${fishQuote(values.words.join(' '))}`;
}

function fishQuote(text: string): string {
  return `'${text.replaceAll(/['\\]/g, '\\$&')}'`;
}

/** The names under which the program may be started. */
function namesOf(program: Command): string[] {
  return [program.name(), ...DEVICES.map((device) => `${program.name()}-${device}`)];
}

function commandsOf(program: Command): Command[] {
  const help = program.createHelp();
  return help.visibleCommands(program).filter((command) => command.name() !== 'help');
}

function optionsOf(command: Command): Option[] {
  return command.createHelp().visibleOptions(command);
}

function flags(option: Option): string[] {
  return [option.short, option.long].filter((flag) => flag !== undefined);
}

function takesValue(option: Option): boolean {
  return option.required || option.optional;
}

function placeholder(option: Option): string {
  return /<([^>]+)>/.exec(option.flags)?.[1] ?? '';
}

function optionValues(option: Option): Values {
  return valuesOf(option.argChoices, placeholder(option));
}

function argumentValues(argument: Argument | undefined): Values {
  return valuesOf(argument?.argChoices, argument?.name() ?? '');
}

function valuesOf(choices: readonly string[] | undefined, name: string): Values {
  if (choices !== undefined) return { kind: 'words', words: choices };
  return { kind: FILE_PLACEHOLDERS.includes(name) ? 'files' : 'any', words: [] };
}
