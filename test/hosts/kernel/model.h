// A kernel of another system, played on Linux: what all parts of the model share. "host.h" is made
// of the table of that system in src/abi, so that a wrong number there is a wrong number here, too;
// what the table says is proved against the headers of that system by other tests.
//
// Every exported function is called model_NAME for NAME of that system's C library, takes that
// system's structures and numbers, and leaves that system's error numbers in errno.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include "host.h"

// A field of a structure of the host: base, offset, bytes.
static inline uint64_t get_field(const void *base, int offset, int bytes) {
  uint64_t value = 0;
  memcpy(&value, (const char *)base + offset, bytes);
  return value;
}
static inline void set_field(void *base, int offset, int bytes, uint64_t value) {
  memcpy((char *)base + offset, &value, bytes);
}
#define GET_(base, offset, bytes) get_field(base, offset, bytes)
#define GET(base, field) GET_(base, field)
#define SET_(base, offset, bytes, value) set_field(base, offset, bytes, value)
#define SET(base, field, value) SET_(base, field, value)

// Numbers of the host's own, which Linux has no name for.
#define OWN_ERRNO 1000

static inline int host_errno(int ours) {
  if (ours >= OWN_ERRNO) return ours - OWN_ERRNO;
  return ours >= 0 && ours < (int)(sizeof HOST_ERRNO / sizeof *HOST_ERRNO) && HOST_ERRNO[ours]
    ? HOST_ERRNO[ours] : HOST_ERRNO[EIO];
}
// The result of a call of Linux as the host gives it.
static inline long out(long result) {
  if (result < 0) errno = host_errno(errno);
  return result;
}
static inline long fail(int ours) {
  errno = ours;
  return out(-1);
}

// Rules that a test switches off, to see that it is they that bite: VHU_MODEL_WITHOUT=name,name
static inline bool rule(const char *name) {
  const char *without = getenv("VHU_MODEL_WITHOUT");
  return without == NULL || strstr(without, name) == NULL;
}

bool is_shm_object(int fd); // a POSIX shared memory object; never one of OpenBSD, which has files
bool is_kqueue(int fd);
void kqueue_forget(int fd); // before it is closed
size_t page_bytes(void);
