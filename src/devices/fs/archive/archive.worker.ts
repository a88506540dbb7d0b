/**
 * What a worker thread loads for an archive; for a zip archive, which is unpacked asynchronously,
 * it is called on the main thread.
 *
 * @module
 */
import type { FuseHost } from '../host.ts';
import type { FuseOperations } from '../operations.ts';
import { hooksOf, treeOperations } from '../tree/index.ts';
import { openArchive } from './open-archive.ts';
import type { ArchiveOptions } from './open-archive.ts';

/** Plain data for the thread. */
export interface ArchivePlan extends Omit<ArchiveOptions, 'onProgress'> {
  readonly path: string;
}

/** Makes the operations; `host.options` is an {@link ArchivePlan}. */
export async function createOperations(host: FuseHost): Promise<FuseOperations> {
  const { path, ...options } = host.options as ArchivePlan;
  const files = await openArchive(path, options);
  for (const reason of files.skipped) host.log('warn', `${path}: not shown: ${reason}`);
  return treeOperations(files, hooksOf(host));
}
