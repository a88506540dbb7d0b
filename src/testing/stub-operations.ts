/**
 * The stub file system on a worker thread: a module for `openFs`.
 *
 * @module
 */
import type { FuseHost, FuseOperations } from '../devices/fs/index.ts';
import { StubFileSystem } from './stub-file-system.ts';

/** The `module` of a source; its `options` are {@link StubOptions}. */
export const STUB_MODULE: URL = new URL(import.meta.url);

/** Options of the module: files to begin with, by name. */
export interface StubOptions {
  readonly files?: Readonly<Record<string, Uint8Array>>;
  /** Fail to be made, with this message. */
  readonly failure?: string;
}

/** The factory that the data plane calls. */
export function createOperations(host: FuseHost): FuseOperations {
  const { files = {}, failure } = host.options as StubOptions;
  if (failure !== undefined) throw new Error(failure);
  const fs = new StubFileSystem(() => host.flush());
  for (const [name, data] of Object.entries(files)) fs.addFile(name, data);
  return fs;
}
