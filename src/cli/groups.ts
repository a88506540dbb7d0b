/**
 * Groups of this host by name.
 *
 * @module
 */
import { readFileSync } from 'node:fs';
import { UsageError } from './errors.ts';

const GROUP_FILE = '/etc/group';
const NUMBER = /^[0-9]{1,9}$/;

/**
 * The number of a group that is given by name or by number.
 *
 * The group file is asked, which is what every POSIX host has; a group of a directory service has
 * to be given by its number.
 *
 * @throws UsageError when there is no such group
 */
export function groupId(group: string, file: string = GROUP_FILE): number {
  if (NUMBER.test(group)) return Number(group);
  const found = lines(file)
    .map((line) => line.split(':'))
    .find(([name]) => name === group);
  const id = found?.[2] ?? '';
  if (NUMBER.test(id)) return Number(id);
  throw new UsageError(
    `--socket-group ${group}: ${file} has no such group; a group of a directory service is given ` +
      'by its number',
  );
}

function lines(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n');
  } catch {
    return [];
  }
}
