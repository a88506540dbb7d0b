/**
 * Makes the end that options describe.
 *
 * @module
 */
import type { EndOptions } from '../options.ts';
import type { ConsoleEnd } from './end.ts';
import { PtyEnd } from './pty.ts';
import { SocketEnd } from './socket.ts';
import { StreamEnd } from './stream.ts';
import { TerminalEnd } from './terminal.ts';

/** The end of these options, not yet open; an end of the caller's own is that. */
export function makeEnd(options: EndOptions | ConsoleEnd): ConsoleEnd {
  if (!('kind' in options)) return options;
  switch (options.kind) {
    case 'none':
      return new StreamEnd(null, null, 'nowhere');
    case 'streams':
      return new StreamEnd(options.input, options.output, 'standard input and output');
    case 'terminal':
      return new TerminalEnd(options);
    case 'pty':
      return new PtyEnd(options.link ?? null);
    default:
      return new SocketEnd(options);
  }
}
