/**
 * virtio-fs: a shared folder, or a file system written in TypeScript.
 *
 * @module
 */
import { FsDevice } from './device.ts';
import type { FsOptions } from './options.ts';

export { FsDevice };
export type { FuseHost, FuseOperationsFactory } from './host.ts';
export { FS_CONFIG, FS_HIPRIO_QUEUE, FS_TAG_BYTES, VIRTIO_ID_FS } from './layout.ts';
export { ArchiveFileSystem, openArchive } from './archive/index.ts';
export type { ArchiveNode, ArchiveOptions } from './archive/index.ts';
export { MemoryFileSystem, copyTree } from './memory/index.ts';
export type { MemoryNode, MemoryOptions } from './memory/index.ts';
export { PENDING } from './operations.ts';
export type { FuseAbilities, FuseCall, FuseOperations, FuseSession } from './operations.ts';
export type { FsOptions } from './options.ts';
export { createOperations } from './passthrough/create-operations.ts';
export { HostFolder } from './passthrough/folder.ts';
export { FOLDER_FDS_MIN, hostFolderSettings } from './passthrough/options.ts';
export type {
  CachePolicy,
  HostFolderOptions,
  HostFolderSettings,
  OwnerPolicy,
} from './passthrough/options.ts';
export type { ReaddirPlus } from './server/init.ts';
export { FuseServer } from './server/server.ts';
export type { FuseServerOptions } from './server/server.ts';
export type {
  ArchiveSource,
  FileSystemSource,
  FolderSource,
  FsSource,
  MemorySource,
  ModuleSource,
  OperationsSource,
} from './source.ts';
export { FileSystemError, fsError, nameBytes, nameText, treeOperations } from './tree/index.ts';
export type {
  AllocateMode,
  Awaitable,
  DirectoryEntry,
  FileSystem,
  FileSystemUsage,
  FsErrorCode,
  FsRequest,
  NativeTarget,
  NodeKind,
  OpenMode,
  Stat,
  StatChanges,
  Time,
  Timestamp,
  TreeOptions,
} from './tree/index.ts';

/**
 * Makes a file system a device. Serve it with `startBackend`, which closes it in the end.
 *
 * ```ts
 * const share = openFs({ tag: 'myfs', source: { kind: 'folder', folder: '/srv/share' } });
 * const backend = await startBackend(share, { kind: 'listen', path: '/tmp/fs.sock' });
 * ```
 *
 * @throws VhostUserError in words for people: `ERR_VHU_OPTION`, and what the source says.
 */
export function openFs(options: FsOptions): FsDevice {
  return new FsDevice(options);
}
