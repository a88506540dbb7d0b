/**
 * `vhost-user man`: the manual pages, made from the same tree as the help texts.
 *
 * @module
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Argument } from 'commander';
import type { Command } from 'commander';
import { CAPABILITIES } from '../capabilities.ts';
import { programVersion } from '../version.ts';
import { print } from '../output.ts';

/** Adds the command to the program. */
export function addManCommand(program: Command): Command {
  return program
    .command('man')
    .summary('print a manual page')
    .description("Prints a manual page; read it with 'vhost-user man blk | man -l -'.")
    .addArgument(
      new Argument('[PAGE]', 'the page')
        .choices(['vhost-user', ...Object.keys(CAPABILITIES)])
        .default('vhost-user'),
    )
    .option('--dir <PATH>', 'write all pages into a folder instead')
    .showHelpAfterError("Try 'vhost-user man --help'.")
    .helpOption('-h, --help', 'show this help')
    .action(async (page: string, options: { readonly dir?: string }) => {
      const { manPages } = await import('../man-pages.ts');
      const pages = manPages(program, programVersion());
      if (options.dir === undefined) {
        const name = page === 'vhost-user' ? 'vhost-user.1' : `vhost-user-${page}.1`;
        print(pages.get(name) ?? '');
        return;
      }
      mkdirSync(options.dir, { recursive: true });
      for (const [name, text] of pages) writeFileSync(join(options.dir, name), text);
    });
}
