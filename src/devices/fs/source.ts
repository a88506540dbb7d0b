/**
 * What a device shows: where its file system comes from, and in which thread it lives.
 *
 * @module
 */
import type { FuseOperationsFactory } from './host.ts';
import { hostFolderSettings } from './passthrough/options.ts';
import type { HostFolderOptions } from './passthrough/options.ts';

/** `.ts` when the sources run directly (Node 22.18+, Deno, Bun), else `.js`. */
const ENDING = import.meta.url.endsWith('.ts') ? '.ts' : '.js';

/** A folder of this host, on a worker thread. */
export interface FolderSource extends HostFolderOptions {
  readonly kind: 'folder';
}

/** A file system that a module makes on a worker thread; it has to be fast and synchronous. */
export interface ModuleSource {
  readonly kind: 'module';
  /** Exports `createOperations`, a {@link FuseOperationsFactory}. */
  readonly module: URL;
  /** Handed to it as `host.options`; structured-cloneable. */
  readonly options?: unknown;
}

/** A file system on the event loop of the main thread, at the level of the wire. */
export interface OperationsSource {
  readonly kind: 'operations';
  readonly create: FuseOperationsFactory;
}

/** See the module. */
export type FsSource = FolderSource | ModuleSource | OperationsSource;

/** Where the file system of a source is made. */
export type FsPlan =
  | { readonly place: 'worker'; readonly module: URL; readonly options: unknown }
  | { readonly place: 'local'; readonly create: FuseOperationsFactory };

/**
 * Checks a source, and says where it is made.
 * @throws VhostUserError of the file system's own options.
 */
export function planSource(source: FsSource): FsPlan {
  switch (source.kind) {
    case 'folder': {
      const module = new URL(`./passthrough/create-operations${ENDING}`, import.meta.url);
      return { place: 'worker', module, options: hostFolderSettings(source) };
    }
    case 'module':
      return { place: 'worker', module: source.module, options: source.options };
    case 'operations':
      return { place: 'local', create: source.create };
  }
}
