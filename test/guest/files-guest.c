/*
 * What a shell cannot do to a shared folder: attributes, locks between two processes, offsets beyond
 * 4 GiB, renames with flags. Arguments: a folder, and `linux` when the host has all of it. Ends with 0
 * when all was as it should be, else it says what was not.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { NOREPLACE = 1, EXCHANGE = 2 }; /* of renameat2(2) */
static const off_t FAR = (5ll << 30) + 3;

#define expect(what) ((what) ? (void)0 : fail(__LINE__, #what))

static void fail(int line, const char *what) {
  printf("files-guest:%d: %s (%s)\n", line, what, strerror(errno));
  exit(1);
}

static int make(const char *name) {
  int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0644);
  expect(fd >= 0);
  return fd;
}

static void attributes(int fd) {
  char value[1000], back[2000], list[200];
  memset(value, 0xa5, sizeof value);
  expect(fsetxattr(fd, "user.some", value, sizeof value, 0) == 0);
  expect(fgetxattr(fd, "user.some", NULL, 0) == sizeof value);
  expect(fgetxattr(fd, "user.some", back, sizeof back) == sizeof value);
  expect(memcmp(value, back, sizeof value) == 0);
  expect(fgetxattr(fd, "user.some", back, 10) == -1 && errno == ERANGE);
  expect(fsetxattr(fd, "user.some", "x", 1, XATTR_CREATE) == -1 && errno == EEXIST);
  expect(fsetxattr(fd, "user.other", "x", 1, XATTR_REPLACE) == -1 && errno == ENODATA);
  expect(flistxattr(fd, list, sizeof list) >= 10 && memmem(list, sizeof list, "user.some", 10));
  expect(fremovexattr(fd, "user.some") == 0);
  expect(fgetxattr(fd, "user.some", back, sizeof back) == -1 && errno == ENODATA);
}

static int range(int fd, int command, int type, off_t start, pid_t *holder) {
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = 10};
  int result = fcntl(fd, command, &lock);
  if (holder) *holder = lock.l_type == F_UNLCK ? 0 : lock.l_pid;
  return result;
}

/* Another process takes both locks, beyond 4 GiB one of them, until it is told to go. */
static void locks(const char *name) {
  int ready[2], go[2], status;
  char byte = 0;
  pid_t holder;
  expect(pipe(ready) == 0 && pipe(go) == 0);
  pid_t child = fork();
  int fd = open(name, O_RDWR);
  expect(fd >= 0);
  if (child == 0) {
    expect(flock(fd, LOCK_EX) == 0 && range(fd, F_SETLK, F_WRLCK, FAR, NULL) == 0);
    expect(write(ready[1], &byte, 1) == 1 && read(go[0], &byte, 1) == 1);
    exit(0); /* the kernel gives them back */
  }
  expect(read(ready[0], &byte, 1) == 1);
  expect(flock(fd, LOCK_SH | LOCK_NB) == -1 && errno == EWOULDBLOCK);
  expect(range(fd, F_SETLK, F_RDLCK, FAR + 9, NULL) == -1 && (errno == EAGAIN || errno == EACCES));
  expect(range(fd, F_GETLK, F_WRLCK, FAR, &holder) == 0 && holder != 0);
  expect(range(fd, F_SETLK, F_WRLCK, FAR + 10, NULL) == 0);
  expect(write(go[1], &byte, 1) == 1);
  expect(range(fd, F_SETLKW, F_WRLCK, FAR, NULL) == 0 && flock(fd, LOCK_EX) == 0);
  expect(wait(&status) == child && status == 0);
  close(fd);
}

static void far(int fd) {
  struct stat info;
  char back[4];
  expect(pwrite(fd, "far", 3, FAR) == 3 && fsync(fd) == 0 && fstat(fd, &info) == 0);
  expect(info.st_size == FAR + 3 && info.st_blocks < 4096);
  expect(pread(fd, back, 4, FAR) == 3 && memcmp(back, "far", 3) == 0);
  expect(pread(fd, back, 4, FAR - (1ll << 32)) == 4 && memcmp(back, "\0\0\0\0", 4) == 0);
  off_t data = lseek(fd, 0, SEEK_DATA);
  expect(data >= 0 && data <= FAR);
  expect(ftruncate(fd, 5) == 0 && fstat(fd, &info) == 0 && info.st_size == 5);
}

static void names(int linux_host) {
  struct stat a, b;
  close(make("a-name"));
  expect(link("a-name", "b-name") == 0 && stat("a-name", &a) == 0 && a.st_nlink == 2);
  expect(link("a-name", "b-name") == -1 && errno == EEXIST);
  expect(rename("b-name", "c-name") == 0 && stat("c-name", &b) == 0 && a.st_ino == b.st_ino);
  expect(unlink("a-name") == 0 && stat("c-name", &b) == 0 && b.st_nlink == 1);
  close(make("d-name"));
  expect(stat("d-name", &a) == 0);
  if (linux_host) {
    expect(syscall(SYS_renameat2, AT_FDCWD, "c-name", AT_FDCWD, "d-name", NOREPLACE) == -1 && errno == EEXIST);
    expect(syscall(SYS_renameat2, AT_FDCWD, "c-name", AT_FDCWD, "d-name", EXCHANGE) == 0);
    expect(stat("d-name", &a) == 0 && a.st_ino == b.st_ino);
  }
  expect(rename("c-name", "d-name") == 0 && stat("c-name", &b) == -1 && errno == ENOENT);
  expect(unlink("d-name") == 0);
}

int main(int argc, char **argv) {
  int linux_host = argc > 2 && strcmp(argv[2], "linux") == 0;
  expect(argc > 1 && chdir(argv[1]) == 0);
  int fd = make("file-of-c");
  if (linux_host) attributes(fd);
  else expect(fsetxattr(fd, "user.some", "x", 1, 0) == -1 && errno == EOPNOTSUPP);
  locks("file-of-c");
  far(fd);
  close(fd);
  expect(unlink("file-of-c") == 0);
  names(linux_host);
  printf("@files=done\n");
  return 0;
}
