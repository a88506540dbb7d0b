/**
 * An end that is two streams of this process, such as pipes.
 *
 * @module
 */
import type { Readable, Writable } from 'node:stream';
import { errorMessage } from '../../../util/index.ts';
import type { ConsoleEnd, EndEvents } from './end.ts';

/** See the module. The streams stay the caller's. */
export class StreamEnd implements ConsoleEnd {
  readonly #input: Readable | null;
  readonly #output: Writable | null;
  readonly #name: string;
  #events: EndEvents | null = null;
  #writable: boolean;
  #done: (() => void) | null = null; // of the write that is under way

  constructor(input: Readable | null, output: Writable | null, name: string) {
    this.#input = input;
    this.#output = output;
    this.#name = name;
    this.#writable = output !== null;
  }

  describe(): string {
    return this.#name;
  }

  get attached(): boolean {
    return this.#writable;
  }

  open(events: EndEvents): void {
    this.#events = events;
    this.#output?.on('error', this.#onGone).on('close', this.#onGone);
    this.#input?.on('error', this.#onEnd).on('data', this.#onData);
  }

  write(bytes: Uint8Array, done: () => void): void {
    this.#done = done;
    this.#output?.write(bytes, () => this.#finish(done));
  }

  pause(): void {
    this.#input?.pause();
  }

  resume(): void {
    this.#input?.resume();
  }

  close(): void {
    this.#input?.off('data', this.#onData).off('error', this.#onEnd).pause();
    this.#output?.off('close', this.#onGone); // errors are still heard: one may be on its way
    this.#writable = false;
  }

  readonly #onData = (bytes: Uint8Array | string): void => {
    this.#events?.input(typeof bytes === 'string' ? Buffer.from(bytes) : bytes);
  };

  readonly #onEnd = (error: Error): void => {
    this.#events?.log('warn', `no more input: ${errorMessage(error)}`);
  };

  readonly #onGone = (error?: Error): void => {
    if (!this.#writable) return;
    this.#writable = false;
    const why = error === undefined ? 'it was closed' : errorMessage(error);
    this.#events?.log('warn', `nobody takes output any more: ${why}`);
    if (this.#done !== null) this.#finish(this.#done);
    this.#events?.attachedChanged();
  };

  #finish(done: () => void): void {
    if (this.#done !== done) return; // it has been told already
    this.#done = null;
    done();
  }
}
