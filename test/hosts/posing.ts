/**
 * macOS, FreeBSD and OpenBSD in front of Linux's C library: their structures as their headers
 * declare them, laid out by the C compiler, their numbers, and their functions. Each call is
 * Linux's own until the environment has VHU_POSE.
 *
 * @module
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The hosts that can be played. */
export type PosingHost = 'darwin' | 'freebsd' | 'openbsd';

/** Compiles the library that plays a host; its path, to be loaded before the C library. */
export function compilePosing(folder: string, os: PosingHost): string {
  const source = join(folder, `${os}.c`);
  const library = join(folder, `${os}.so`);
  const own = os === 'darwin' ? DARWIN : BSD;
  writeFileSync(source, [PROLOGUE, HOSTS, CALLS, own, ''].join('\n'));
  const args = ['-shared', '-fPIC', `-D${os.toUpperCase()}`, '-o', library, source];
  execFileSync('cc', args, { stdio: 'pipe' });
  return library;
}

/** Structures and numbers, each as the header says that is named. */
const HOSTS = `
#if defined(DARWIN) // bsd/sys/stat.h, dirent.h, mount.h, fcntl.h of xnu
struct host_stat { int32_t dev; uint16_t mode, nlink; uint64_t ino; uint32_t uid, gid; int32_t rdev;
  struct timespec atim, mtim, ctim, btim; int64_t size, blocks; int32_t blksize; uint32_t flags;
  uint32_t gen; int32_t lspare; int64_t qspare[2]; };
struct host_dirent { uint64_t ino, off; uint16_t reclen, namlen; uint8_t type; char name[1024]; };
struct host_statfs { uint32_t bsize; int32_t iosize; uint64_t blocks, bfree, bavail, files, ffree;
  int32_t fsid[2]; uint32_t owner, type, flags, subtype; char names[16 + 2048]; uint32_t ext[8]; };
struct host_flock { int64_t start, len; int32_t pid; int16_t type, whence; };
#define HOST_CLOEXEC 0x1000000
#define HOST_DIRECTORY 0x100000
#define HOST_NOFOLLOW_AT 0x20
#define HOST_REMOVEDIR 0x80
#define HOST_NOW -1
#define HOST_OMIT -2
#define MAKE(major, minor) (int32_t)((major) << 24 | (minor))
#define HOST_EMLINK ELOOP
#elif defined(FREEBSD) // sys/stat.h, dirent.h, mount.h, fcntl.h
struct host_stat { uint64_t dev, ino, nlink; uint16_t mode; int16_t pad0; uint32_t uid, gid;
  int32_t pad1; uint64_t rdev; struct timespec atim, mtim, ctim, btim; int64_t size, blocks;
  int32_t blksize; uint32_t flags; uint64_t gen, spare[10]; };
struct host_dirent { uint64_t ino; int64_t off; uint16_t reclen; uint8_t type, pad0;
  uint16_t namlen, pad1; char name[256]; };
struct host_statfs { uint32_t version, type; uint64_t flags, bsize, iosize, blocks, bfree;
  int64_t bavail; uint64_t files; int64_t ffree; uint64_t counts[4], spare[10];
  uint32_t namelen, owner; int32_t fsid[2]; char names[80 + 16 + 2048]; };
struct host_flock { int64_t start, len; int32_t pid; int16_t type, whence; int32_t sysid; };
#define HOST_CLOEXEC 0x100000
#define HOST_DIRECTORY 0x20000
#define HOST_NOFOLLOW_AT 0x200
#define HOST_REMOVEDIR 0x800
#define HOST_NOW -1
#define HOST_OMIT -2
#define MAKE(major, minor) ((uint64_t)((major) & 0xffffff00) << 32 | (((major) & 0xff) << 8) \\
  | (uint64_t)((minor) & 0xff00) << 24 | ((minor) & 0xffff00ff))
#define HOST_EMLINK EMLINK
#else // OpenBSD: sys/stat.h, dirent.h, mount.h, fcntl.h
struct host_stat { uint32_t mode; int32_t dev; uint64_t ino; uint32_t nlink, uid, gid; int32_t rdev;
  struct timespec atim, mtim, ctim; int64_t size, blocks; int32_t blksize; uint32_t flags, gen;
  struct timespec btim; };
struct host_dirent { uint64_t ino; int64_t off; uint16_t reclen; uint8_t type, namlen, pad[4];
  char name[256]; };
struct host_statfs { uint32_t flags, bsize, iosize; uint64_t blocks, bfree; int64_t bavail;
  uint64_t files, ffree; int64_t favail; uint64_t counts[4]; int32_t fsid[2];
  uint32_t namelen, owner; uint64_t ctime; char names[16 + 270 + 2 + 160]; };
struct host_flock { int64_t start, len; int32_t pid; int16_t type, whence; };
#define HOST_CLOEXEC 0x10000
#define HOST_DIRECTORY 0x20000
#define HOST_NOFOLLOW_AT 2
#define HOST_REMOVEDIR 8
#define HOST_NOW -2
#define HOST_OMIT -1
#define MAKE(major, minor) (int32_t)((major) << 8 | ((minor) & 0xff) | ((minor) & 0xffff00) << 8)
#define HOST_EMLINK ELOOP
#endif
#define HOST_FDCWD (HOST_NOFOLLOW_AT == 0x20 ? -2 : -100)
static int posing(void) { return getenv("VHU_POSE") != NULL; }`;

/** The calls themselves; each is Linux's own until the child says that it poses. */
const CALLS = `
static int fill(int result, const struct stat *from, struct host_stat *to) {
  if (result < 0) return result;
  memset(to, 0xee, sizeof *to);
  to->dev = MAKE(major(from->st_dev), minor(from->st_dev));
  to->rdev = from->st_rdev == 0 ? 0 : MAKE(major(from->st_rdev), minor(from->st_rdev));
  to->ino = from->st_ino; to->mode = from->st_mode; to->nlink = from->st_nlink;
  to->uid = from->st_uid; to->gid = from->st_gid; to->size = from->st_size;
  to->blocks = from->st_blocks; to->blksize = from->st_blksize;
  to->atim = from->st_atim; to->mtim = from->st_mtim; to->ctim = from->st_ctim;
  return 0;
}
int host_fstatat(int dir, const char *name, void *buf, int flags) {
  struct stat from;
  if (!posing()) return (int)syscall(SYS_newfstatat, dir, name, buf, flags);
  if (flags != HOST_NOFOLLOW_AT) { errno = EINVAL; return -1; }
  return fill((int)syscall(SYS_newfstatat, dir, name, &from, AT_SYMLINK_NOFOLLOW), &from, buf);
}
int host_fstat(int fd, void *buf) {
  struct stat from;
  if (!posing()) return (int)syscall(SYS_fstat, fd, buf);
  return fill((int)syscall(SYS_fstat, fd, &from), &from, buf);
}
int host_fstatfs(int fd, struct host_statfs *to) {
  struct statfs from;
  if (!posing()) return (int)syscall(SYS_fstatfs, fd, to);
  if (syscall(SYS_fstatfs, fd, &from) < 0) return -1;
  memset(to, 0xee, sizeof *to);
  to->bsize = from.f_bsize; to->blocks = from.f_blocks; to->bfree = from.f_bfree;
  to->bavail = -1; to->files = from.f_files; to->ffree = from.f_ffree;
#ifdef DARWIN
  to->bavail = from.f_bavail;
#else
  to->namelen = from.f_namelen;
#endif
  return 0;
}
int openat(int dir, const char *name, int flags, ...) {
  va_list list; va_start(list, flags); int mode = va_arg(list, int); va_end(list);
  if (!posing()) return (int)syscall(SYS_openat, dir, name, flags, mode);
  int to = flags & 3, known = 3;
#define FLAG(host, ours) known |= host; if (flags & (host)) to |= (ours)
  FLAG(4, O_NONBLOCK); FLAG(8, O_APPEND); FLAG(0x80, O_SYNC); FLAG(0x100, O_NOFOLLOW);
  FLAG(0x200, O_CREAT); FLAG(0x400, O_TRUNC); FLAG(0x800, O_EXCL);
  FLAG(HOST_CLOEXEC, O_CLOEXEC); FLAG(HOST_DIRECTORY, O_DIRECTORY);
  if (flags & ~known) { errno = EINVAL; return -1; }
  int fd = (int)syscall(SYS_openat, dir, name, to, mode);
  if (fd < 0 && errno == ELOOP) errno = HOST_EMLINK;
  return fd;
}
static ssize_t directory(int fd, char *buf, size_t bytes) {
  char from[256];
  size_t done = 0;
  for (;;) { // one entry at a time: the size of ours tells nothing of the size of theirs
    off_t place = lseek(fd, 0, SEEK_CUR);
    ssize_t count = syscall(SYS_getdents64, fd, from, sizeof from);
    if (count <= 0) return done > 0 ? (ssize_t)done : count;
    struct dirent64 *entry = (struct dirent64 *)from;
    struct host_dirent *to = (struct host_dirent *)(buf + done);
    size_t length = strlen(entry->d_name);
    size_t record = (offsetof(struct host_dirent, name) + length + 1 + 7) & ~7ul;
    if (done + record > bytes) {
      lseek(fd, place, SEEK_SET);
      if (done > 0) return (ssize_t)done;
      errno = EINVAL;
      return -1;
    }
    memset(to, 0xee, record);
    to->ino = entry->d_ino; to->reclen = record; to->type = entry->d_type; to->namlen = length;
    to->off = HOST_REMOVEDIR == 0x80 ? 0 : entry->d_off;
    memcpy(to->name, entry->d_name, length + 1);
    lseek(fd, entry->d_off, SEEK_SET);
    done += record;
  }
}
int unlinkat(int dir, const char *name, int flags) {
  int ours = !posing() ? flags : flags == HOST_REMOVEDIR ? AT_REMOVEDIR : flags == 0 ? 0 : -1;
  return (int)syscall(SYS_unlinkat, dir, name, ours);
}
int fchownat(int dir, const char *name, uid_t uid, gid_t gid, int flags) {
  if (posing() && flags != HOST_NOFOLLOW_AT) { errno = EINVAL; return -1; }
  return (int)syscall(SYS_fchownat, dir, name, uid, gid, AT_SYMLINK_NOFOLLOW);
}
static void times(const struct timespec *from, struct timespec *to) {
  for (int i = 0; i < 2; i++) {
    to[i] = from[i];
    if (from[i].tv_nsec == HOST_NOW) to[i].tv_nsec = UTIME_NOW;
    if (from[i].tv_nsec == HOST_OMIT) to[i].tv_nsec = UTIME_OMIT;
  }
}
int utimensat(int dir, const char *name, const struct timespec *from, int flags) {
  struct timespec to[2];
  if (!posing()) return (int)syscall(SYS_utimensat, dir, name, from, flags);
  if (flags != HOST_NOFOLLOW_AT) { errno = EINVAL; return -1; }
  times(from, to);
  return (int)syscall(SYS_utimensat, dir, name, to, AT_SYMLINK_NOFOLLOW);
}
int futimens(int fd, const struct timespec *from) {
  struct timespec to[2];
  if (!posing()) return (int)syscall(SYS_utimensat, fd, NULL, from, 0);
  times(from, to);
  return (int)syscall(SYS_utimensat, fd, NULL, to, 0);
}
int fcntl(int fd, int command, ...) {
  va_list list; va_start(list, command); void *arg = va_arg(list, void *); va_end(list);
  if (!posing() || command < 80) return (int)syscall(SYS_fcntl, fd, command, arg);
  struct host_flock *host = arg;
  struct flock ours = { .l_type = host->type == 1 ? F_RDLCK : host->type == 3 ? F_WRLCK : F_UNLCK,
    .l_start = host->start, .l_len = host->len, .l_whence = host->whence, .l_pid = 0 };
  int result = (int)syscall(SYS_fcntl, fd, command == 90 ? 37 : command == 91 ? 38 : 36, &ours);
  host->type = ours.l_type == F_RDLCK ? 1 : ours.l_type == F_WRLCK ? 3 : 2;
  host->start = ours.l_start; host->len = ours.l_len; host->pid = ours.l_pid;
  return result;
}`;

/** What only one of them has. */
const DARWIN = `
int inode64_fstatat(int, const char *, void *, int) __asm__("fstatat$INODE64");
int inode64_fstatat(int dir, const char *name, void *buf, int flags) {
  return host_fstatat(dir, name, buf, flags);
}
int inode64_fstat(int, void *) __asm__("fstat$INODE64");
int inode64_fstat(int fd, void *buf) { return host_fstat(fd, buf); }
int inode64_fstatfs(int, void *) __asm__("fstatfs$INODE64");
int inode64_fstatfs(int fd, void *buf) { return host_fstatfs(fd, buf); }
ssize_t __getdirentries64(int fd, char *buf, size_t bytes, long *base) {
  *base = lseek(fd, 0, SEEK_CUR);
  return directory(fd, buf, bytes);
}
int renameatx_np(int a, const char *old, int b, const char *new, unsigned flags) {
  unsigned ours = flags == 2 ? RENAME_EXCHANGE : flags == 4 ? RENAME_NOREPLACE : 99;
  return (int)syscall(SYS_renameat2, a, old, b, new, ours);
}
static long attribute(long result) {
  if (result < 0 && errno == ENODATA) errno = 93; // ENOATTR
  return result;
}
ssize_t fgetxattr(int fd, const char *name, void *value, size_t bytes, uint32_t at, int options) {
  if (at != 0 || options != 0) { errno = EINVAL; return -1; }
  return attribute(syscall(SYS_fgetxattr, fd, name, value, bytes));
}
int fsetxattr(int fd, const char *name, const void *value, size_t bytes, uint32_t at, int options) {
  if (at != 0) { errno = EINVAL; return -1; }
  return (int)attribute(syscall(SYS_fsetxattr, fd, name, value, bytes, options >> 1));
}
ssize_t flistxattr(int fd, char *list, size_t bytes, int options) {
  if (options != 0) { errno = EINVAL; return -1; }
  return syscall(SYS_flistxattr, fd, list, bytes);
}
int fremovexattr(int fd, const char *name, int options) {
  if (options != 0) { errno = EINVAL; return -1; }
  return (int)attribute(syscall(SYS_fremovexattr, fd, name));
}
long fpathconf(int fd, int name) { return name == 11 ? 0 : fd < 0 ? -1 : 1; }`;

const BSD = `
int fstatat(int dir, const char *name, struct stat *buf, int flags) {
  return host_fstatat(dir, name, buf, flags);
}
int fstat(int fd, struct stat *buf) { return host_fstat(fd, buf); }
int fstatfs(int fd, struct statfs *buf) { return host_fstatfs(fd, (void *)buf); }
ssize_t getdents(int fd, void *buf, size_t bytes) { return directory(fd, buf, bytes); }
#ifdef FREEBSD
#define SPACE(space) if (space != 1) { errno = EPERM; return -1; } \\
  char full[300] = "user."; if (name != NULL) strncat(full, name, 255)
static long attribute(long result) {
  if (result < 0 && errno == ENODATA) errno = 87; // ENOATTR
  return result;
}
ssize_t extattr_get_fd(int fd, int space, const char *name, void *value, size_t bytes) {
  SPACE(space);
  if (value == NULL) return attribute(syscall(SYS_fgetxattr, fd, full, NULL, 0));
  char all[65536]; // a value that is longer than the buffer is cut
  ssize_t count = attribute(syscall(SYS_fgetxattr, fd, full, all, sizeof all));
  if (count < 0) return count;
  memcpy(value, all, (size_t)count < bytes ? (size_t)count : bytes);
  return (size_t)count < bytes ? count : (ssize_t)bytes;
}
ssize_t extattr_set_fd(int fd, int space, const char *name, const void *value, size_t bytes) {
  SPACE(space);
  return syscall(SYS_fsetxattr, fd, full, value, bytes, 0) < 0 ? -1 : (ssize_t)bytes;
}
int extattr_delete_fd(int fd, int space, const char *name) {
  SPACE(space);
  return (int)attribute(syscall(SYS_fremovexattr, fd, full));
}
ssize_t extattr_list_fd(int fd, int space, char *list, size_t bytes) {
  const char *name = NULL;
  SPACE(space);
  ssize_t count = syscall(SYS_flistxattr, fd, full, sizeof full), done = 0;
  for (ssize_t at = 0; at < count; at += (ssize_t)strlen(full + at) + 1) {
    if (strncmp(full + at, "user.", 5) != 0) continue;
    size_t length = strlen(full + at) - 5;
    if (done + length + 1 > bytes) break;
    list[done++] = (char)length; // and no NUL
    memcpy(list + done, full + at + 5, length);
    done += (ssize_t)length;
  }
  return done;
}
#endif`;

const PROLOGUE = ['#define _GNU_SOURCE']
  .concat(
    ['errno', 'stdarg', 'stddef', 'stdint', 'stdio', 'stdlib', 'string', 'unistd'].map(include),
  )
  .concat(['fcntl', 'dirent', 'sys/stat', 'sys/statfs', 'sys/syscall'].map(include))
  .concat(['sys/sysmacros', 'linux/fs'].map(include))
  .join('\n');

function include(header: string): string {
  return `#include <${header}.h>`;
}
