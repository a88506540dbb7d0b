/**
 * The console of a guest of another architecture: a shell on it, which its host types at.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestProgram } from '../peers/process.ts';
import { startConsoleServer } from '../peers/servers.ts';
import { HostTerminal, paste, setSize, show } from './console-host.ts';
import type { GuestConsole } from './qemu.ts';

const QUEUES = 4; // one port's, and two for control
const BOOT_MS_MAX = 300_000;
const LINK_MS_MAX = 10_000;

/** What goes each way. */
export const CONSOLE_BYTES: number = 64 * 1024;

/** A shell on the console, again and again, beside what else the guest does. */
export const SHELL_ON_CONSOLE = `export PS1='guest# ' TERM=dumb
[ -c /dev/hvc0 ] || fail "there is no console"
(while :; do setsid getty -n -l /bin/sh 0 hvc0 dumb; sleep 0.2; done) </dev/null >/dev/null &
`;

/** The guest waits, in the end, until the host has done all that it wants by the console. */
export const UNTIL_HOST_IS_DONE = 'while [ ! -e /tmp/over ]; do sleep 0.2; done\n';

/** The server of a console, and the terminal that it is at. */
export class ConsoleHostSide {
  readonly server: TestProgram;
  /** The device of QEMU. */
  readonly device: GuestConsole;
  readonly #link: string;

  private constructor(server: TestProgram, device: GuestConsole, link: string) {
    this.server = server;
    this.device = device;
    this.#link = link;
  }

  /** Starts the server, which is gone after the test. */
  static async start(context: TestContext, folder: string): Promise<ConsoleHostSide> {
    const [socketPath, link] = [join(folder, 'console.sock'), join(folder, 'terminal')];
    // Debian's 6.12 reads the size as the specification has it, as its 6.1 does.
    const options = ['--resize-order', 'columns', '--pty', link];
    const server = await startConsoleServer(socketPath, 'native', options);
    context.after(() => server.stop('SIGKILL'));
    return new ConsoleHostSide(server, { socketPath, queues: QUEUES }, link);
  }

  /** Types, reads, and makes the terminal another size; then lets the guest go on to its end. */
  async drive(machine: string): Promise<void> {
    const endMs = performance.now() + LINK_MS_MAX;
    while (!existsSync(this.#link) && performance.now() < endMs) await sleep(20);
    const terminal = new HostTerminal(this.#link);
    try {
      await terminal.shows(/guest# /, BOOT_MS_MAX);
      assert.equal(await terminal.run('uname -m; tty'), `${machine}\n/dev/hvc0\n`);
      await paste(terminal, CONSOLE_BYTES);
      await show(terminal, CONSOLE_BYTES);
      // While a command runs: a shell that waits for one draws its line anew at each size.
      await terminal.type(
        'echo "lo""oking"; until [ "$(stty size)" = "33 111" ]; do sleep 0.1; done; ',
      );
      await terminal.type('echo "si""zed"; touch /tmp/over\n');
      await terminal.shows(/looking\r?\n/);
      setSize(this.#link, 33, 111);
      await terminal.shows(/sized\r?\n/);
    } finally {
      terminal.close();
    }
  }
}
