/**
 * Of a guest that does not come to its end: what QEMU says of its processors, before it is killed.
 * It tells apart who waits for whom: a QEMU that does not answer waits for a back-end's reply; a
 * guest without a line of its init has loaded no driver, so no ring of a back-end is involved; and
 * processors that are halted with an interrupt in service, or pending, are QEMU's own affair.
 *
 * @module
 */
import { createConnection } from 'node:net';
import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const ANSWER_MS_MAX = 5_000;
/** Of x86; another board says of `info lapic` that it has none. */
const QUESTIONS = ['info status', 'info registers -a', 'info lapic 0', 'info lapic 1'];
/** Lines of registers that nobody needs: floating point and vectors. */
const IRRELEVANT = /^(?:FP|XMM|YMM|ZMM|Opmask|DR[0-7]|[DEFGS]S =|FCW)/;

/** A line of the guest's init, its first one: before it loads a driver. */
export const INIT_RUNS = 'init runs';

/** What QEMU's control socket says. Never rejects, and takes a bounded time. */
export async function examineGuest(controlSocket: string, console: string): Promise<string> {
  const socket = createConnection(controlSocket);
  const silent = 'QEMU does not answer: it waits for a back-end, or is stopped';
  const late = sleep(ANSWER_MS_MAX, silent, { ref: false });
  const said = await Promise.race([ask(socket).catch(String), late]);
  socket.destroy();
  const isUp = console.includes(INIT_RUNS);
  const how = isUp ? 'its init runs' : 'its kernel did not come to init: no driver is loaded';
  return `(the guest has not ended; ${how}; QEMU says:\n${said})`;
}

async function ask(socket: Socket): Promise<string> {
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  const answer = async (): Promise<string> => {
    for (;;) {
      const { value, done } = (await lines.next()) as IteratorResult<string, undefined>;
      if (done === true) throw new Error('QEMU has closed its control socket');
      const { return: text, error, event } = JSON.parse(value) as Record<string, unknown>;
      if (event !== undefined) continue;
      if (error !== undefined) return JSON.stringify(error);
      return typeof text === 'string' ? text : '';
    }
  };
  const send = (execute: string, parameters: object = {}): Promise<string> => {
    socket.write(`${JSON.stringify({ execute, arguments: parameters })}\n`);
    return answer();
  };
  await lines.next(); // its greeting
  await send('qmp_capabilities');
  const texts: string[] = [];
  for (const question of QUESTIONS) {
    const text = await send('human-monitor-command', { 'command-line': question });
    const relevant = text.split(/\r?\n/).filter((line) => line !== '' && !IRRELEVANT.test(line));
    texts.push(`${question}:`, ...relevant);
  }
  return texts.join('\n');
}
