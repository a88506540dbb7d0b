/**
 * What a device shows: where its file system comes from, and in which thread it lives.
 *
 * @module
 */
import { accessSync, constants } from 'node:fs';
import { VhostUserError, errorMessage } from '../../util/index.ts';
import { archiveFormat, createArchiveOperations } from './archive/index.ts';
import type { ArchivePlan } from './archive/index.ts';
import type { FuseOperationsFactory } from './host.ts';
import type { MemoryPlan } from './memory/index.ts';
import { hostFolderSettings } from './passthrough/options.ts';
import type { HostFolderOptions } from './passthrough/options.ts';
import { hooksOf, treeOperations } from './tree/index.ts';
import type { FileSystem } from './tree/index.ts';

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

/** A file system written in TypeScript, on the event loop of the main thread. */
export interface FileSystemSource {
  readonly kind: 'file-system';
  /** The device ends it (`end`) when it is closed. */
  readonly fileSystem: FileSystem<unknown, unknown>;
  /** Nothing may be changed, whatever it can do. */
  readonly readOnly?: boolean;
}

/** A file system in memory, on a worker thread. */
export interface MemorySource extends MemoryPlan {
  readonly kind: 'memory';
}

/** A .tar, .tar.gz or .zip file, read-only; a .zip is served on the event loop. */
export interface ArchiveSource extends ArchivePlan {
  readonly kind: 'archive';
}

/** See the module. */
export type FsSource =
  FolderSource | MemorySource | ArchiveSource | FileSystemSource | ModuleSource | OperationsSource;

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
    case 'memory': {
      const module = new URL(`./memory/memory.worker${ENDING}`, import.meta.url);
      if (source.preload !== undefined) checkReadable(source.preload);
      return { place: 'worker', module, options: source };
    }
    case 'archive': {
      const module = new URL(`./archive/archive.worker${ENDING}`, import.meta.url);
      // A thread of its own has no event loop, which the unpacking of zip archives needs.
      if (archiveFormat(source.path) !== 'zip') return { place: 'worker', module, options: source };
      const create: FuseOperationsFactory = (host) =>
        createArchiveOperations({ ...host, options: source });
      return { place: 'local', create };
    }
    case 'file-system': {
      const { fileSystem, readOnly = false } = source;
      const create: FuseOperationsFactory = (host) =>
        treeOperations(fileSystem, { ...hooksOf(host), readOnly });
      return { place: 'local', create };
    }
    case 'module':
      return { place: 'worker', module: source.module, options: source.options };
    case 'operations':
      return { place: 'local', create: source.create };
  }
}

/** The thread would find this out as well, but later, and not to who has called. */
function checkReadable(path: string): void {
  try {
    accessSync(path, constants.R_OK);
  } catch (cause) {
    const text = `${path} cannot be read: ${errorMessage(cause)}`;
    throw new VhostUserError('ERR_VHU_FS_ARCHIVE', text, { cause });
  }
}
