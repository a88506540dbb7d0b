/**
 * QEMU 11 with pipes in the place of eventfd, as on macOS and the BSDs. It starts no vhost-user
 * device there: it writes a kick into the end of the pipe that is for reading, and takes that for
 * an error. A library in front of its own says that there is no eventfd, and that this one write
 * went well; all else is QEMU's.
 *
 * @module
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Qemu } from './setup.ts';

const SOURCE = `#define _GNU_SOURCE
#include <errno.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
int eventfd(unsigned int value, int flags) { errno = ENOSYS; return -1; }
ssize_t write(int fd, const void *bytes, size_t count) {
  ssize_t result = syscall(SYS_write, fd, bytes, count);
  struct stat status;
  if (result >= 0 || errno != EBADF || count != 8) return result;
  if (fstat(fd, &status) != 0 || !S_ISFIFO(status.st_mode)) { errno = EBADF; return -1; }
  return 8;
}
`;

/** The same QEMU with pipes; `folder` is one that it sees. */
export function qemuWithPipes(qemu: Qemu, folder: string): Qemu {
  const source = join(folder, 'pipes.c');
  const library = join(folder, 'pipes.so');
  writeFileSync(source, SOURCE);
  execFileSync('cc', ['-shared', '-fPIC', '-o', library, source], { stdio: 'pipe' });
  const program = qemu.command.at(-1) ?? '';
  const before = qemu.command.slice(0, -1);
  return { ...qemu, command: [...before, '/usr/bin/env', `LD_PRELOAD=${library}`, program] };
}
