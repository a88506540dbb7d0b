/**
 * What the owner and the mode of a file allow, as access(2) asks it.
 *
 * @module
 */
import type { FuseIdentity } from './lane.ts';
import type { FsStats } from './structures.ts';

/** The modes of access(2), as `node:fs` has them. */
export const ACCESS = { F_OK: 0, X_OK: 1, W_OK: 2, R_OK: 4 } as const;

/** Whether `wanted`, bits of {@link ACCESS}, is allowed; nothing is known of further groups. */
export function allows(stats: FsStats, identity: FuseIdentity, wanted: number): boolean {
  if (identity.uid === 0) {
    const executable = stats.isDirectory() || (stats.mode & 0o111) !== 0;
    return (wanted & ACCESS.X_OK) === 0 || executable;
  }
  const shift = stats.uid === identity.uid ? 6 : stats.gid === identity.gid ? 3 : 0;
  return ((stats.mode >> shift) & wanted) === wanted;
}
