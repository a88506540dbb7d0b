/**
 * Terminals: pseudo terminals that we make, raw mode, and sizes. What a `struct termios` looks like
 * is never asked: it is taken, changed and put back by the C library.
 *
 * @module
 */
import { SystemError } from './errno.ts';
import { closeFd, setCloseOnExec, setNonBlocking } from './fd.ts';
import { abi } from './host.ts';
import * as libc from './libc.ts';
import { NativeBlock, check, interrupted } from './native.ts';
import { O } from './open-flags.ts';

const { TIOCGWINSZ, TCSANOW } = abi.constants;

/** More than any host's `struct termios` has: 72 bytes are macOS's. */
const TERMIOS_BYTES = 256;
/** `struct winsize`, the same everywhere. | rows 2 | columns 2 | width 2 | height 2 | */
const WINSIZE = { rows: 0, columns: 2, SIZE: 8 } as const;

/** A pseudo terminal. */
export interface Pty {
  /** The side of whoever made it: non-blocking, close-on-exec; the caller's to close. */
  readonly fd: number;
  /** The terminal for others to open. */
  readonly path: string;
}

/** How large a terminal is, in characters. */
export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/**
 * Makes a pseudo terminal.
 * @throws SystemError naming the call, when there are none left or none at all.
 */
export function openPty(): Pty {
  const fd = check(libc.posixOpenpt(O.O_RDWR | O.O_NOCTTY), 'posix_openpt');
  try {
    setCloseOnExec(fd);
    check(libc.grantpt(fd), `grantpt(fd ${String(fd)})`);
    check(libc.unlockpt(fd), `unlockpt(fd ${String(fd)})`);
    const path = libc.ptsname(fd);
    if (path === null) throw new SystemError(`ptsname(fd ${String(fd)})`, libc.errno());
    setNonBlocking(fd, true);
    return { fd, path };
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/**
 * Makes a terminal raw: each byte as it is typed and as it is printed, no echo, no signals. Returns
 * what puts it back as it was; that may be called when the terminal is gone, and again.
 *
 * @throws SystemError when the fd is no terminal.
 */
export function rawTerminal(fd: number): () => void {
  const before = new NativeBlock(TERMIOS_BYTES);
  const raw = new NativeBlock(TERMIOS_BYTES);
  try {
    check(libc.tcgetattr(fd, before.address), `tcgetattr(fd ${String(fd)})`);
    raw.bytes.set(before.bytes);
    libc.cfmakeraw(raw.address);
    check(setAttributes(fd, raw.address), `tcsetattr(fd ${String(fd)})`);
  } catch (error) {
    before.free();
    throw error;
  } finally {
    raw.free();
  }
  return () => {
    if (before.bytes.length === 0) return;
    setAttributes(fd, before.address);
    before.free();
  };
}

/** The size of a terminal; null when the fd is none, or does not know. */
export function terminalSize(fd: number): TerminalSize | null {
  const block = new NativeBlock(WINSIZE.SIZE);
  try {
    if (libc.ioctl('uintptr_t', fd, TIOCGWINSZ, block.address) < 0) return null;
    const columns = block.view.getUint16(WINSIZE.columns, true);
    const rows = block.view.getUint16(WINSIZE.rows, true);
    return columns > 0 && rows > 0 ? { columns, rows } : null;
  } finally {
    block.free();
  }
}

function setAttributes(fd: number, termios: number): number {
  for (;;) {
    const result = libc.tcsetattr(fd, TCSANOW, termios);
    if (!interrupted(result)) return result;
  }
}
