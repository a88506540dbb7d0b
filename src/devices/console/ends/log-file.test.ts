/**
 * The log file of a port, when its disk is slow.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, open, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { LogFile } from './log-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'vhu-log-'));
after(() => rmSync(folder, { recursive: true }));

/** Node writes on threads, of which there are so many. */
const THREADS = 4;

/** Keeps all of Node's threads busy, as a disk does that does not answer, until `end` is called. */
function slowDisk(): { end(): Promise<void> } {
  const pipes = Array.from({ length: THREADS }, (_, i) => join(folder, `pipe-${String(i)}`));
  execFileSync('mkfifo', pipes);
  const opened = pipes.map(
    (path) =>
      new Promise<void>((resolve, reject) => {
        open(path, 'r', (error, fd) => {
          if (error !== null) {
            reject(error);
            return;
          }
          closeSync(fd);
          resolve();
        });
      }),
  );
  return {
    end: async () => {
      for (const path of pipes) closeSync(openSync(path, 'r+')); // somebody has come
      await Promise.all(opened);
      for (const path of pipes) rmSync(path);
    },
  };
}

it('a log that is closed while it is written writes to no file but its own', async () => {
  const said: string[] = [];
  const log = new LogFile({ path: join(folder, 'log') }, (_level, text) => said.push(text));
  log.open();
  const disk = slowDisk();
  const written = new Promise<void>((resolve) => {
    log.write(Buffer.from('output of the guest'), resolve);
  });
  log.close();
  // A file that is opened next gets the lowest number that is free: the log's, if it is.
  const other = openSync(join(folder, 'other'), 'w+');
  log.reopen();
  await disk.end();
  await written;
  closeSync(other);
  assert.equal(readFileSync(join(folder, 'other'), 'utf8'), '');
  assert.equal(readFileSync(join(folder, 'log'), 'utf8'), 'output of the guest');
  assert.deepEqual(said, []);
});
