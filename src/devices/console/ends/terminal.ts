/**
 * An end that is a terminal of this process. While a guest is there it is raw, so that every key is
 * the guest's but one: the escape key, which leaves.
 *
 * It is put back as it was when the guest goes, when the process ends, also by an error that nobody
 * caught, and while it is suspended.
 *
 * @module
 */
import { writeSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { atExit, rawTerminal, terminalSize } from '../../../sys/index.ts';
import type { EndOptions } from '../options.ts';
import type { ConsoleEnd, EndEvents } from './end.ts';
import { StreamEnd } from './stream.ts';

/** Ctrl-], as telnet and virsh have it. */
const ESCAPE = 0x1d;

type TerminalOptions = Extract<EndOptions, { kind: 'terminal' }>;

/** See the module. */
export class TerminalEnd implements ConsoleEnd {
  readonly #input: Readable;
  readonly #output: Writable;
  readonly #fd: number;
  readonly #escape: number;
  readonly #streams: StreamEnd;
  #events: EndEvents | null = null;
  #restore: (() => void) | null = null;
  #active = false;
  #forgetExit: () => void = () => undefined;

  constructor(options: TerminalOptions) {
    this.#input = options.input;
    this.#output = options.output;
    this.#fd = options.fd;
    this.#escape = options.escape === null ? -1 : (options.escape ?? ESCAPE);
    this.#streams = new StreamEnd(options.input, options.output, 'this terminal');
  }

  describe(): string {
    const leave = this.#escape < 0 ? '' : ` (${keyName(this.#escape)} leaves)`;
    return `this terminal${leave}`;
  }

  get attached(): boolean {
    return this.#streams.attached;
  }

  open(events: EndEvents): void {
    this.#events = events;
    this.#streams.open({ ...events, input: (bytes) => this.#typed(bytes) });
    this.#input.on('end', this.#onGone).on('error', this.#onGone);
    this.#output.on('resize', this.#onResize);
    this.#forgetExit = atExit(() => this.#cooked());
    process.on('SIGTSTP', this.#onSuspend).on('SIGCONT', this.#onContinue);
    this.#onResize();
  }

  write(bytes: Uint8Array, done: () => void): void {
    this.#streams.write(bytes, done);
  }

  pause(): void {
    this.#streams.pause();
  }

  resume(): void {
    this.#streams.resume();
  }

  setActive(active: boolean): void {
    this.#active = active;
    if (active) this.#raw();
    else this.#cooked();
  }

  close(): void {
    this.#streams.close();
    this.#input.off('end', this.#onGone).off('error', this.#onGone);
    this.#output.off('resize', this.#onResize);
    process.off('SIGTSTP', this.#onSuspend).off('SIGCONT', this.#onContinue);
    this.#forgetExit();
    this.#active = false;
    this.#cooked();
  }

  #typed(bytes: Uint8Array): void {
    const at = this.#escape < 0 || !this.#active ? -1 : bytes.indexOf(this.#escape);
    if (at < 0) {
      this.#events?.input(bytes);
      return;
    }
    if (at > 0) this.#events?.input(bytes.subarray(0, at));
    this.#events?.leave();
  }

  #raw(): void {
    try {
      this.#restore ??= rawTerminal(this.#fd);
    } catch (error) {
      this.#events?.log('warn', `the terminal stays as it is: ${String(error)}`);
    }
  }

  #cooked(): void {
    const restore = this.#restore;
    this.#restore = null;
    if (restore === null) return;
    restore();
    try {
      writeSync(this.#fd, '\n'); // the guest may have left the cursor anywhere in its line
    } catch {
      // a terminal that is gone, or may only be read
    }
  }

  readonly #onGone = (): void => this.#events?.leave();

  readonly #onResize = (): void => {
    const size = terminalSize(this.#fd);
    if (size !== null) this.#events?.resized(size.columns, size.rows);
  };

  readonly #onSuspend = (): void => {
    this.#cooked();
    process.kill(process.pid, 'SIGSTOP');
  };

  readonly #onContinue = (): void => {
    if (this.#active) this.#raw();
    this.#onResize(); // it may have changed meanwhile
  };
}

/** `Ctrl-]` for 0x1d. */
function keyName(byte: number): string {
  return byte < 0x20 ? `Ctrl-${String.fromCharCode(byte + 0x40)}` : String.fromCharCode(byte);
}
