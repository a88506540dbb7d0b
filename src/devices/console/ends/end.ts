/**
 * The other side of a port, on this host: what gives its input and takes its output.
 *
 * @module
 */
import type { LogLevel } from '../../../backend/index.ts';

/** What an end tells its port. All of it happens on the event loop, and none of it throws. */
export interface EndEvents {
  /**
   * Bytes for the guest; they become the port's. None are lost: when too many wait, the port calls
   * `pause`, after which a few more may come.
   */
  input(bytes: Uint8Array): void;
  /** Somebody has come, or nobody is there any more: {@link ConsoleEnd.attached} has changed. */
  attachedChanged(): void;
  /** The size in characters is another one now. */
  resized(columns: number, rows: number): void;
  /** The user wants to leave. */
  leave(): void;
  log(level: LogLevel, text: string): void;
}

/**
 * One end. Your own can be anything: an object with these members in place of the options of an
 * end.
 */
export interface ConsoleEnd {
  /** For people: `pty /dev/pts/3`. Asked once it is open. */
  describe(): string;
  /** Begins; called once. @throws VhostUserError when it cannot be opened */
  open(events: EndEvents): Promise<void> | void;
  /** Whether somebody is there who takes output. */
  readonly attached: boolean;
  /**
   * Hands over output. `bytes` are the port's, and stay as they are until `done` is called: when
   * all are taken, or when nobody is there any more. One at a time.
   */
  write(bytes: Uint8Array, done: () => void): void;
  /** No more input for now. */
  pause(): void;
  resume(): void;
  /** A guest has come, or has gone. */
  setActive?(active: boolean): void;
  close(): Promise<void> | void;
}
