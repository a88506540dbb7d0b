/**
 * A folder of this host, shared and mounted: both ends in this process, for tests of what the one
 * side sees of the other.
 *
 * @module
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FsClient } from '../frontend/index.ts';
import type { FsClientOptions } from '../frontend/index.ts';
import { openFs } from '../devices/fs/index.ts';
import type { HostFolderOptions } from '../devices/fs/index.ts';
import { TestBackend } from './test-backend.ts';

/** What a test gets. */
export interface SharedFolder {
  /** The mount. */
  readonly fs: FsClient;
  /** The folder's path on the host. */
  readonly folder: string;
  readonly backend: TestBackend;
}

/** How a folder is shared, and mounted. */
export interface SharedFolderOptions extends Omit<HostFolderOptions, 'folder'> {
  readonly client?: FsClientOptions;
}

/**
 * Shares an empty folder, which is gone afterwards, whatever `body` does.
 *
 * ```ts
 * await withSharedFolder({ cache: 'never' }, async ({ fs, folder }) => {
 *   await fs.writeFile('/a', 'hello');
 *   console.log(readFileSync(join(folder, 'a'), 'utf8'));
 * });
 * ```
 */
export async function withSharedFolder(
  options: SharedFolderOptions,
  body: (shared: SharedFolder) => Promise<void>,
): Promise<void> {
  const { client = {}, ...folderOptions } = options;
  const folder = mkdtempSync(join(tmpdir(), 'vhost-user-shared-'));
  try {
    const source = { kind: 'folder', folder, ...folderOptions } as const;
    const backend = await TestBackend.start(openFs({ tag: 'shared', source }));
    try {
      const fs = await FsClient.mount(backend.socketPath, client);
      try {
        await body({ fs, folder, backend });
      } finally {
        await fs.unmount();
      }
    } finally {
      await backend.close();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
