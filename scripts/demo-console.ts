/**
 * The part of the demonstration that types at a shell of the guest, by a pseudo terminal of this
 * host.
 *
 * @module
 */
import { ConsoleClient } from '../src/frontend/index.ts';
import { HostTerminal } from '../test/guest/console-host.ts';

/** Queues of a device with one port: two for it, and two for control. */
export const CONSOLE_QUEUES = 4;

const COMMANDS = ['tty', 'uname -sr', 'ls -m /sys/bus/virtio/drivers'] as const;
const PROMPT = 'guest# ';
const OVER = '/tmp/over';
/** The guest boots, under emulation, and does other things first. */
const GUEST_WAIT_MS = 120_000;
const QUESTION = 'who is there?';

/** What the guest does: a shell on the console, until the host says that it is over. */
export const CONSOLE_SCRIPT: string = `export PS1='${PROMPT}' TERM=dumb
setsid -c sh -i </dev/hvc0 >/dev/hvc0 2>&1 &
while [ ! -e ${OVER} ]; do sleep 0.1; done
`;

/** Types at the shell, and returns what a person would have seen. */
export async function useShell(terminalPath: string, signal: AbortSignal): Promise<string[]> {
  const terminal = new HostTerminal(terminalPath);
  const close = (): void => terminal.close();
  signal.addEventListener('abort', close);
  try {
    const lines: string[] = [];
    for (const command of COMMANDS) {
      await terminal.shows(/guest# $/, GUEST_WAIT_MS);
      lines.push(`${PROMPT}${command}`);
      const output = await terminal.run(command);
      lines.push(...output.trimEnd().split('\n'));
    }
    await terminal.type(`touch ${OVER}\n`);
    return lines;
  } finally {
    signal.removeEventListener('abort', close);
    terminal.close();
  }
}

/** The same without a guest: our own front-end answers one question. */
export async function playShell(
  terminalPath: string,
  socketPath: string,
  connectWaitMs: number,
): Promise<string[]> {
  const client = await ConsoleClient.connect(socketPath, { connectWaitMs });
  const terminal = new HostTerminal(terminalPath);
  try {
    const port = await client.port(0);
    port.on('data', (typed: Buffer) => {
      if (String(typed).includes('\n')) port.write('our own front-end\r\n');
    });
    await terminal.type(`${QUESTION}\n`);
    const [answer] = await terminal.shows(/^our own .*/m);
    return [QUESTION, answer];
  } finally {
    terminal.close();
    await client.close();
  }
}
