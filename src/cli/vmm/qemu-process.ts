/**
 * QEMU in the foreground: the terminal is its own, and signals are passed on to it.
 *
 * @module
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import { VhostUserError, errorMessage } from '../../util/index.ts';
import { EXIT } from '../errors.ts';
import type { Companion, ServeEntry } from '../serve.ts';
import type { SocketFolder } from './socket-folder.ts';

/** QEMU ends on a signal within a fraction of a second, unless it is stuck. */
const END_LIMIT_MS = 5000;
/** Ctrl-C reaches QEMU twice, by the terminal and by us; whoever presses it again means it. */
const PATIENT_SIGNALS = 2;

/** A QEMU that is started when its devices are there. */
export class QemuProcess implements Companion {
  readonly name = 'QEMU';
  readonly #words: readonly string[];
  readonly #folder: SocketFolder;
  readonly #onDevices: (entries: readonly ServeEntry[]) => void;
  #child: ChildProcess | null = null;
  #ended: Promise<number> | null = null;
  #signalCount = 0;

  /** `words` are the program and its arguments; the folder is removed with QEMU. */
  constructor(
    words: readonly string[],
    folder: SocketFolder,
    onDevices: (entries: readonly ServeEntry[]) => void,
  ) {
    this.#words = words;
    this.#folder = folder;
    this.#onDevices = onDevices;
  }

  async run(entries: readonly ServeEntry[]): Promise<number> {
    this.#onDevices(entries);
    const [program = '', ...args] = this.#words;
    const child = spawn(program, args, { stdio: 'inherit' });
    this.#child = child;
    this.#ended = new Promise<number>((resolve, reject) => {
      child.once('error', (error) => reject(startError(program, error)));
      child.once('exit', (code, signal) => {
        this.#folder.watch(null);
        this.#child = null;
        resolve(
          signal === null ? (code ?? EXIT.FAILED) : EXIT.SIGNALLED + constants.signals[signal],
        );
      });
    });
    if (child.pid !== undefined) this.#folder.watch(child.pid);
    return await this.#ended;
  }

  signal(name: NodeJS.Signals): void {
    this.#signalCount++;
    this.#child?.kill(this.#signalCount > PATIENT_SIGNALS ? 'SIGKILL' : name);
  }

  async end(): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), END_LIMIT_MS);
    await this.#ended?.catch(() => undefined);
    clearTimeout(timer);
  }

  abandon(): void {
    this.#child?.kill('SIGKILL');
    this.#folder.remove();
  }
}

function startError(program: string, error: Error): VhostUserError {
  return new VhostUserError(
    'ERR_VHU_QEMU',
    `${program} cannot be started: ${errorMessage(error)}`,
    {
      cause: error,
    },
  );
}
