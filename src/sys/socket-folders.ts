/**
 * Folders of sockets that have no name in this process any more, and are reached by a descriptor
 * until everything is set up: what a mount namespace leaves of them.
 *
 * @module
 */
import { basename, dirname, join, resolve } from 'node:path';
import { closeFd } from './fd.ts';

/** By the absolute path of the folder. */
const fds = new Map<string, number>();

/** Has sockets in a folder made by way of an fd, which is this module's from then on. */
export function reachFolderBy(folder: string, fd: number): void {
  fds.set(folder, fd);
}

/** Closes all of them: no file of these folders can be reached again. */
export function leaveFolders(): void {
  for (const fd of fds.values()) closeFd(fd);
  fds.clear();
}

/** The path by which calls reach a socket; nearly always the one that it has. */
export function reachedPath(path: string): string {
  if (fds.size === 0) return path;
  const absolute = resolve(path);
  const fd = fds.get(dirname(absolute));
  return fd === undefined ? path : join('/proc/self/fd', String(fd), basename(absolute));
}
