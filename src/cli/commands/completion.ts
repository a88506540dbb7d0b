/**
 * `vhost-user completion`: scripts that complete the command line.
 *
 * @module
 */
import { Argument } from 'commander';
import type { Command } from 'commander';
import { print } from '../output.ts';

/** The shells that there are scripts for. */
export const SHELLS: readonly ['bash', 'zsh', 'fish'] = ['bash', 'zsh', 'fish'];

/** Adds the command to the program. */
export function addCompletionCommand(program: Command): Command {
  return program
    .command('completion')
    .summary('print a script that completes the command line')
    .description(
      'Prints a completion script. In ~/.bashrc: eval "$(vhost-user completion bash)"; in ' +
        '~/.zshrc after compinit: eval "$(vhost-user completion zsh)"; in ' +
        '~/.config/fish/config.fish: vhost-user completion fish | source',
    )
    .addArgument(new Argument('<SHELL>', 'the shell').choices(SHELLS))
    .showHelpAfterError("Try 'vhost-user completion --help'.")
    .helpOption('-h, --help', 'show this help')
    .action(async (shell: (typeof SHELLS)[number]) => {
      const { completionScript } = await import('../completion-scripts.ts');
      print(completionScript(program, shell));
    });
}
