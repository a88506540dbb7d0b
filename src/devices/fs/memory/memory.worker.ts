/**
 * What a worker thread loads for a file system in memory.
 *
 * @module
 */
import type { FuseHost } from '../host.ts';
import type { FuseOperations } from '../operations.ts';
import { hooksOf, treeOperations } from '../tree/index.ts';
import { MemoryFileSystem } from './memory-file-system.ts';
import type { MemoryOptions } from './memory-file-system.ts';
import { preload } from './preload.ts';

/** Plain data for the thread. */
export interface MemoryPlan extends MemoryOptions {
  /** A folder or an archive of this host that is copied into it. */
  readonly preload?: string;
  readonly readOnly?: boolean;
}

/** Makes the operations; `host.options` is a {@link MemoryPlan}. */
export async function createOperations(host: FuseHost): Promise<FuseOperations> {
  const plan = host.options as MemoryPlan;
  // Nobody but the guest changes anything, so that its kernel may keep what it has seen.
  const memory = new MemoryFileSystem({ validMs: Infinity, ...plan });
  if (plan.preload !== undefined) await preload(memory, plan.preload);
  return treeOperations(memory, { ...hooksOf(host), readOnly: plan.readOnly ?? false });
}
