/**
 * A file system of objects in a data plane.
 *
 * @module
 */
import type { FuseHost } from '../host.ts';
import type { TreeOptions } from './core.ts';

/** Tells a data plane of late answers, and its log of mistakes. */
export function hooksOf(host: FuseHost): Pick<TreeOptions, 'completed' | 'report'> {
  return {
    completed: () => host.flush(),
    report: (error) => {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      host.log('error', `the file system threw what is no error for a guest: ${text}`);
    },
  };
}
