// Descriptors: flags, pipes, reading and writing, terminals.
#include "model.h"
#include <linux/falloc.h>
#include <termios.h>

int fcntl_lock(int fd, int command, void *arg); // files.c

void sockets_forget(int fd); // sockets.c
void sandbox_forget(int fd); // sandbox.c

int model_close(int fd) {
  if (rule("close-drops-knotes")) kqueue_forget(fd);
  sockets_forget(fd);
  sandbox_forget(fd);
  return (int)out(close(fd));
}
int model_dup(int fd) {
  return (int)out(dup(fd));
}
int model_fcntl(int fd, int command, ...) {
  va_list list; va_start(list, command); void *arg = va_arg(list, void *); va_end(list);
  long value = (int)(intptr_t)arg;
  switch (command) {
    case H_F_GETFD: return (int)out(fcntl(fd, F_GETFD));
    case H_F_SETFD: return (int)out(fcntl(fd, F_SETFD, value & H_FD_CLOEXEC ? FD_CLOEXEC : 0));
    case H_F_GETFL: {
      int ours = fcntl(fd, F_GETFL);
      if (ours < 0) return (int)out(-1);
      return (ours & O_ACCMODE) | (ours & O_NONBLOCK ? H_O_NONBLOCK : 0)
        | (ours & O_APPEND ? H_O_APPEND : 0);
    }
    case H_F_SETFL: {
      if (value & ~(3 | H_O_NONBLOCK | H_O_APPEND)) return (int)fail(EINVAL);
      return (int)out(fcntl(fd, F_SETFL,
        (value & H_O_NONBLOCK ? O_NONBLOCK : 0) | (value & H_O_APPEND ? O_APPEND : 0)));
    }
#if HOST_DARWIN
    case H_F_FULLFSYNC: return (int)out(fsync(fd));
    case H_F_NOCACHE: return (int)out(fcntl(fd, F_GETFD) < 0 ? -1 : 0);
    case H_F_PREALLOCATE: { // fcntl(2): fstore_t, with the bytes that it came to
      struct { uint32_t flags; int posmode; int64_t offset, length, allocated; } *space = arg;
      struct stat status;
      if (space->posmode != 3 || space->flags != 4 || space->offset != 0) return (int)fail(EINVAL);
      if (fstat(fd, &status) < 0) return (int)out(-1);
      int64_t end = status.st_blocks * 512 > status.st_size ? status.st_blocks * 512 : status.st_size;
      if (space->length <= 0) return (int)fail(EINVAL);
      if (fallocate(fd, FALLOC_FL_KEEP_SIZE, end, space->length) < 0) return (int)out(-1);
      space->allocated = space->length;
      return 0;
    }
    case H_F_PUNCHHOLE: { // struct fpunchhole: flags 4, reserved 4, offset 8, length 8
      struct { uint32_t flags, reserved; int64_t offset, length; } *hole = arg;
      struct stat status;
      if (hole->flags != 0 || hole->reserved != 0) return (int)fail(EINVAL);
      // apfs and hfs: whole blocks only (fcntl(2))
      if (fstat(fd, &status) < 0) return (int)out(-1);
      // exfat, msdos, smbfs: VNOP_IOCTL gives ENOTSUP, which is not their EOPNOTSUPP
      if (getenv("VHU_MODEL_NO_HOLES")) return (int)fail(ENOTSUP);
      if (hole->offset % 4096 != 0 || hole->length % 4096 != 0) return (int)fail(EINVAL);
      return (int)out(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, hole->offset,
        hole->length));
    }
#endif
#ifdef H_F_ADD_SEALS
    case H_F_ADD_SEALS: return (int)out(fcntl(fd, F_ADD_SEALS, value)); // the same bits
    case H_F_GET_SEALS: return (int)out(fcntl(fd, F_GET_SEALS));
#endif
    default: return (int)out(fcntl_lock(fd, command, arg));
  }
}
int model_ioctl(int fd, unsigned long request, ...) {
  va_list list; va_start(list, request); void *arg = va_arg(list, void *); va_end(list);
  if (request == H_TIOCGWINSZ) return (int)out(ioctl(fd, TIOCGWINSZ, arg)); // the same structure
  return (int)fail(fcntl(fd, F_GETFD) < 0 ? EBADF : ENOTTY);
}
int model_pipe(int fds[2]) {
  return (int)out(pipe(fds));
}
#if HOST_FREEBSD
int model_eventfd(unsigned value, int flags) { // sys/kern/sys_eventfd.c, since 13
  if (flags & ~(H_EFD_CLOEXEC | H_EFD_NONBLOCK | 1)) return (int)fail(EINVAL);
  return (int)out(eventfd(value, (flags & H_EFD_CLOEXEC ? EFD_CLOEXEC : 0)
    | (flags & H_EFD_NONBLOCK ? EFD_NONBLOCK : 0) | (flags & 1)));
}
#endif

// What cannot be read and written at all: 0, or the error.
static int refused(int fd, bool positional) {
#if HOST_DARWIN
  // bsd/kern/posix_shm.c pshmops: fo_no_read, fo_no_write give ENXIO; bsd/kern/sys_generic.c
  // preparefileread, valid_for_random_access: ESPIPE for what is no vnode
  if (rule("shm-not-a-file") && is_shm_object(fd)) return positional ? ESPIPE : ENXIO;
#endif
  (void)fd; (void)positional;
  return 0;
}
// xnu bsd/kern/sys_generic.c read_internal: more than INT_MAX bytes are EINVAL
static bool too_long(size_t bytes) {
  return HOST_DARWIN && bytes > INT_MAX && rule("int-max");
}
// xnu readv_uio: `iovcnt <= 0 || iovcnt > UIO_MAXIOV`; FreeBSD copyinuio, OpenBSD iovec_copyin:
// more than 1024 are EINVAL, none are nothing to do
static bool bad_count(int count) {
  return count < 0 || count > 1024 || (HOST_DARWIN && count == 0);
}
#define CHECKED(positional, bad) \
  if (bad) return fail(EINVAL); \
  int error = refused(fd, positional); \
  if (error) return fail(error)

long model_read(int fd, void *to, size_t bytes) {
  CHECKED(false, too_long(bytes));
  return out(read(fd, to, bytes));
}
long model_write(int fd, const void *from, size_t bytes) {
  CHECKED(false, too_long(bytes));
  return out(write(fd, from, bytes));
}
long model_pread(int fd, void *to, size_t bytes, int64_t offset) {
  CHECKED(true, too_long(bytes));
  return out(pread(fd, to, bytes, offset));
}
long model_pwrite(int fd, const void *from, size_t bytes, int64_t offset) {
  CHECKED(true, too_long(bytes));
  return out(pwrite(fd, from, bytes, offset));
}
long model_readv(int fd, const struct iovec *iov, int count) {
  CHECKED(false, bad_count(count));
  return out(readv(fd, iov, count));
}
long model_preadv(int fd, const struct iovec *iov, int count, int64_t offset) {
  CHECKED(true, bad_count(count));
  return out(preadv(fd, iov, count, offset));
}
long model_pwritev(int fd, const struct iovec *iov, int count, int64_t offset) {
  CHECKED(true, bad_count(count));
  return out(pwritev(fd, iov, count, offset));
}
int64_t model_lseek(int fd, int64_t offset, int whence) {
#if HOST_DARWIN
  // bsd/vfs/vfs_syscalls.c lseek: fp_getfvp gives ENOTSUP for what is no vnode, which is ESPIPE
  if (rule("shm-not-a-file") && is_shm_object(fd)) return fail(ESPIPE);
#endif
#ifdef H_SEEK_DATA
  if (whence == H_SEEK_DATA) return out(lseek(fd, offset, SEEK_DATA));
  if (whence == H_SEEK_HOLE) return out(lseek(fd, offset, SEEK_HOLE));
#endif
  if (whence < 0 || whence > 2) return fail(EINVAL);
  return out(lseek(fd, offset, whence));
}

int model_poll(struct pollfd *fds, unsigned long count, int timeout) {
  // xnu bsd/kern/sys_generic.c poll_nocancel, OpenBSD sys/kern/sys_generic.c doppoll, FreeBSD
  // kern_poll_kfds: more entries than there can be descriptors
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && count > limit.rlim_cur && count > 256) {
    return (int)fail(EINVAL);
  }
  return (int)out(poll(fds, count, timeout));
}

int model_posix_openpt(int flags) {
  // FreeBSD sys/kern/tty_pts.c sys_posix_openpt: other flags are EINVAL
  if (flags & ~(H_O_RDWR | H_O_NOCTTY | (HOST_FREEBSD ? H_O_CLOEXEC : 0))) return (int)fail(EINVAL);
  return (int)out(posix_openpt(O_RDWR | (flags & H_O_NOCTTY ? O_NOCTTY : 0)));
}
int model_grantpt(int fd) { return (int)out(grantpt(fd)); }
int model_unlockpt(int fd) { return (int)out(unlockpt(fd)); }
const char *model_ptsname(int fd) {
  const char *name = ptsname(fd);
  if (name == NULL) out(-1);
  return name;
}
int model_tcgetattr(int fd, void *termios) { return (int)out(tcgetattr(fd, termios)); }
int model_tcsetattr(int fd, int actions, const void *termios) {
  if (actions != H_TCSANOW) return (int)fail(EINVAL);
  return (int)out(tcsetattr(fd, TCSANOW, termios));
}
int model_getrlimit(int resource, void *limit) {
  if (resource != H_RLIMIT_NOFILE) return (int)fail(EINVAL);
  return (int)out(getrlimit(RLIMIT_NOFILE, limit)); // the same structure
}
int model_setrlimit(int resource, const void *limit) {
  if (resource != H_RLIMIT_NOFILE) return (int)fail(EINVAL);
  return (int)out(setrlimit(RLIMIT_NOFILE, limit));
}
int model_flock(int fd, int operation) { // the same numbers: LOCK_SH, LOCK_EX, LOCK_NB, LOCK_UN
  return (int)out(syscall(SYS_flock, fd, operation));
}
#if HOST_DARWIN
// launch(3): the sockets of the entry Listeners, and nothing else
int model_launch_activate_socket(const char *name, int **fds, size_t *count) {
  if (strcmp(name, "Listeners") != 0) return host_errno(ENOENT);
  *fds = malloc(2 * sizeof(int));
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, *fds) < 0) return host_errno(errno);
  *count = 2;
  return 0;
}
#endif
