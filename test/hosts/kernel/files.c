// Files by name, directories, attributes and locks. The structures are declared here as the headers of
// each system declare them, and laid out by the C compiler: they do not come from the tables.
#include "model.h"
#include <dirent.h>
#include <linux/fs.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#if HOST_DARWIN // bsd/sys/stat.h, dirent.h, mount.h, fcntl.h of xnu
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
#elif HOST_FREEBSD // sys/stat.h, dirent.h, mount.h, fcntl.h
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
#define MAKE(major, minor) ((uint64_t)((major) & 0xffffff00) << 32 | (((major) & 0xff) << 8) \
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
#define HOST_FDCWD (HOST_DARWIN ? -2 : -100)

// The folder that a call begins at; -100, which is Linux's own, is a closed descriptor on macOS.
static int folder(int dir) {
  if (dir == HOST_FDCWD) return AT_FDCWD;
  return dir == AT_FDCWD ? -1 : dir;
}

static int fill(int result, const struct stat *from, struct host_stat *to, bool isShm) {
  if (result < 0) return (int)out(result);
  memset(to, 0xee, sizeof *to);
  to->dev = MAKE(major(from->st_dev), minor(from->st_dev));
  to->rdev = from->st_rdev == 0 ? 0 : MAKE(major(from->st_rdev), minor(from->st_rdev));
  to->ino = from->st_ino; to->mode = from->st_mode; to->nlink = from->st_nlink;
  to->uid = from->st_uid; to->gid = from->st_gid; to->size = from->st_size;
  to->blocks = from->st_blocks; to->blksize = from->st_blksize;
  to->atim = from->st_atim; to->mtim = from->st_mtim; to->ctim = from->st_ctim;
  // xnu bsd/kern/posix_shm.c pshm_stat: permissions without a kind
  if (HOST_DARWIN && isShm) to->mode &= 07777;
  return 0;
}
int model_fstatat(int dir, const char *name, void *buf, int flags) {
  struct stat from;
  if (flags & ~HOST_NOFOLLOW_AT) return (int)fail(EINVAL);
  int ours = flags == 0 ? 0 : AT_SYMLINK_NOFOLLOW;
  return fill((int)syscall(SYS_newfstatat, folder(dir), name, &from, ours), &from, buf, false);
}
int model_fstat(int fd, void *buf) {
  struct stat from;
  return fill((int)syscall(SYS_fstat, fd, &from), &from, buf, is_shm_object(fd));
}
int model_fstatfs(int fd, struct host_statfs *to) {
  struct statfs from;
  if (syscall(SYS_fstatfs, fd, &from) < 0) return (int)out(-1);
  memset(to, 0xee, sizeof *to);
  to->bsize = from.f_bsize; to->blocks = from.f_blocks; to->bfree = from.f_bfree;
  to->bavail = -1; to->files = from.f_files; to->ffree = from.f_ffree;
#if HOST_DARWIN
  to->bavail = from.f_bavail;
#else
  to->namelen = from.f_namelen;
#endif
  return 0;
}
int model_openat(int dir, const char *name, int flags, ...) {
  va_list list; va_start(list, flags); int mode = va_arg(list, int); va_end(list);
  int to = flags & 3, known = 3;
#define FLAG(host, ours) known |= host; if (flags & (host)) to |= (ours)
  FLAG(4, O_NONBLOCK); FLAG(8, O_APPEND); FLAG(0x80, O_SYNC); FLAG(0x100, O_NOFOLLOW);
  FLAG(0x200, O_CREAT); FLAG(0x400, O_TRUNC); FLAG(0x800, O_EXCL);
  FLAG(HOST_CLOEXEC, O_CLOEXEC); FLAG(HOST_DIRECTORY, O_DIRECTORY); FLAG(H_O_NOCTTY, O_NOCTTY);
#if HOST_DARWIN
  FLAG(H_O_DSYNC, O_DSYNC);
#endif
  if (flags & ~known) return (int)fail(EINVAL);
  int fd = (int)syscall(SYS_openat, folder(dir), name, to, mode);
  // FreeBSD open(2): EMLINK for the last link of a path with O_NOFOLLOW; the others as Linux
  if (fd < 0 && errno == ELOOP && flags & 0x100 && rule("nofollow-emlink")) errno = HOST_EMLINK;
  return (int)out(fd);
}
static ssize_t directory(int fd, char *buf, size_t bytes) {
  char from[512];
  size_t done = 0;
  for (;;) { // one entry at a time: the size of ours tells nothing of the size of theirs
    off_t place = lseek(fd, 0, SEEK_CUR);
    ssize_t count = syscall(SYS_getdents64, fd, from, sizeof from);
    if (count <= 0) return done > 0 ? (ssize_t)done : out(count);
    struct dirent64 *entry = (struct dirent64 *)from;
    struct host_dirent *to = (struct host_dirent *)(buf + done);
    size_t length = strlen(entry->d_name);
    size_t record = (offsetof(struct host_dirent, name) + length + 1 + 7) & ~7ul;
    if (done + record > bytes) {
      lseek(fd, place, SEEK_SET);
      return done > 0 ? (ssize_t)done : fail(EINVAL);
    }
    memset(to, 0xee, record);
    to->ino = entry->d_ino; to->reclen = record; to->type = entry->d_type; to->namlen = length;
    to->off = HOST_DARWIN ? 0 : entry->d_off;
    memcpy(to->name, entry->d_name, length + 1);
    lseek(fd, entry->d_off, SEEK_SET);
    done += record;
  }
}
int model_unlinkat(int dir, const char *name, int flags) {
  if (flags != 0 && flags != HOST_REMOVEDIR) return (int)fail(EINVAL);
  int ours = flags == HOST_REMOVEDIR ? AT_REMOVEDIR : 0;
  int result = (int)syscall(SYS_unlinkat, folder(dir), name, ours);
  // POSIX and all three: EPERM, where Linux has EISDIR (xnu unlinkat_internal, FreeBSD
  // kern_funlinkat, OpenBSD dounlinkat)
  if (result < 0 && errno == EISDIR && rule("unlink-eperm")) errno = EPERM;
  return (int)out(result);
}
int model_fchownat(int dir, const char *name, uid_t uid, gid_t gid, int flags) {
  if (flags & ~HOST_NOFOLLOW_AT) return (int)fail(EINVAL);
  int ours = flags ? AT_SYMLINK_NOFOLLOW : 0;
  return (int)out(syscall(SYS_fchownat, folder(dir), name, uid, gid, ours));
}
int model_fchown(int fd, uid_t uid, gid_t gid) { return (int)out(fchown(fd, uid, gid)); }
int model_fchmodat(int dir, const char *name, mode_t mode, int flags) {
  if (flags & ~HOST_NOFOLLOW_AT) return (int)fail(EINVAL);
  if (flags == 0) return (int)out(syscall(SYS_fchmodat, folder(dir), name, mode));
  return (int)out(syscall(452 /* fchmodat2 */, folder(dir), name, mode, AT_SYMLINK_NOFOLLOW));
}
int model_fchmod(int fd, mode_t mode) { return (int)out(fchmod(fd, mode)); }
int model_chmod(const char *path, mode_t mode) { return (int)out(chmod(path, mode)); }
int model_mkdirat(int dir, const char *name, mode_t mode) {
  return (int)out(mkdirat(folder(dir), name, mode));
}
int model_mkfifoat(int dir, const char *name, mode_t mode) {
  return (int)out(mkfifoat(folder(dir), name, mode));
}
int model_mknodat(int dir, const char *name, mode_t mode, uint64_t dev) {
  // xnu mknodat, FreeBSD kern_mknodat, OpenBSD domknodat: devices and pipes only
  if (S_ISREG(mode) || (mode & S_IFMT) == 0) return (int)fail(EINVAL);
  int major = HOST_DARWIN ? (int)(dev >> 24) & 0xff : (int)(dev >> 8) & 0xff;
  int minor = HOST_DARWIN ? (int)dev & 0xffffff : (int)dev & 0xff;
  return (int)out(mknodat(folder(dir), name, mode, makedev(major, minor)));
}
int model_renameat(int a, const char *old, int b, const char *new) {
  return (int)out(renameat(folder(a), old, folder(b), new));
}
int model_symlinkat(const char *target, int dir, const char *name) {
  return (int)out(symlinkat(target, folder(dir), name));
}
long model_readlinkat(int dir, const char *name, char *to, size_t bytes) {
  return out(readlinkat(folder(dir), name, to, bytes));
}
int model_linkat(int a, const char *old, int b, const char *new, int flags) {
  if (flags & ~H_AT_SYMLINK_FOLLOW) return (int)fail(EINVAL);
  return (int)out(linkat(folder(a), old, folder(b), new, flags ? AT_SYMLINK_FOLLOW : 0));
}
static void times(const struct timespec *from, struct timespec *to) {
  for (int i = 0; i < 2; i++) {
    to[i] = from[i];
    if (from[i].tv_nsec == HOST_NOW) to[i].tv_nsec = UTIME_NOW;
    if (from[i].tv_nsec == HOST_OMIT) to[i].tv_nsec = UTIME_OMIT;
  }
}
int model_utimensat(int dir, const char *name, const struct timespec *from, int flags) {
  struct timespec to[2];
  if (flags & ~HOST_NOFOLLOW_AT) return (int)fail(EINVAL);
  times(from, to);
  int ours = flags ? AT_SYMLINK_NOFOLLOW : 0;
  return (int)out(syscall(SYS_utimensat, folder(dir), name, to, ours));
}
int model_futimens(int fd, const struct timespec *from) {
  struct timespec to[2];
  times(from, to);
  return (int)out(syscall(SYS_utimensat, fd, NULL, to, 0));
}
// What is left for fcntl: locks of open files, which only macOS has of these.
int fcntl_lock(int fd, int command, void *arg) {
  if (!HOST_DARWIN || command < 90 || command > 92) { errno = EINVAL; return -1; }
  struct host_flock *host = arg;
  struct flock ours = { .l_type = host->type == 1 ? F_RDLCK : host->type == 3 ? F_WRLCK : F_UNLCK,
    .l_start = host->start, .l_len = host->len, .l_whence = host->whence, .l_pid = 0 };
  int result = (int)syscall(SYS_fcntl, fd, command == 90 ? 37 : command == 91 ? 38 : 36, &ours);
  host->type = ours.l_type == F_RDLCK ? 1 : ours.l_type == F_WRLCK ? 3 : 2;
  host->start = ours.l_start; host->len = ours.l_len; host->pid = ours.l_pid;
  return result;
}
int model_fsync(int fd) { return (int)out(fsync(fd)); }
int model_fdatasync(int fd) { return (int)out(fdatasync(fd)); }

#if HOST_DARWIN
ssize_t model___getdirentries64(int fd, char *buf, size_t bytes, long *base) {
  *base = lseek(fd, 0, SEEK_CUR);
  return directory(fd, buf, bytes);
}
int model_renameatx_np(int a, const char *old, int b, const char *new, unsigned flags) {
  unsigned ours = flags == 2 ? RENAME_EXCHANGE : flags == 4 ? RENAME_NOREPLACE : 99;
  return (int)out(syscall(SYS_renameat2, folder(a), old, folder(b), new, ours));
}
static long attribute(long result) {
  if (result < 0 && errno == ENODATA) errno = OWN_ERRNO + 93; // ENOATTR
  return out(result);
}
ssize_t model_fgetxattr(int fd, const char *name, void *value, size_t bytes, uint32_t at,
    int options) {
  if (at != 0 || options != 0) return fail(EINVAL);
  return attribute(syscall(SYS_fgetxattr, fd, name, value, bytes));
}
int model_fsetxattr(int fd, const char *name, const void *value, size_t bytes, uint32_t at,
    int options) {
  if (at != 0) return (int)fail(EINVAL);
  return (int)attribute(syscall(SYS_fsetxattr, fd, name, value, bytes, options >> 1));
}
ssize_t model_flistxattr(int fd, char *list, size_t bytes, int options) {
  if (options != 0) return fail(EINVAL);
  return out(syscall(SYS_flistxattr, fd, list, bytes));
}
int model_fremovexattr(int fd, const char *name, int options) {
  if (options != 0) return (int)fail(EINVAL);
  return (int)attribute(syscall(SYS_fremovexattr, fd, name));
}
long model_fpathconf(int fd, int name) { return name == 11 ? 0 : fd < 0 ? fail(EBADF) : 1; }
#else
long model_fpathconf(int fd, int name) {
  (void)name; // no more than macOS's is asked for
  return fcntl(fd, F_GETFD) < 0 ? out(-1) : fail(EINVAL);
}
#endif

#if HOST_OPENBSD
int model_getdents(int fd, void *buf, size_t bytes) { return (int)directory(fd, buf, bytes); }
#elif HOST_FREEBSD
ssize_t model_getdirentries(int fd, char *buf, size_t bytes, int64_t *base) {
  *base = lseek(fd, 0, SEEK_CUR);
  return directory(fd, buf, bytes);
}
int model_posix_fallocate(int fd, int64_t offset, int64_t bytes) {
  int error = posix_fallocate(fd, offset, bytes); // which is returned
  return error ? host_errno(error) : 0;
}
long model_copy_file_range(int in, void *inAt, int to, void *toAt, size_t bytes, unsigned flags) {
  return out(syscall(SYS_copy_file_range, in, inAt, to, toAt, bytes, flags));
}
int model_fspacectl(int fd, int command, const int64_t range[2], int flags, int64_t *left) {
  (void)left;
  if (command != H_SPACECTL_DEALLOC || flags != 0) return (int)fail(EINVAL);
  return (int)out(fallocate(fd, 3 /* punch, keep the size */, range[0], range[1]));
}
#define SPACE(space) if (space != 1) return fail(EPERM); \
  char full[300] = "user."; if (name != NULL) strncat(full, name, 255)
static long attribute(long result) {
  if (result < 0 && errno == ENODATA) errno = OWN_ERRNO + 87; // ENOATTR
  return out(result);
}
ssize_t model_extattr_get_fd(int fd, int space, const char *name, void *value, size_t bytes) {
  SPACE(space);
  if (value == NULL) return attribute(syscall(SYS_fgetxattr, fd, full, NULL, 0));
  char all[65536]; // a value that is longer than the buffer is cut
  ssize_t count = attribute(syscall(SYS_fgetxattr, fd, full, all, sizeof all));
  if (count < 0) return count;
  memcpy(value, all, (size_t)count < bytes ? (size_t)count : bytes);
  return (size_t)count < bytes ? count : (ssize_t)bytes;
}
ssize_t model_extattr_set_fd(int fd, int space, const char *name, const void *value, size_t bytes) {
  SPACE(space);
  return syscall(SYS_fsetxattr, fd, full, value, bytes, 0) < 0 ? out(-1) : (ssize_t)bytes;
}
int model_extattr_delete_fd(int fd, int space, const char *name) {
  SPACE(space);
  return (int)attribute(syscall(SYS_fremovexattr, fd, full));
}
ssize_t model_extattr_list_fd(int fd, int space, char *list, size_t bytes) {
  const char *name = NULL;
  SPACE(space);
  char all[65536];
  ssize_t count = syscall(SYS_flistxattr, fd, all, sizeof all), done = 0;
  if (count < 0) return out(-1);
  for (ssize_t at = 0; at < count; at += (ssize_t)strlen(all + at) + 1) {
    if (strncmp(all + at, "user.", 5) != 0) continue;
    size_t length = strlen(all + at) - 5;
    if (list != NULL && done + length + 1 > bytes) break;
    if (list != NULL) {
      list[done] = (char)length; // and no NUL
      memcpy(list + done + 1, all + at + 5, length);
    }
    done += (ssize_t)length + 1;
  }
  return done;
}
#endif
