/**
 * What a device shows: where its file system comes from, and in which thread it lives.
 *
 * @module
 */
import type { FuseOperationsFactory } from './host.ts';

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
export type FsSource = ModuleSource | OperationsSource;

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
    case 'module':
      return { place: 'worker', module: source.module, options: source.options };
    case 'operations':
      return { place: 'local', create: source.create };
  }
}
