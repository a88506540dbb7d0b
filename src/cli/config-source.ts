/**
 * The text of a configuration file, or why there is none, in words for people.
 *
 * @module
 */
import { readFileSync } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import { VhostUserError, errorCode, errorMessage } from '../util/index.ts';
import { UsageError } from './errors.ts';

/** What the system says, in words, and what to do; `errorMessage` of the rest is Node's. */
const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file: check the path',
  ENOTDIR: 'there is no such file: a part of the path is no folder',
  EISDIR: 'it is a folder: name the file in it',
  EACCES: 'this user may not read it: change its permissions (or those of a folder on the way)',
  EPERM: 'this user may not read it: change its permissions (or those of a folder on the way)',
  ELOOP: 'there is no such file: a symbolic link on the way leads back to itself',
  ENAMETOOLONG: 'there is no such file: the path is too long for one',
};

/**
 * Reads a file.
 * @throws VhostUserError `ERR_VHU_CONFIG_FILE` when it cannot be read; UsageError when it holds no
 *   text
 */
export function readConfigText(path: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const reason = REASONS[errorCode(error) ?? ''] ?? errorMessage(error);
    const message = `${named(path)} cannot be read: ${reason}`;
    throw new VhostUserError('ERR_VHU_CONFIG_FILE', message, { cause: error });
  }
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new UsageError(`${named(path)} is no text (UTF-8): is it the right file?`);
  }
  if (text.includes('\0')) throw new UsageError(`${named(path)} is no text: is it the right file?`);
  if (text.trim() === '') throw new UsageError(`${named(path)} is empty: is it the right file?`);
  return text;
}

function named(path: string): string {
  return `the configuration ${isAbsolute(path) ? path : `'${path}' (${resolve(path)})`}`;
}
