// The sandboxes of the hosts: pledge and unveil of OpenBSD, capability mode of FreeBSD, and profiles
// of macOS. They are about all that a process does, Node's own calls as well: put before the C
// library (LD_PRELOAD), this file stands in their way, too. Until a sandbox is entered all passes.
#include "model.h"
#include <dlfcn.h>
#include <regex.h>
#include <signal.h>
#include <sys/un.h>

enum { PATHS = 256, FDS = 1024, RULES = 512 };
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static bool entered; // no check before it

// Terminals as the host names them, which are /dev/pts/N here.
static void host_name(char *path) {
  if (strncmp(path, "/dev/pts/", 9) != 0 || HOST_FREEBSD) return;
  snprintf(path, 32, HOST_DARWIN ? "/dev/ttys%03d" : "/dev/ttyp%d", atoi(path + 9));
}
static void resolve_here(int dir, const char *path, char *to);
// The path that a call means, as the kernel resolves it; its last name may be new.
static void resolve(int dir, const char *path, char *to) {
  resolve_here(dir, path, to);
  host_name(to);
}
static void resolve_here(int dir, const char *path, char *to) {
  char link[64], base[PATH_MAX] = "", full[2 * PATH_MAX], *slash;
  if (path[0] != '/') {
    ssize_t length = 0;
    if (dir == AT_FDCWD) { if (getcwd(base, sizeof base)) length = (ssize_t)strlen(base); }
    else {
      snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
      length = readlink(link, base, sizeof base - 1);
    }
    base[length < 0 ? 0 : length] = 0;
  }
  snprintf(full, sizeof full, "%s%s%s", base, path[0] == '/' || path[0] == 0 ? "" : "/", path);
  if (realpath(full, to)) return;
  char parent[PATH_MAX];
  slash = strrchr(full, '/');
  if (slash == NULL || slash == full) { snprintf(to, PATH_MAX, "%s", full); return; }
  *slash = 0;
  if (realpath(full, parent) == NULL) snprintf(parent, sizeof parent, "%s", full);
  snprintf(to, PATH_MAX, "%.2000s/%.2000s", strcmp(parent, "/") ? parent : "", slash + 1);
}
static bool below(const char *folder, const char *path) {
  size_t length = strlen(folder);
  if (strcmp(folder, "/") == 0) return true;
  return strncmp(folder, path, length) == 0 && (path[length] == 0 || path[length] == '/');
}

#if HOST_OPENBSD
static struct { char path[PATH_MAX]; char how[8]; } unveiled[PATHS];
static int paths;
static bool locked, pledged;
static char promises[1024];

// sys/kern/kern_pledge.c pledgereq; pledge(2)
static const char KNOWN[] = " audio bpf chown cpath disklabel dns dpath drm error exec fattr flock getpw"
  " id inet mcast pf proc prot_exec ps recvfd route rpath sendfd settime stdio tape tmppath tty unix"
  " unveil video vminfo vmm wpath wroute ";
static bool among(const char *list, const char *word) {
  char padded[64], all[1100];
  snprintf(padded, sizeof padded, " %s ", word);
  snprintf(all, sizeof all, " %s ", list);
  return strstr(all, padded) != NULL;
}
// pledge_fail: the process is killed, or ENOSYS for those that promised `error`
static int promise(const char *word) {
  if (!pledged || among(promises, word) || !rule("pledge-kill")) return 0;
  if (among(promises, "error") && rule("pledge-error")) return ENOSYS;
  signal(SIGABRT, SIG_DFL);
  abort();
}
int model_pledge(const char *wanted, const char *exec) {
  char copy[1024];
  (void)exec;
  if (wanted == NULL) return 0;
  snprintf(copy, sizeof copy, "%s", wanted);
  for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
    if (!among(KNOWN, word) && rule("pledge-words")) return (int)fail(EINVAL);
    if (pledged && !among(promises, word) && rule("pledge-fewer")) {
      return among(promises, "error") ? 0 : (int)fail(EPERM);
    }
  }
  snprintf(promises, sizeof promises, "%s", wanted);
  entered = pledged = true;
  return 0;
}
// sys/kern/vfs_syscalls.c sys_unveil, sys/kern/kern_unveil.c
int model_unveil(const char *path, const char *how) {
  if (locked && rule("unveil-lock")) return (int)fail(EPERM);
  if (path == NULL && how == NULL) { entered = locked = true; return 0; }
  if (path == NULL || how == NULL || strspn(how, "rwxc") != strlen(how)) return (int)fail(EINVAL);
  char parent[PATH_MAX], folder[PATH_MAX];
  snprintf(parent, sizeof parent, "%s", path);
  char *slash = strrchr(parent, '/');
  if (slash) slash[slash == parent] = 0;
  if (realpath(parent, folder) == NULL) return (int)fail(ENOENT);
  if (paths == PATHS) return (int)fail(E2BIG);
  resolve(AT_FDCWD, path, unveiled[paths].path);
  snprintf(unveiled[paths++].how, 8, "%s", how);
  entered = true;
  return 0;
}
static int check(int dir, const char *path, const char *how, bool isStat) {
  static const struct { char letter; const char *promise; } NEED[] =
    { { 'r', "rpath" }, { 'w', "wpath" }, { 'c', "cpath" } };
  char real[PATH_MAX];
  resolve(dir, path, real);
  for (int i = 0; i < 3; i++) {
    int error = strchr(how, NEED[i].letter) ? promise(NEED[i].promise) : 0;
    if (error) return error;
  }
  if (paths == 0 || !rule("unveil-enoent")) return 0;
  int best = -1;
  for (int i = 0; i < paths; i++) {
    bool isBetter = best < 0 || strlen(unveiled[i].path) >= strlen(unveiled[best].path);
    if (below(unveiled[i].path, real) && isBetter) best = i;
    if (isStat && below(real, unveiled[i].path)) return 0; // on the way to one that is there
  }
  if (best < 0) return ENOENT;
  for (const char *letter = how; *letter; letter++) {
    if (!strchr(unveiled[best].how, *letter) && rule("unveil-eacces")) return EACCES;
  }
  return 0;
}
static int network(int domain, const char *path, int port, bool isBind) {
  (void)port;
  int error = domain == AF_UNIX ? promise("unix") : promise("inet");
  if (error || path == NULL) return error;
  return check(AT_FDCWD, path, isBind ? "c" : "rw", false);
}
static int descriptor(int fd, const char *what) { (void)fd; (void)what; return 0; }
static int program(void) { return promise("exec"); }
static int executable(void) { return promise("prot_exec"); }
static int kind(const char *word) { return promise(word); }
#elif HOST_FREEBSD
static bool capabilityMode;
static struct { bool isLimited; uint64_t rights[2]; } limits[FDS];
enum { ECAPMODE = OWN_ERRNO + 94, ENOTCAPABLE = OWN_ERRNO + 93 };
// sys/capsicum.h
#define CAP_READ_ 0x1
#define CAP_WRITE_ 0x2
#define CAP_CREATE_ 0x40
#define CAP_LOOKUP_ 0x400
#define CAP_UNLINKAT_ 0x10000000
#define CAP_ACCEPT_ 0x20000000

static bool lacks(int fd, uint64_t right) {
  if (fd < 0 || fd >= FDS || !limits[fd].isLimited || !rule("cap-rights")) return false;
  return (limits[fd].rights[0] & right) != right;
}
int model_cap_getmode(unsigned *mode) { *mode = capabilityMode; return 0; }
int model_cap_enter(void) { entered = capabilityMode = true; return 0; }
// sys/kern/sys_capability.c kern_cap_rights_limit: only fewer; cap_rights_is_valid
int model_cap_rights_limit(int fd, const uint64_t *rights) {
  if (fcntl(fd, F_GETFD) < 0) return (int)out(-1);
  if (rights[0] >> 57 != 1 || rights[1] >> 57 != 2) return (int)fail(EINVAL);
  if (fd >= FDS) return 0;
  for (int i = 0; i < 2; i++) {
    if (limits[fd].isLimited && rights[i] & ~limits[fd].rights[i] && rule("cap-fewer")) {
      return (int)fail(ENOTCAPABLE);
    }
  }
  limits[fd].isLimited = entered = true;
  memcpy(limits[fd].rights, rights, 16);
  return 0;
}
// sys/kern/vfs_lookup.c namei_setup: ECAPMODE without a folder, ENOTCAPABLE for what leads out
static int check(int dir, const char *path, const char *how, bool isStat) {
  (void)isStat;
  if (capabilityMode && dir == AT_FDCWD && rule("cap-open")) return ECAPMODE;
  if (capabilityMode && rule("cap-beneath")) {
    int depth = 0;
    char copy[PATH_MAX];
    if (path[0] == '/') return ENOTCAPABLE;
    snprintf(copy, sizeof copy, "%s", path);
    for (char *name = strtok(copy, "/"); name; name = strtok(NULL, "/")) {
      depth += strcmp(name, "..") == 0 ? -1 : strcmp(name, ".") == 0 ? 0 : 1;
      if (depth < 0) return ENOTCAPABLE;
    }
  }
  if (dir == AT_FDCWD) return 0;
  uint64_t right = CAP_LOOKUP_ | (strchr(how, 'r') ? CAP_READ_ : 0)
    | (strchr(how, 'w') ? CAP_WRITE_ : 0) | (strchr(how, 'c') ? CAP_CREATE_ : 0);
  return lacks(dir, right) ? ENOTCAPABLE : 0;
}
// sys/kern/uipc_syscalls.c kern_bindat, kern_connectat: AT_FDCWD is ECAPMODE
static int network(int domain, const char *path, int port, bool isBind) {
  (void)domain; (void)path; (void)port; (void)isBind;
  return capabilityMode && rule("cap-network") ? ECAPMODE : 0;
}
static int descriptor(int fd, const char *what) {
  return lacks(fd, what[0] == 'w' ? CAP_WRITE_ : CAP_ACCEPT_) ? ENOTCAPABLE : 0;
}
static int program(void) { return capabilityMode ? ECAPMODE : 0; } // execve is not in capabilities.conf
static int executable(void) { return 0; }
static int kind(const char *word) { (void)word; return 0; }
#else // macOS
static struct { char operations[256], filters[8192]; } rules[RULES];
static int ruleCount;
static bool denying;
static const char OPERATIONS[] = " file-read* file-read-metadata file-read-data file-write*"
  " file-write-data file-write-create file-map-executable file-ioctl file-link file-mknod sysctl-read"
  " signal process-info* dynamic-code-generation ipc-posix-shm* system-socket pseudo-tty network-bind"
  " network-inbound network-outbound ";

static char *complaint(const char *what, const char *about) {
  char *text = malloc(512);
  snprintf(text, 512, "<input string>: %s: %.200s", what, about);
  return text;
}
// The end of the expression at `at`; NULL when there is none. Strings keep their escapes.
static const char *end_of(const char *at) {
  int depth = 0;
  bool inText = false, isRaw = false;
  for (; *at; at++) {
    if (inText) {
      if (*at == '\\' && !isRaw && at[1]) at++;
      else if (*at == '"') inText = false;
    } else if (*at == '"') { inText = true; isRaw = at[-1] == '#'; }
    else if (*at == '(') depth++;
    else if (*at == ')' && --depth == 0) return at + 1;
  }
  return NULL;
}
static const char *read_rule(const char *at, const char *whole, char **error) {
  const char *end = whole;
  char copy[64];
  if (strncmp(at, "(if (defined? '", 15) == 0) { // this model knows every word of ours
    at = strchr(at, ')');
    at = at ? strchr(at, '(') : end;
    end--;
  }
  if (strncmp(at, "(version 1)", 11) == 0) return whole;
  if (strncmp(at, "(deny default)", 14) == 0) { denying = true; return whole; }
  if (strncmp(at, "(allow ", 7) != 0) { *error = complaint("unbound variable", at); return whole; }
  at += 7;
  if (ruleCount == RULES) { *error = complaint("too many rules", at); return whole; }
  char *operations = rules[ruleCount].operations;
  operations[0] = 0;
  while (*at && *at != '(' && *at != ')') {
    int length = (int)strcspn(at, " ()");
    snprintf(copy, sizeof copy, " %.*s ", length, at);
    if (strstr(OPERATIONS, copy) == NULL) { *error = complaint("unbound variable", copy); return whole; }
    strcat(operations, copy);
    at += length + strspn(at + length, " ");
  }
  snprintf(rules[ruleCount++].filters, 8192, "%.*s", (int)(end - at), at);
  return whole;
}
int model_sandbox_init(const char *profile, uint64_t flags, char **error) {
  char *fault = NULL;
  *error = NULL;
  if (entered) fault = complaint("sandbox_init", "already in a sandbox");
  if (flags != 0) fault = complaint("flags", "");
  for (const char *at = profile; !fault; ) {
    at += strspn(at, " \n");
    if (*at == 0) break;
    const char *end = *at == '(' ? end_of(at) : NULL;
    if (end == NULL) { fault = complaint("syntax error", at); break; }
    at = read_rule(at, end, &fault);
  }
  if (fault && rule("sbpl-parse")) { *error = fault; ruleCount = 0; return (int)fail(EPERM); }
  entered = true;
  return 0;
}
void model_sandbox_free_error(char *error) { free(error); }

static bool filter_matches(const char *filters, const char *path, const char *protocol, int port) {
  if (*filters == ')' || *filters == 0) return true;
  while (*filters == '(') {
    const char *end = end_of(filters);
    char kind[32] = "", text[PATH_MAX] = "", *to = text;
    sscanf(filters, "(%31[a-z-]", kind);
    const char *from = strchr(filters, '"');
    bool isRaw = from && from < end && from[-1] == '#';
    if (from && from < end) for (from++; *from && *from != '"' && to < text + PATH_MAX - 1; from++) {
      if (*from == '\\' && !isRaw) from++;
      *to++ = *from;
    }
    *to = 0;
    if (path && strcmp(kind, "literal") == 0 && strcmp(text, path) == 0) return true;
    if (path && strcmp(kind, "subpath") == 0 && below(text, path)) return true;
    if (path && strcmp(kind, "regex") == 0) {
      regex_t compiled;
      if (regcomp(&compiled, text, REG_EXTENDED | REG_NOSUB) == 0) {
        bool found = regexec(&compiled, path, 0, NULL, 0) == 0;
        regfree(&compiled);
        if (found) return true;
      }
    }
    if (protocol && (strcmp(kind, "remote") == 0 || strcmp(kind, "local") == 0)) {
      char wanted[16];
      snprintf(wanted, sizeof wanted, "*:%d", port);
      if (strstr(filters, protocol) < end && (!*text || !strcmp(text, "*:*") || !strcmp(text, wanted))) return true;
    }
    filters = end + strspn(end, " ");
  }
  return false;
}
static bool allowed(const char *operation, const char *path, const char *protocol, int port) {
  if (!denying || !rule("sbpl-deny")) return true;
  char exact[64], group[64];
  snprintf(exact, sizeof exact, " %s ", operation);
  snprintf(group, sizeof group, " %.*s* ", (int)(strrchr(operation, '-') - operation), operation);
  for (int i = ruleCount - 1; i >= 0; i--) {
    const char *operations = rules[i].operations;
    if (!strstr(operations, exact) && !strstr(operations, group)) continue;
    if (filter_matches(rules[i].filters, path, protocol, port)) return true;
  }
  return false;
}
static int check(int dir, const char *path, const char *how, bool isStat) {
  char real[PATH_MAX];
  resolve(dir, path, real);
  if (isStat) return allowed("file-read-metadata", real, NULL, 0) ? 0 : EPERM;
  if (strchr(how, 'r') && !allowed("file-read-data", real, NULL, 0)) return EPERM;
  if (strchr(how, 'w') && !allowed("file-write-data", real, NULL, 0)) return EPERM;
  if (strchr(how, 'c') && !allowed("file-write-create", real, NULL, 0)) return EPERM;
  return 0;
}
static int network(int domain, const char *path, int port, bool isBind) {
  char real[PATH_MAX];
  if (path) resolve(AT_FDCWD, path, real);
  const char *operation = isBind ? "network-bind" : "network-outbound";
  return allowed(operation, path ? real : NULL, domain == AF_UNIX ? NULL : "tcp", port) ? 0 : EPERM;
}
static int descriptor(int fd, const char *what) { (void)fd; (void)what; return 0; }
static int program(void) { return allowed("process-exec", "/", NULL, 0) ? 0 : EPERM; }
static int executable(void) { return 0; }
static int kind(const char *word) { (void)word; return 0; }
#endif

void sandbox_forget(int fd) {
#if HOST_FREEBSD
  if (fd >= 0 && fd < FDS) limits[fd].isLimited = false;
#endif
  (void)fd;
}
static bool refused(int error) {
  if (error) errno = error;
  return error != 0;
}
static const char *open_how(int flags) {
  static const char *const HOW[2][4] = { { "r", "w", "rw", "r" }, { "rc", "wc", "rwc", "rc" } };
  if (flags & O_PATH) return "";
  return HOW[(flags & O_CREAT) != 0][flags & O_ACCMODE];
}
#define STOP(error) if (entered && refused(error)) return -1

// What Node, libuv and the model call.
int openat64(int dir, const char *path, int flags, ...) {
  va_list list; va_start(list, flags); int mode = va_arg(list, int); va_end(list);
  STOP(check(dir, path, open_how(flags), false));
  return REAL(openat64)(dir, path, flags, mode);
}
int openat(int dir, const char *path, int flags, ...) {
  va_list list; va_start(list, flags); int mode = va_arg(list, int); va_end(list);
  return openat64(dir, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  va_list list; va_start(list, flags); int mode = va_arg(list, int); va_end(list);
  return openat64(AT_FDCWD, path, flags, mode);
}
int open(const char *path, int flags, ...) {
  va_list list; va_start(list, flags); int mode = va_arg(list, int); va_end(list);
  return openat64(AT_FDCWD, path, flags, mode);
}
#define CHANGE1(name) int name(const char *path) { \
  STOP(check(AT_FDCWD, path, "c", false)); return REAL(name)(path); }
CHANGE1(unlink)
CHANGE1(rmdir)
int mkdir(const char *path, mode_t mode) {
  STOP(check(AT_FDCWD, path, "c", false));
  return REAL(mkdir)(path, mode);
}
int mkdirat(int dir, const char *path, mode_t mode) {
  STOP(check(dir, path, "c", false));
  return REAL(mkdirat)(dir, path, mode);
}
int rename(const char *from, const char *to) {
  STOP(check(AT_FDCWD, from, "c", false));
  STOP(check(AT_FDCWD, to, "c", false));
  return REAL(rename)(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
  STOP(check(a, from, "c", false));
  STOP(check(b, to, "c", false));
  return REAL(renameat)(a, from, b, to);
}
int symlink(const char *target, const char *path) {
  STOP(check(AT_FDCWD, path, "c", false));
  return REAL(symlink)(target, path);
}
static int address(int fd, const struct sockaddr *to, bool isBind) {
  (void)fd;
  const struct sockaddr_un *local = (const struct sockaddr_un *)to;
  if (to->sa_family == AF_UNIX) return network(AF_UNIX, local->sun_path, 0, isBind);
  return network(to->sa_family, NULL, to->sa_data[0] * 256 + (unsigned char)to->sa_data[1], isBind);
}
int bind(int fd, const struct sockaddr *to, socklen_t bytes) {
  STOP(address(fd, to, true));
  return REAL(bind)(fd, to, bytes);
}
int connect(int fd, const struct sockaddr *to, socklen_t bytes) {
  STOP(address(fd, to, false));
  return REAL(connect)(fd, to, bytes);
}
ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t offset) {
  STOP(descriptor(fd, "write"));
  return REAL(pwritev)(fd, iov, count, offset);
}
ssize_t pwrite(int fd, const void *from, size_t bytes, off_t offset) {
  STOP(descriptor(fd, "write"));
  return REAL(pwrite)(fd, from, bytes, offset);
}
int execve(const char *path, char *const *words, char *const *env) {
  STOP(program());
  return REAL(execve)(path, words, env);
}
int execvp(const char *path, char *const *words) {
  STOP(program());
  return REAL(execvp)(path, words);
}
int socket(int domain, int type, int protocol) {
  STOP(kind(domain == AF_UNIX ? "unix" : "inet"));
  return REAL(socket)(domain, type, protocol);
}
int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit) {
  STOP(kind("proc"));
  return REAL(setrlimit)(resource, limit);
}
int mprotect(void *at, size_t bytes, int how) {
  if (how & PROT_EXEC) STOP(executable());
  return REAL(mprotect)(at, bytes, how);
}
long syscall(long number, ...) {
  long a[6];
  va_list list; va_start(list, number);
  for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
  va_end(list);
  const char *path = (const char *)a[1];
  if (entered) switch (number) {
    case SYS_openat: STOP(check((int)a[0], path, open_how((int)a[2]), false)); break;
    case SYS_newfstatat: if (*path) STOP(check((int)a[0], path, "r", true)); break;
    case SYS_unlinkat: case SYS_fchmodat: case SYS_fchownat:
      STOP(check((int)a[0], path, "c", false)); break;
    case SYS_renameat2:
      STOP(check((int)a[0], path, "c", false));
      STOP(check((int)a[2], (const char *)a[3], "c", false)); break;
  }
  return ((long (*)(long, ...))dlsym(RTLD_NEXT, "syscall"))(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
