/**
 * A program: prints, as JSON, every C function that the product asks koffi for on another host.
 * Arguments: the host's `process.platform`, its `process.arch`, `second` to find none of the names
 * that are only tried first, and the modules that declare functions.
 *
 * @module
 */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// As the product loads it, and while this is the host that it is.
const koffi = createRequire(import.meta.url)('koffi') as { load: () => unknown };
const [, , platform = '', arch = '', which = '', ...modules] = process.argv;
Object.defineProperty(process, 'platform', { value: platform });
Object.defineProperty(process, 'arch', { value: arch });

/** The names that are only tried first; on NetBSD most such names are the only ones. */
const TRIED = platform === 'netbsd' ? /^__kevent100$|\$/ : /^__|\$/;
const asked: unknown[] = [];
const library = {
  func: (name: string, result?: string, args?: readonly string[]): (() => number) => {
    const called = /(\w+)\(/.exec(name)?.[1] ?? name;
    if (which === 'second' && TRIED.test(called)) throw new Error('not here');
    asked.push({ name, result, args });
    return () => 0;
  },
};
koffi.load = () => library;
for (const path of modules) await import(pathToFileURL(path).href);
const sandboxes = await import('../../../src/sys/sandbox/bsd-calls.ts');
if (platform === 'openbsd') sandboxes.openbsdCalls();
if (platform === 'freebsd') sandboxes.freebsdCalls();
if (platform === 'darwin') sandboxes.darwinCalls();
process.stdout.write(JSON.stringify(asked));
