/**
 * What a worker thread loads for a folder of this host.
 *
 * @module
 */
import type { DataPlaneContext } from '../../../backend/index.ts';
import { HostFolder } from './folder.ts';
import type { HostFolderSettings } from './options.ts';

/** Makes the operations of a folder; `options` are {@link HostFolderSettings}. */
export function createOperations(
  host: Pick<DataPlaneContext, 'reactor' | 'log'> & { readonly options: unknown },
): HostFolder {
  const folder = new HostFolder(host.options as HostFolderSettings, host);
  host.log('debug', `files are read and written by ${folder.engine}`);
  return folder;
}
