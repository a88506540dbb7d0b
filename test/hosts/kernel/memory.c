// Mappings and shared memory.
#include "model.h"

// 16 KiB on Apple silicon and with arm64 kernels that chose it: VHU_MODEL_PAGE
size_t page_bytes(void) {
  const char *text = getenv("VHU_MODEL_PAGE");
  return text == NULL ? 4096 : strtoul(text, NULL, 10);
}

#define SHM_PREFIX "vhu-model-shm"

// The file behind it has the name that it was made with, also when it was passed by another process.
bool is_shm_object(int fd) {
  char path[64], target[256];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(path, target, sizeof target - 1);
  if (length < 0) return false;
  target[length] = 0;
  return strstr(target, SHM_PREFIX) != NULL;
}

int model_is_shm_object(int fd) { // for Node's own fstat
  return is_shm_object(fd);
}

#if HOST_OPENBSD
#define HAS_SHM_OBJECTS false // lib/libc/gen/shm_open.c: a file in /tmp
#else
#define HAS_SHM_OBJECTS true
#endif

static int shm_flags(int flags, int *ours) {
  int known = H_O_RDWR | H_O_CREAT | H_O_EXCL | H_O_TRUNC | H_O_CLOEXEC;
#if HOST_OPENBSD
  known |= H_O_NOFOLLOW; // OK_FLAGS of lib/libc/gen/shm_open.c
#endif
  if (flags & ~known || (flags & 3) == H_O_WRONLY) return -1;
  *ours = O_CLOEXEC | ((flags & 3) == H_O_RDWR ? O_RDWR : O_RDONLY); // all three close it on exec
  if (flags & H_O_CREAT) *ours |= O_CREAT;
  if (flags & H_O_EXCL) *ours |= O_EXCL;
  if (flags & H_O_TRUNC) *ours |= O_TRUNC;
  return 0;
}

static int shm_name(const char *name, char *to, size_t bytes) {
  // xnu bsd/kern/posix_shm.c pshm_get_name (PSHMNAMLEN); FreeBSD sys/kern/uipc_shm.c
  // kern_shm_open2: EINVAL without the slash; OpenBSD hashes whatever it is.
  if (strlen(name) > H_SHM_NAME_MAX) return ENAMETOOLONG;
#if HOST_FREEBSD
  if (name[0] != '/') return EINVAL;
#endif
  snprintf(to, bytes, "/%s%s", HAS_SHM_OBJECTS ? SHM_PREFIX : "vhu-model-file", name + (*name == '/'));
  return 0;
}

int model_shm_open(const char *name, int flags, ...) {
  va_list list; va_start(list, flags); int mode = va_arg(list, int); va_end(list);
  char path[NAME_MAX];
  int ours;
  if (shm_flags(flags, &ours) < 0) return (int)fail(EINVAL);
#if HOST_FREEBSD
  if (name == (const char *)H_SHM_ANON) { // sys/kern/uipc_shm.c kern_shm_open2
    if ((flags & 3) == H_O_RDONLY) return (int)fail(EINVAL);
    return (int)out(memfd_create(SHM_PREFIX "-anon", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  }
#endif
  int error = shm_name(name, path, sizeof path);
  if (error) return (int)fail(error);
  return (int)out(shm_open(path, ours, mode));
}
int model_shm_unlink(const char *name) {
  char path[NAME_MAX];
  int error = shm_name(name, path, sizeof path);
  if (error) return (int)fail(error);
  return (int)out(shm_unlink(path));
}
#if HOST_OPENBSD
int model_shm_mkstemp(char *name) { // lib/libc/stdio/mktemp.c
  size_t length = strlen(name);
  if (length < 6 || strcmp(name + length - 6, "XXXXXX") != 0) return (int)fail(EINVAL);
  static _Atomic int count;
  char digits[16];
  snprintf(digits, sizeof digits, "%02x%04x", (getpid() ^ count++) & 0xff, getpid() & 0xffff);
  memcpy(name + length - 6, digits, 6);
  return model_shm_open(name, H_O_RDWR | H_O_CREAT | H_O_EXCL, 0600);
}
#endif
#if HOST_FREEBSD
int model_memfd_create(const char *name, unsigned flags) { // lib/libc/sys/memfd_create.c
  char path[NAME_MAX];
  if (flags & ~(unsigned)(H_MFD_CLOEXEC | H_MFD_ALLOW_SEALING)) return (int)fail(EINVAL);
  snprintf(path, sizeof path, SHM_PREFIX ":%.200s", name);
  unsigned ours = (flags & H_MFD_CLOEXEC ? MFD_CLOEXEC : 0)
    | (flags & H_MFD_ALLOW_SEALING ? MFD_ALLOW_SEALING : 0);
  return (int)out(memfd_create(path, ours));
}
#endif

int model_ftruncate(int fd, int64_t length) {
  if (length < 0) return (int)fail(EINVAL);
#if HOST_DARWIN
  if (is_shm_object(fd)) { // bsd/kern/posix_shm.c pshm_truncate
    struct stat status;
    if (fstat(fd, &status) < 0) return (int)out(-1);
    if (status.st_size > 0 && rule("shm-sized-once")) return (int)fail(EINVAL);
    size_t page = page_bytes(); // vm_map_round_page, and pshm_length is what came of it
    if (length > INT64_MAX - (int64_t)page) return (int)fail(EINVAL);
    if (rule("shm-size-rounded")) length = (int64_t)((length + page - 1) / page * page);
  }
#endif
  return (int)out(ftruncate(fd, length));
}

void *model_mmap(void *at, size_t bytes, int prot, int flags, int fd, int64_t offset) {
  int known = H_MAP_SHARED | H_MAP_PRIVATE | H_MAP_ANON, ours = 0;
#ifdef H_MAP_NORESERVE
  known |= H_MAP_NORESERVE;
#endif
  // xnu bsd/kern/kern_mman.c mmap, FreeBSD sys/vm/vm_mmap.c kern_mmap, OpenBSD uvm/uvm_mmap.c
  // sys_mmap: unknown flags; both or none of shared and private; no bytes at all.
  int how = flags & (H_MAP_SHARED | H_MAP_PRIVATE);
  if (flags & ~known || how == 0 || how == (H_MAP_SHARED | H_MAP_PRIVATE) || bytes == 0) {
    return (void *)fail(EINVAL);
  }
  if (how == H_MAP_SHARED) ours |= MAP_SHARED; else ours |= MAP_PRIVATE;
  if (flags & H_MAP_ANON) {
    if (fd != -1 || offset != 0) return (void *)fail(EINVAL);
    ours |= MAP_ANONYMOUS | MAP_NORESERVE;
  }
  size_t page = page_bytes(), skew = (size_t)offset % page;
  // xnu bsd/kern/kern_mman.c mmap_sanitize: (*file_pos & user_mask) with MAP_UNIX03, which
  // libsyscall always gives. The others round the offset down, and the address up by as much.
  if (HOST_DARWIN && skew != 0 && rule("mmap-offset")) return (void *)fail(EINVAL);
  offset -= (int64_t)skew;
  bytes += skew;
#if HOST_DARWIN
  if (!(flags & H_MAP_ANON) && is_shm_object(fd)) { // bsd/kern/posix_shm.c pshm_mmap
    struct stat status;
    if (fstat(fd, &status) < 0) return (void *)out(-1);
    if (how != H_MAP_SHARED || status.st_size == 0) return (void *)fail(EINVAL);
    if (offset + (int64_t)bytes > status.st_size && rule("shm-end")) return (void *)fail(EINVAL);
  }
#endif
  // The address of a mapping is that of a page of the host.
  size_t whole = (bytes + page - 1) / page * page;
  char *room = mmap(NULL, whole + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) return (void *)out(-1);
  char *base = (char *)(((uintptr_t)room + page - 1) / page * page);
  void *mapped = mmap(base, bytes, prot, ours | MAP_FIXED, fd, offset);
  int error = errno;
  if (base > room) munmap(room, base - room);
  if (base + whole < room + whole + page) munmap(base + whole, room + page - base);
  if (mapped != MAP_FAILED) return (char *)mapped + skew;
  munmap(base, whole);
  return (void *)fail(error);
}
int model_munmap(void *at, size_t bytes) {
  size_t page = page_bytes();
  // xnu bsd/kern/kern_mman.c munmap_sanitize; FreeBSD sys/vm/vm_mmap.c kern_munmap rounds down
  if (bytes == 0) return (int)fail(EINVAL);
  size_t skew = (uintptr_t)at % page;
  if (HOST_DARWIN && skew != 0 && rule("munmap-address")) return (int)fail(EINVAL);
  at = (char *)at - skew;
  bytes += skew;
  return (int)out(munmap(at, (bytes + page - 1) / page * page));
}
