/**
 * A client in a process of its own, that is told what to do on its standard input, a JSON line
 * each, and answers by JSON lines. It ends when its input does.
 *
 * @module
 */
import { createInterface } from 'node:readline';
import type { ChildProcess } from 'node:child_process';
import { errorMessage } from '../src/util/index.ts';
import { processError, startProcess, stopProcess } from './process.ts';
import type { Command } from './process.ts';

const CLOSE_MS = 5000;

/** What the client answers when it could not do something; it ends then. */
export interface ClientFailure {
  readonly error: string;
}

/** See the module. One question at a time. */
export class JsonChild {
  readonly #child: ChildProcess;
  readonly #replies: AsyncIterator<string, undefined>;
  readonly #name: string;
  #stderr = '';

  /** Starts it; `name` is for error messages. */
  constructor(command: Command, name: string) {
    this.#name = name;
    this.#child = startProcess(command, { stdio: 'pipe' });
    const { stdout, stderr, stdin } = this.#child;
    if (stdout === null) throw processError(`${name} has no output`);
    this.#replies = createInterface({ input: stdout })[Symbol.asyncIterator]() as AsyncIterator<
      string,
      undefined
    >;
    stderr?.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text));
    this.#child.once('error', () => undefined); // `reply` finds the end of its output
    stdin?.on('error', () => undefined); // the same
  }

  /** Sends a question and waits for its answer. */
  ask<Reply extends object>(request: object, timeoutMs: number): Promise<Reply> {
    this.#child.stdin?.write(`${JSON.stringify(request)}\n`);
    return this.reply(timeoutMs);
  }

  /** Waits for the next line; the client is killed when it takes too long. */
  async reply<Reply extends object>(timeoutMs: number): Promise<Reply> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), timeoutMs); // ends its output
    try {
      const { done, value } = await this.#replies.next();
      if (done === true) throw processError(`${this.#name} has ended: ${this.#stderr.trim()}`);
      const reply = JSON.parse(value) as Reply | ClientFailure;
      if ('error' in reply) throw processError(`${this.#name}: ${reply.error}`);
      return reply;
    } catch (error) {
      if (error instanceof SyntaxError) throw processError(`${this.#name}: ${errorMessage(error)}`);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends its input, waits until it has gone, and kills it when it does not go. */
  async close(): Promise<void> {
    const child = this.#child;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    child.stdin?.end(); // it closes its session then
    const timer = setTimeout(() => void stopProcess(child), CLOSE_MS);
    await gone;
    clearTimeout(timer);
  }
}
