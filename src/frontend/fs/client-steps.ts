/**
 * What several methods of a client have in common, by those methods.
 *
 * @module
 */
import type { FsClient } from './client.ts';
import type { FsFileHandle } from './file-handle.ts';
import { isError } from './mount.ts';
import type { FsMount } from './mount.ts';
import { copyData } from './tree-walk.ts';
import { pathBytes } from './walk.ts';
import type { FsPath } from './walk.ts';

const TEMPORARY_LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789';
const TEMPORARY_LENGTH = 6;
const TEMPORARY_TRIES_MAX = 100;

/** Opens a file for `body`, and closes it whatever happens. */
export async function withFile<T>(
  client: FsClient,
  path: FsPath,
  flags: string | number,
  mode: number,
  body: (file: FsFileHandle) => Promise<T>,
): Promise<T> {
  const file = await client.open(path, flags, mode);
  let result: T;
  try {
    result = await body(file);
  } catch (error) {
    await file.close().catch(() => undefined); // the first error is the one to tell
    throw error;
  }
  await file.close();
  return result;
}

/** Makes a folder and those above it that are missing; the first one that was made. */
export async function makePath(
  client: FsClient,
  path: FsPath,
  mode: number,
): Promise<string | undefined> {
  const bytes = pathBytes(path);
  let first: string | undefined;
  for (let end = bytes.indexOf('/', 1); ; end = bytes.indexOf('/', end + 1)) {
    const prefix = end < 0 ? bytes : bytes.subarray(0, end);
    try {
      await client.mkdir(prefix, mode);
      first ??= prefix.toString();
    } catch (error) {
      if (!isError(error, 'EEXIST', 'EISDIR', 'EROFS') || !(await isFolder(client, prefix))) {
        throw error;
      }
    }
    if (end < 0) return first;
  }
}

async function isFolder(client: FsClient, path: FsPath): Promise<boolean> {
  return (await client.exists(path)) && (await client.stat(path)).isDirectory();
}

/** Copies a file's bytes and permissions. @param mode 1: the copy must not exist */
export async function copyWhole(
  client: FsClient,
  mount: FsMount,
  from: FsPath,
  to: FsPath,
  mode: number,
): Promise<void> {
  const flags = (mode & 1) !== 0 ? 'wx' : 'w';
  const source = await client.open(from, 'r');
  try {
    const permissions = (await source.stat()).mode & 0o777;
    const target = await client.open(to, flags, permissions);
    try {
      await copyData(mount, client.calls, source, target);
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

/** Makes a folder whose name is `prefix` and six letters that no other one has; its path. */
export async function makeTemporary(client: FsClient, prefix: string): Promise<string> {
  for (let tries = 1; ; tries++) {
    const path = prefix + randomLetters();
    try {
      await client.mkdir(path, 0o700);
      return path;
    } catch (error) {
      if (!isError(error, 'EEXIST') || tries === TEMPORARY_TRIES_MAX) throw error;
    }
  }
}

/** The end of the name of a temporary folder. */
function randomLetters(): string {
  let text = '';
  for (let i = 0; i < TEMPORARY_LENGTH; i++) {
    text += TEMPORARY_LETTERS.charAt(Math.floor(Math.random() * TEMPORARY_LETTERS.length));
  }
  return text;
}
