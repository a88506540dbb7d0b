/**
 * `vhost-user description`: the JSON files by which QEMU's management software finds back-ends.
 *
 * @module
 */
import { Argument } from 'commander';
import type { Command } from 'commander';
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { CAPABILITIES } from '../capabilities.ts';
import { print } from '../output.ts';

/** Adds the command to the program. */
export function addDescriptionCommand(program: Command): Command {
  return program
    .command('description')
    .summary('print the description file of a device')
    .description(
      'Prints the JSON file by which management software such as libvirt finds a device. Put it ' +
        'into /usr/share/qemu/vhost-user, /etc/qemu/vhost-user or ~/.config/qemu/vhost-user, ' +
        'under a name such as 50-vhost-user-blk.json.',
    )
    .addArgument(new Argument('<DEVICE>', 'the device').choices(Object.keys(CAPABILITIES)))
    .option('--binary <PATH>', 'the program to start (default: where this one is installed)')
    .showHelpAfterError("Try 'vhost-user description --help'.")
    .helpOption('-h, --help', 'show this help')
    .action((device: string, options: { readonly binary?: string }) => {
      const binary = options.binary ?? installedBinary(device, process.argv[1] ?? '');
      print(descriptionText(device, binary));
    });
}

/** The text of a description file. */
export function descriptionText(device: string, binary: string): string {
  const found = CAPABILITIES[device];
  const description = {
    description: `vhost-user ${device}`,
    type: found?.type,
    binary: resolve(binary),
    features: found?.features,
  };
  return `${JSON.stringify(description, null, 2)}\n`;
}

/**
 * The program that starts a device without a word before its options, which is all that a
 * description has room for: `vhost-user-blk` beside `vhost-user`.
 */
export function installedBinary(device: string, program: string): string {
  const beside = join(dirname(program), `vhost-user-${device}`);
  return existsSync(beside) ? beside : `/usr/bin/vhost-user-${device}`;
}
