// Sockets: addresses, options, and messages with descriptors.
#include "model.h"
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

enum { CMSG_FDS_MAX = 253, CLUSTER_BYTES = 2048 }; // SCM_MAX_FD of Linux; MCLBYTES of the others

// sys/socket.h and sys/un.h of all three: a byte of length, a byte of family.
static int address_in(const unsigned char *host, uint32_t length, struct sockaddr_storage *to,
    socklen_t *bytes) {
  memset(to, 0, sizeof *to);
  if (length < 2) return EINVAL;
  // xnu getsockaddr, FreeBSD getsockaddr, OpenBSD sockargs overwrite the length with that of the
  // call, so it is the family's place that tells.
  int family = host[1];
  // OpenBSD sys/kern/uipc_usrreq.c unp_nam2sun, FreeBSD uipc_bindat: no longer than the structure
  if (family == H_AF_UNIX) {
    struct sockaddr_un *path = (struct sockaddr_un *)to;
    if (length > 2 + H_SUN_PATH_BYTES && rule("sun-path-104")) return EINVAL;
    path->sun_family = AF_UNIX;
    memcpy(path->sun_path, host + 2, length - 2);
    *bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path->sun_path) + 1);
  } else if (family == H_AF_INET) {
    if (length != 16) return EINVAL;
    memcpy(to, host, 16);
    to->ss_family = AF_INET;
    *bytes = 16;
  } else if (family == H_AF_INET6) {
    if (length != 28) return EINVAL;
    memcpy(to, host, 28);
    to->ss_family = AF_INET6;
    *bytes = 28;
  } else {
    return rule("sun-family-byte") ? EAFNOSUPPORT : 0;
  }
  return 0;
}
static void address_out(const struct sockaddr_storage *from, socklen_t bytes, unsigned char *host,
    uint32_t *length) {
  unsigned char all[128] = { 0 };
  uint32_t full = bytes;
  memcpy(all, from, bytes < sizeof all ? bytes : sizeof all);
  all[1] = from->ss_family == AF_INET6 ? H_AF_INET6 : (unsigned char)from->ss_family;
  if (from->ss_family == AF_UNIX && full > 2 + H_SUN_PATH_BYTES) full = 2 + H_SUN_PATH_BYTES;
  all[0] = (unsigned char)full;
  if (host != NULL) memcpy(host, all, *length < full ? *length : full);
  *length = full;
}

static int kind_of(int type, int *ours, int *flags) {
  *flags = 0;
#if defined(H_SOCK_CLOEXEC)
  if (type & H_SOCK_CLOEXEC) *flags |= SOCK_CLOEXEC;
  if (type & H_SOCK_NONBLOCK) *flags |= SOCK_NONBLOCK;
  type &= ~(H_SOCK_CLOEXEC | H_SOCK_NONBLOCK);
#endif
  if (type == H_SOCK_STREAM) *ours = SOCK_STREAM;
  else if (type == H_SOCK_SEQPACKET) *ours = SOCK_SEQPACKET;
  else return EPROTOTYPE; // xnu has no flags in the type: uipc_socket.c socreate_internal
  return 0;
}
static int family_of(int domain) {
  return domain == H_AF_UNIX ? AF_UNIX : domain == H_AF_INET ? AF_INET
    : domain == H_AF_INET6 ? AF_INET6 : -1;
}
static bool is_unix(int fd) {
  int domain = 0;
  socklen_t length = sizeof domain;
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX;
}
static bool is_stream(int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}
// The room of a Unix socket: xnu uipc_usrreq.c PIPSIZ (net.local.stream.sendspace)
static void small_room(int fd) {
  int bytes = H_UNIX_SENDSPACE;
  if (rule("unix-sendspace")) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

int model_socket(int domain, int type, int protocol) {
  int ours, flags, family = family_of(domain), error = kind_of(type, &ours, &flags);
  if (family < 0) return (int)fail(EAFNOSUPPORT);
  if (error) return (int)fail(error);
  // xnu uipc_proto.c localsw: streams and datagrams only
  if (HOST_DARWIN && family == AF_UNIX && ours == SOCK_SEQPACKET && rule("unix-seqpacket")) {
    return (int)fail(EPROTONOSUPPORT);
  }
  int fd = socket(family, ours | flags, protocol);
  if (fd >= 0 && family == AF_UNIX) small_room(fd);
  return (int)out(fd);
}
int model_socketpair(int domain, int type, int protocol, int fds[2]) {
  int ours, flags, family = family_of(domain), error = kind_of(type, &ours, &flags);
  if (family < 0) return (int)fail(EAFNOSUPPORT);
  if (error) return (int)fail(error);
  if (HOST_DARWIN && ours == SOCK_SEQPACKET && rule("unix-seqpacket")) return (int)fail(EPROTONOSUPPORT);
  int result = socketpair(family, ours | flags, protocol, fds);
  for (int i = 0; result == 0 && i < 2; i++) small_room(fds[i]);
  return (int)out(result);
}
int model_bind(int fd, const unsigned char *host, uint32_t length) {
  struct sockaddr_storage address;
  socklen_t bytes = 0;
  int error = address_in(host, length, &address, &bytes);
  if (error) return (int)fail(error);
  return (int)out(bind(fd, (struct sockaddr *)&address, bytes));
}
int model_connect(int fd, const unsigned char *host, uint32_t length) {
  struct sockaddr_storage address;
  socklen_t bytes = 0;
  int error = address_in(host, length, &address, &bytes);
  if (error) return (int)fail(error);
  return (int)out(connect(fd, (struct sockaddr *)&address, bytes));
}
int model_listen(int fd, int backlog) {
  return (int)out(listen(fd, backlog));
}

static int accepted(int fd, int listener, bool inherits) {
  if (fd < 0) return (int)out(-1);
  // xnu uipc_syscalls.c accept_nocancel (fp->f_flag = fflag), FreeBSD kern_accept4
  // (ACCEPT4_INHERIT), OpenBSD doaccept (nflag): what accept4(2) is told, accept(2) inherits
  int flags = fcntl(listener, F_GETFL);
  if (inherits && flags & O_NONBLOCK && rule("accept-inherits")) fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
  if (is_unix(fd)) small_room(fd);
  return fd;
}
int model_accept(int listener, unsigned char *host, uint32_t *length) {
  struct sockaddr_storage address;
  socklen_t bytes = sizeof address;
  int fd = accept(listener, (struct sockaddr *)&address, &bytes);
  if (fd >= 0 && host != NULL) address_out(&address, bytes, host, length);
  return accepted(fd, listener, true);
}
#if !HOST_DARWIN
int model_accept4(int listener, unsigned char *host, uint32_t *length, int flags) {
  struct sockaddr_storage address;
  socklen_t bytes = sizeof address;
  if (flags & ~(H_SOCK_CLOEXEC | H_SOCK_NONBLOCK)) return (int)fail(EINVAL);
  int ours = (flags & H_SOCK_CLOEXEC ? SOCK_CLOEXEC : 0) | (flags & H_SOCK_NONBLOCK ? SOCK_NONBLOCK : 0);
  int fd = accept4(listener, (struct sockaddr *)&address, &bytes, ours);
  if (fd >= 0 && host != NULL) address_out(&address, bytes, host, length);
  return accepted(fd, listener, false);
}
#endif
int model_shutdown(int fd, int how) { // the same numbers
  return (int)out(shutdown(fd, how));
}

// Both halves are shut down: what xnu calls SS_CANTRCVMORE | SS_CANTSENDMORE.
static bool is_shut(int fd) {
  struct pollfd one = { .fd = fd, .events = POLLIN };
  int value = 0;
  socklen_t length = sizeof value;
  struct sockaddr_storage peer;
  socklen_t bytes = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) < 0 || value) return false;
  if (getpeername(fd, (struct sockaddr *)&peer, &bytes) < 0) return false; // never connected
  return poll(&one, 1, 0) == 1 && one.revents & POLLHUP;
}

static int option_of(int level, int name, int *ours, int *at) {
  *ours = SOL_SOCKET;
  if (level == H_IPPROTO_TCP && name == H_TCP_NODELAY) {
    *ours = IPPROTO_TCP;
    *at = TCP_NODELAY;
    return 0;
  }
  if (level != H_SOL_SOCKET) return ENOPROTOOPT;
  if (name == H_SO_REUSEADDR) *at = SO_REUSEADDR;
  else if (name == H_SO_SNDBUF) *at = SO_SNDBUF;
  else if (name == H_SO_ERROR) *at = SO_ERROR;
  else if (name == H_SO_ACCEPTCONN) *at = SO_ACCEPTCONN;
#ifdef H_SO_NOSIGPIPE
  else if (name == H_SO_NOSIGPIPE) *at = -1; // Node ignores the signal anyway
#endif
  else return ENOPROTOOPT;
  return 0;
}
int model_setsockopt(int fd, int level, int name, const void *value, uint32_t length) {
  int ours, at, error = option_of(level, name, &ours, &at);
  if (fcntl(fd, F_GETFD) < 0) return (int)fail(EBADF);
  // xnu uipc_socket.c sosetoptlock: "the socket has been shutdown, no more sockopt's"
  if (HOST_DARWIN && rule("setsockopt-shut") && is_shut(fd)) return (int)fail(EINVAL);
  if (error) return (int)fail(error);
  return at < 0 ? 0 : (int)out(setsockopt(fd, ours, at, value, length));
}
int model_getsockopt(int fd, int level, int name, void *value, socklen_t *length) {
#if HOST_DARWIN
  if (level == H_SOL_LOCAL && name == H_LOCAL_PEERPID) {
    struct ucred peer;
    socklen_t bytes = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) < 0) return (int)out(-1);
    memcpy(value, &peer.pid, sizeof peer.pid);
    *length = sizeof peer.pid;
    return 0;
  }
#endif
  int ours, at, error = option_of(level, name, &ours, &at), type;
  socklen_t bytes = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) < 0) return (int)out(-1); // no socket
  if (error) return (int)fail(error);
  // xnu uipc_socket.c sogetoptlock and OpenBSD uipc_socket.c sogetopt do not know SO_ACCEPTCONN
  if (!HOST_FREEBSD && at == SO_ACCEPTCONN && rule("no-acceptconn")) return (int)fail(ENOPROTOOPT);
  if (getsockopt(fd, ours, at, value, length) < 0) return (int)out(-1);
  if (at == SO_ACCEPTCONN && *(int *)value) *(int *)value = H_SO_ACCEPTCONN; // so_options & name
  if (at == SO_ERROR) *(int *)value = *(int *)value ? host_errno(*(int *)value) : 0;
  return 0;
}
int model_getpeereid(int fd, uint32_t *uid, uint32_t *gid) {
  struct ucred peer;
  socklen_t bytes = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) < 0) return (int)out(-1);
  *uid = peer.uid;
  *gid = peer.gid;
  return 0;
}
int model_getpeername(int fd, unsigned char *host, uint32_t *length) {
  struct sockaddr_storage address;
  socklen_t bytes = sizeof address;
  if (getpeername(fd, (struct sockaddr *)&address, &bytes) < 0) return (int)out(-1);
  // xnu uipc_syscalls.c getpeername: "the socket has been shutdown, no more getpeername's"
  if (HOST_DARWIN && rule("getpeername-shut") && is_shut(fd)) return (int)fail(EINVAL);
  address_out(&address, bytes, host, length);
  return 0;
}
int model_getsockname(int fd, unsigned char *host, uint32_t *length) {
  struct sockaddr_storage address;
  socklen_t bytes = sizeof address;
  if (getsockname(fd, (struct sockaddr *)&address, &bytes) < 0) return (int)out(-1);
  address_out(&address, bytes, host, length);
  return 0;
}

static int message_flags(int flags, int *ours) {
  int known = H_MSG_PEEK | H_MSG_DONTWAIT | H_MSG_EOR;
  *ours = MSG_NOSIGNAL;
#ifdef H_MSG_NOSIGNAL
  known |= H_MSG_NOSIGNAL;
#endif
#ifdef H_MSG_CMSG_CLOEXEC
  known |= H_MSG_CMSG_CLOEXEC;
  if (flags & H_MSG_CMSG_CLOEXEC) *ours |= MSG_CMSG_CLOEXEC;
#endif
  if (flags & H_MSG_PEEK) *ours |= MSG_PEEK;
  if (flags & H_MSG_DONTWAIT) *ours |= MSG_DONTWAIT;
  if (flags & H_MSG_EOR) *ours |= MSG_EOR;
  return flags & ~known ? EINVAL : 0;
}

// How much of the buffers goes into `to`, which has as many; at most `most` bytes.
static int cut_iov(const struct iovec *from, int count, size_t most, struct iovec *to) {
  int used = 0;
  for (; used < count && most > 0; used++) {
    to[used] = from[used];
    if (to[used].iov_len > most) to[used].iov_len = most;
    most -= to[used].iov_len;
  }
  return used;
}
static size_t iov_bytes(const struct iovec *iov, int count) {
  size_t bytes = 0;
  for (int i = 0; i < count; i++) bytes += iov[i].iov_len;
  return bytes;
}

// unp_internalize of the three, and sockargs before it: takes the descriptors out of the control
// data of a message; 0, or the error.
static int internalize(const char *control, uint32_t bytes, int *fds, int *count) {
  *count = 0;
  // xnu and OpenBSD sendit: shorter than a header
  if (bytes < 12) return EINVAL;
  if (bytes > CLUSTER_BYTES) return EINVAL; // sockargs
  for (uint32_t at = 0; at + H_CMSG_DATA_OFFSET <= bytes;) {
    const char *one = control + at;
    uint32_t length = (uint32_t)GET(one, H_CMSG_LEN);
    uint32_t aligned = (length + H_CMSG_ALIGN - 1) / H_CMSG_ALIGN * H_CMSG_ALIGN;
    if (GET(one, H_CMSG_LEVEL) != H_SOL_SOCKET || GET(one, H_CMSG_TYPE) != H_SCM_RIGHTS
        || length < H_CMSG_DATA_OFFSET || length > bytes - at) return EINVAL;
    // One message that fills all of it: xnu to the byte, OpenBSD with or without its padding
    if (HOST_DARWIN && length != bytes && rule("one-cmsg")) return EINVAL;
    if (HOST_OPENBSD && length != bytes && aligned != bytes && rule("one-cmsg")) return EINVAL;
    int here = (int)((length - H_CMSG_DATA_OFFSET) / sizeof(int));
    if (*count + here > 512) return EINVAL;
    memcpy(fds + *count, one + H_CMSG_DATA_OFFSET, here * sizeof(int));
    *count += here;
    at += aligned;
  }
  // xnu sockargs: each becomes a pointer, twice as large, in one cluster; OpenBSD unp_internalize:
  // a struct fdpass, four times as large
  if (HOST_DARWIN && (bytes - 12) * 2 + 12 > CLUSTER_BYTES && rule("cluster-of-fds")) return EINVAL;
  if (HOST_OPENBSD && 16 + *count * 16 > CLUSTER_BYTES && rule("cluster-of-fds")) return E2BIG;
  for (int i = 0; i < *count; i++) {
    if (fcntl(fds[i], F_GETFD) < 0) return EBADF;
    // xnu fg_sendable, OpenBSD: EINVAL; FreeBSD: no DFLAG_PASSABLE
    if (is_kqueue(fds[i]) && rule("kqueue-not-passed")) return HOST_FREEBSD ? EOPNOTSUPP : EINVAL;
  }
  return 0;
}

static long send_vector(int fd, const struct iovec *iov, int count, const int *fds, int fdCount,
    int flags) {
  struct iovec cut[1024];
  char control[CMSG_SPACE(CMSG_FDS_MAX * sizeof(int))];
  struct msghdr message = { .msg_iov = cut };
  size_t bytes = iov_bytes(iov, count);
  if (bytes > INT_MAX && HOST_DARWIN) return fail(EINVAL); // uipc_socket.c sosend
  // sosend of all three: `so_type == SOCK_STREAM && (flags & MSG_EOR)`
  if (flags & MSG_EOR && is_stream(fd) && rule("stream-eor")) return fail(EINVAL);
  bool isUnix = is_unix(fd);
  // No more than the room at a time; a socket that keeps messages apart sends them whole
  size_t most = isUnix && is_stream(fd) && rule("unix-sendspace") ? H_UNIX_SENDSPACE : bytes;
  message.msg_iovlen = cut_iov(iov, count, most, cut);
  if (fdCount > CMSG_FDS_MAX) return fail(ETOOMANYREFS); // of Linux, which is below
  if (fdCount > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fdCount * sizeof(int));
    struct cmsghdr *one = CMSG_FIRSTHDR(&message);
    *one = (struct cmsghdr){ CMSG_LEN(fdCount * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
    memcpy(CMSG_DATA(one), fds, fdCount * sizeof(int));
  }
  return out(sendmsg(fd, &message, flags));
}
long model_sendmsg(int fd, const void *host, int flags) {
  int ours, fds[512], fdCount = 0, error = message_flags(flags, &ours);
  const struct iovec *iov = (const struct iovec *)GET(host, H_MSGHDR_IOV);
  int count = (int)GET(host, H_MSGHDR_IOVLEN);
  const char *control = (const char *)GET(host, H_MSGHDR_CONTROL);
  // xnu sendmsg_nocancel: `msg_iovlen <= 0 || > UIO_MAXIOV`; FreeBSD copyiniov, OpenBSD
  // sys_sendmsg: more than IOV_MAX
  if ((count < 0 || count > 1024 || (HOST_DARWIN && count == 0)) && rule("iovlen-emsgsize")) {
    return fail(EMSGSIZE);
  }
  if (error) return fail(error);
  if (fcntl(fd, F_GETFD) < 0) return fail(EBADF);
  if (control != NULL) {
    error = internalize(control, (uint32_t)GET(host, H_MSGHDR_CONTROLLEN), fds, &fdCount);
    if (error) return fail(error);
  }
  return send_vector(fd, iov, count, fds, fdCount, ours);
}
long model_send(int fd, const void *from, size_t bytes, int flags) {
  struct iovec one = { (void *)from, bytes };
  int ours, error = message_flags(flags, &ours);
  if (error) return fail(error);
  return send_vector(fd, &one, 1, NULL, 0, ours);
}

// What one receive of Linux found.
struct found {
  long bytes;
  int fds[CMSG_FDS_MAX], count, flags;
};
static void receive_once(int fd, const struct iovec *iov, int count, size_t most, int flags,
    struct found *found) {
  struct iovec cut[1024];
  char control[CMSG_SPACE(CMSG_FDS_MAX * sizeof(int))];
  struct msghdr message = { .msg_iov = cut, .msg_control = control, .msg_controllen = sizeof control };
  message.msg_iovlen = cut_iov(iov, count, most, cut);
  found->bytes = recvmsg(fd, &message, flags);
  found->count = 0;
  found->flags = found->bytes < 0 ? 0 : message.msg_flags;
  if (found->bytes < 0) return;
  for (struct cmsghdr *one = CMSG_FIRSTHDR(&message); one; one = CMSG_NXTHDR(&message, one)) {
    if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS) continue;
    found->count = (int)((one->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(found->fds, CMSG_DATA(one), found->count * sizeof(int));
  }
}
static void close_all(struct found *found) {
  for (int i = 0; i < found->count; i++) close(found->fds[i]);
  found->count = 0;
}
// A stream of the BSDs is a list of records: one begins where descriptors are (sbappendcontrol), plain
// bytes join the last one (sbappend), and a receive takes from one record (soreceive). So plain bytes
// that were sent after descriptors may be received with them, which Linux never does. (The other
// way round Linux is the stricter one: there, bytes that were sent before descriptors may be received
// with them. It does not tell where they begin, so that is left as it is.)
static void receive_record(int fd, const struct iovec *iov, int count, int flags, struct found *found) {
  size_t most = iov_bytes(iov, count);
  receive_once(fd, iov, count, most, flags, found);
  bool isFull = found->bytes <= 0 || (size_t)found->bytes == most;
  if (isFull || found->count == 0 || flags & MSG_PEEK) return;
  struct iovec rest[1024];
  int used = 0;
  size_t skip = (size_t)found->bytes;
  for (int i = 0; i < count; i++) {
    if (skip >= iov[i].iov_len) { skip -= iov[i].iov_len; continue; }
    rest[used++] = (struct iovec){ (char *)iov[i].iov_base + skip, iov[i].iov_len - skip };
    skip = 0;
  }
  struct found more;
  receive_once(fd, rest, used, most, flags | MSG_DONTWAIT | MSG_PEEK, &more);
  bool plain = more.bytes > 0 && more.count == 0 && !(more.flags & MSG_CTRUNC);
  close_all(&more);
  if (!plain) return;
  receive_once(fd, rest, used, (size_t)more.bytes, flags | MSG_DONTWAIT, &more);
  if (more.bytes > 0) found->bytes += more.bytes;
}

// unp_externalize with no slots left in the table of descriptors: EMSGSIZE, the descriptors are lost,
// and the bytes are there for the next call. Those bytes, for each descriptor of a socket:
static struct { char *bytes; long count; } kept[65536];

void sockets_forget(int fd) {
  if (fd < 0 || fd >= 65536 || kept[fd].bytes == NULL) return;
  free(kept[fd].bytes);
  kept[fd].bytes = NULL;
}
static long take_kept(int fd, const struct iovec *iov, int count) {
  long done = 0;
  for (int i = 0; i < count && done < kept[fd].count; i++) {
    size_t here = iov[i].iov_len;
    if (here > (size_t)(kept[fd].count - done)) here = (size_t)(kept[fd].count - done);
    memcpy(iov[i].iov_base, kept[fd].bytes + done, here);
    done += (long)here;
  }
  kept[fd].count -= done;
  memmove(kept[fd].bytes, kept[fd].bytes + done, kept[fd].count);
  if (kept[fd].count == 0) { free(kept[fd].bytes); kept[fd].bytes = NULL; }
  return done;
}
static void keep(int fd, const struct iovec *iov, int count, long bytes) {
  kept[fd].bytes = malloc(bytes + 1);
  kept[fd].count = 0;
  for (int i = 0; i < count && kept[fd].count < bytes; i++) {
    size_t here = iov[i].iov_len;
    if (here > (size_t)(bytes - kept[fd].count)) here = (size_t)(bytes - kept[fd].count);
    memcpy(kept[fd].bytes + kept[fd].count, iov[i].iov_base, here);
    kept[fd].count += (long)here;
  }
}

// unp_externalize and the end of recvit: writes the control data of a message.
static void externalize(void *host, struct found *found, uint32_t *flags) {
  char *control = (char *)GET(host, H_MSGHDR_CONTROL);
  uint32_t room = control == NULL ? 0 : (uint32_t)GET(host, H_MSGHDR_CONTROLLEN), used = 0;
  if (found->count > 0 && control == NULL) close_all(found); // nobody asked
  if (found->count > 0) {
    uint32_t length = H_CMSG_DATA_OFFSET + (uint32_t)found->count * sizeof(int);
    used = (length + H_CMSG_ALIGN - 1) / H_CMSG_ALIGN * H_CMSG_ALIGN;
    char all[H_CMSG_DATA_OFFSET + CMSG_FDS_MAX * sizeof(int) + 8] = { 0 };
    SET(all, H_CMSG_LEN, length);
    SET(all, H_CMSG_LEVEL, H_SOL_SOCKET);
    SET(all, H_CMSG_TYPE, H_SCM_RIGHTS);
    memcpy(all + H_CMSG_DATA_OFFSET, found->fds, found->count * sizeof(int));
    if (used > room && rule("control-truncated")) {
      *flags |= H_MSG_CTRUNC;
      // FreeBSD kern_recvit: m_dispose_extcontrolm, then nothing is copied. xnu copyout_control and
      // OpenBSD recvit copy what has room; what has none is open all the same, and lost.
      if (HOST_FREEBSD) { close_all(found); used = 0; } else used = room;
    }
    memcpy(control, all, used);
  }
  SET(host, H_MSGHDR_CONTROLLEN, used);
}
static long receive_message(int fd, void *host, const struct iovec *iov, int count, int flags) {
  struct found found = { .count = 0 };
  int ours, error = message_flags(flags, &ours);
  uint32_t back = 0;
  if (error || flags & H_MSG_EOR) return fail(EINVAL);
  if (fd >= 0 && fd < 65536 && kept[fd].bytes != NULL && host != NULL) {
    SET(host, H_MSGHDR_CONTROLLEN, 0);
    SET(host, H_MSGHDR_FLAGS, 0);
    return take_kept(fd, iov, count);
  }
  if (is_unix(fd) && is_stream(fd) && rule("records")) receive_record(fd, iov, count, ours, &found);
  else receive_once(fd, iov, count, iov_bytes(iov, count), ours, &found);
  if (found.bytes < 0) return out(-1);
  if (found.flags & MSG_CTRUNC && rule("externalize-emsgsize")) {
    close_all(&found);
    keep(fd, iov, count, found.bytes);
    return fail(EMSGSIZE);
  }
  if (host == NULL) {
    close_all(&found);
    return found.bytes;
  }
  if (found.flags & MSG_TRUNC) back |= H_MSG_TRUNC;
  if (found.flags & MSG_EOR) back |= H_MSG_EOR;
  externalize(host, &found, &back);
  SET(host, H_MSGHDR_FLAGS, back);
  return found.bytes;
}
long model_recvmsg(int fd, void *host, int flags) {
  int count = (int)GET(host, H_MSGHDR_IOVLEN);
  // xnu recvmsg_nocancel, FreeBSD copyiniov, OpenBSD sys_recvmsg
  if (count < 0 || count > 1024 || (HOST_DARWIN && count == 0)) return fail(EMSGSIZE);
  return receive_message(fd, host, (const struct iovec *)GET(host, H_MSGHDR_IOV), count, flags);
}
long model_recv(int fd, void *to, size_t bytes, int flags) {
  struct iovec one = { to, bytes };
  return receive_message(fd, NULL, &one, 1, flags);
}
