// kqueue(2) for EVFILT_READ and EVFILT_WRITE. What is ready is asked of Linux by poll(2), and told by
// the rules of the host.
#include "model.h"

// sys/event.h, the same on all three; the product's table has only what it uses
enum { ENABLE = 4, DISABLE = 8, ONESHOT = 0x10, CLEAR = 0x20, RECEIPT = 0x40, DISPATCH = 0x80 };
enum { KNOTES_MAX = 8192, KQUEUES_MAX = 65536 };

struct knote {
  int kq, fd, filter, flags; // kq 0: unused
  bool disabled;
  uint64_t udata, serial;
  int64_t seen; // EV_CLEAR: what had been there when it fired last
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct knote knotes[KNOTES_MAX];
static bool kqueues[KQUEUES_MAX];
static uint64_t serials;

bool is_kqueue(int fd) {
  return fd >= 0 && fd < KQUEUES_MAX && kqueues[fd];
}
static void wake(int kq) {
  uint64_t one = 1;
  if (write(kq, &one, sizeof one) < 0) return; // it is awake already
}
// xnu bsd/kern/kern_event.c, FreeBSD sys/kern/kern_event.c, OpenBSD sys/kern/kern_event.c:
// knote_fdclose; and kqueue_close
void kqueue_forget(int fd) {
  int before = errno;
  pthread_mutex_lock(&lock);
  bool all = is_kqueue(fd);
  for (int i = 0; i < KNOTES_MAX; i++) {
    if (knotes[i].kq == 0) continue;
    if (all ? knotes[i].kq != fd : knotes[i].fd != fd) continue;
    int kq = knotes[i].kq;
    knotes[i].kq = 0;
    if (!all) wake(kq);
  }
  if (all) kqueues[fd] = false;
  pthread_mutex_unlock(&lock);
  errno = before;
}

int model_kqueue(void) {
  int kq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); // no kqueue outlives fork and exec
  if (kq < 0) return (int)out(-1);
  kqueue_forget(kq); // if somebody else has closed one of this number
  kqueues[kq] = true;
  return kq;
}

static struct knote *find(int kq, int fd, int filter) {
  for (int i = 0; i < KNOTES_MAX; i++) {
    struct knote *each = &knotes[i];
    if (each->kq == kq && each->fd == fd && each->filter == filter) return each;
  }
  return NULL;
}

// Whether a filter can be attached at all: 0, or the error.
static int attachable(int fd, int filter) {
  // xnu fo_no_kqfilter: ENOTSUP; FreeBSD invfo_kqfilter: EINVAL
  if (is_shm_object(fd) && rule("kq-no-shm")) return HOST_DARWIN ? ENOTSUP : EINVAL;
  struct stat status;
  if (fstat(fd, &status) < 0) return EBADF;
  struct pollfd one = { .fd = fd, .events = POLLOUT };
  // FreeBSD sys/kern/sys_pipe.c pipe_kqfilter, OpenBSD sys/kern/sys_pipe.c pipe_kqfilter: "other
  // end of pipe has been closed". xnu says that it would break libdispatch.
  if (!HOST_DARWIN && filter == H_EVFILT_WRITE && S_ISFIFO(status.st_mode) && rule("kq-pipe-epipe")
      && poll(&one, 1, 0) == 1 && one.revents & POLLERR) return EPIPE;
  return 0;
}

// kevent_register of xnu, kqueue_register of FreeBSD and of OpenBSD: 0, or the error.
static int change(int kq, const void *one) {
  int fd = (int)GET(one, H_KEVENT_IDENT), filter = (int16_t)GET(one, H_KEVENT_FILTER);
  int flags = (int)GET(one, H_KEVENT_FLAGS);
  if (filter != H_EVFILT_READ && filter != H_EVFILT_WRITE) return EINVAL; // of those played here
  bool isOpen = fcntl(fd, F_GETFD) >= 0;
  // "validate descriptor" comes before the search for a knote, except for xnu
  if (!HOST_DARWIN && !isOpen && rule("kq-delete-ebadf")) return EBADF;
  struct knote *knote = find(kq, fd, filter);
  if (knote == NULL) {
    if (!(flags & H_EV_ADD) || flags & H_EV_DELETE) return rule("kq-delete-enoent") ? ENOENT : 0;
    if (!isOpen) return EBADF;
    int error = attachable(fd, filter);
    if (error) return error;
    for (int i = 0; i < KNOTES_MAX && knote == NULL; i++) {
      if (knotes[i].kq == 0) knote = &knotes[i];
    }
    if (knote == NULL) return ENOMEM;
    *knote = (struct knote){ .kq = kq, .fd = fd, .filter = filter, .serial = ++serials };
    knote->flags = flags & (ONESHOT | CLEAR | DISPATCH);
  } else if (flags & H_EV_DELETE) {
    knote->kq = 0;
    return 0;
  }
  knote->udata = GET(one, H_KEVENT_UDATA);
  knote->seen = 0;
  if (flags & DISABLE) knote->disabled = true;
  if (flags & ENABLE) knote->disabled = false;
  return 0;
}

// The filters: filt_piperead, filt_pipewrite, filt_soread, filt_sowrite, filt_vnode of the three.
// Whether it fires; `eof` for EV_EOF, with bytes left in `data`.
static bool active(const struct knote *knote, int revents, bool *eof, int64_t *data) {
  struct stat status;
  int count = 0, value = 0;
  socklen_t length = sizeof value;
  *eof = false;
  *data = 0;
  if (fstat(knote->fd, &status) < 0) return false;
  bool isPipe = S_ISFIFO(status.st_mode), isSocket = S_ISSOCK(status.st_mode);
  if (knote->filter == H_EVFILT_WRITE) {
    *eof = (isPipe || isSocket) && revents & (POLLERR | POLLHUP);
    *data = revents & POLLOUT ? PIPE_BUF : 0;
    return *eof || revents & POLLOUT;
  }
  if (S_ISREG(status.st_mode)) {
    *data = status.st_size - lseek(knote->fd, 0, SEEK_CUR);
    return *data != 0;
  }
  if (isSocket && getsockopt(knote->fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) == 0 && value) {
    *data = 1; // so_qlen
    return revents & POLLIN;
  }
  if (isPipe || isSocket) {
    if (ioctl(knote->fd, FIONREAD, &count) == 0) *data = count;
    *eof = revents & (POLLHUP | POLLRDHUP) || (isPipe && revents & POLLERR);
  }
  return *eof || revents & (POLLIN | POLLERR | POLLHUP);
}

// Writes the event of a knote, if there is one.
static bool event_of(struct knote *knote, int revents, void *event) {
  bool eof;
  int64_t data;
  if (revents & POLLNVAL) { // closed behind the model's back
    knote->kq = 0;
    return false;
  }
  if (revents == 0 || !active(knote, revents, &eof, &data)) {
    knote->seen = 0;
    return false;
  }
  if (knote->flags & CLEAR) { // until more has come
    bool more = data + (eof ? 1 : 0) > knote->seen;
    knote->seen = data + (eof ? 1 : 0);
    if (!more) return false;
  }
  memset(event, 0, H_KEVENT_SIZE);
  SET(event, H_KEVENT_IDENT, knote->fd);
  SET(event, H_KEVENT_FILTER, (uint16_t)knote->filter);
  SET(event, H_KEVENT_FLAGS,
    knote->flags | H_EV_ADD | (eof && rule("kq-eof") ? H_EV_EOF : 0));
  SET(event, H_KEVENT_DATA, data);
  SET(event, H_KEVENT_UDATA, knote->udata);
  if (knote->flags & ONESHOT) knote->kq = 0;
  if (knote->flags & DISPATCH) knote->disabled = true;
  return true;
}

struct watched {
  int at;
  uint64_t serial;
};

// The knotes of a kqueue that are to be asked for, with the kqueue's own descriptor after them; how
// many there are. What comes by the pointers is the caller's to free.
static int gather(int kq, struct pollfd **fds, struct watched **watched) {
  int room = 0, count = 0;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < KNOTES_MAX; i++) room += knotes[i].kq == kq && !knotes[i].disabled;
  // Not of the thread: put before the C library, its variables are on the stack of every thread, and
  // Node has threads with 32 KiB, which could not be made then.
  *fds = malloc((size_t)(room + 1) * sizeof **fds);
  *watched = malloc((size_t)(room + 1) * sizeof **watched);
  if (*fds == NULL || *watched == NULL) abort();
  for (int i = 0; i < KNOTES_MAX; i++) {
    const struct knote *each = &knotes[i];
    if (each->kq != kq || each->disabled) continue;
    int wanted = each->filter == H_EVFILT_READ ? POLLIN | POLLRDHUP : POLLOUT;
    (*fds)[count] = (struct pollfd){ .fd = each->fd, .events = (short)wanted };
    (*watched)[count++] = (struct watched){ i, each->serial };
  }
  pthread_mutex_unlock(&lock);
  (*fds)[count] = (struct pollfd){ .fd = kq, .events = POLLIN };
  return count;
}

// The events of those that fire, of `count` that were asked for; how many fire.
static int fire(int kq, const struct pollfd *fds, const struct watched *watched, int count,
    char *events, int max) {
  static unsigned turn; // those that fired last are at the end of the list next time
  int ready = 0;
  pthread_mutex_lock(&lock);
  unsigned first = max < count ? turn++ * (unsigned)max : 0;
  for (int i = 0; i < count && ready < max; i++) {
    int at = (int)((first + (unsigned)i) % (unsigned)count);
    struct knote *each = &knotes[watched[at].at];
    if (each->kq != kq || each->serial != watched[at].serial) continue; // gone meanwhile
    if (event_of(each, fds[at].revents, events + ready * H_KEVENT_SIZE)) ready++;
  }
  pthread_mutex_unlock(&lock);
  return ready;
}

// One look at all knotes of a kqueue, waiting no longer than `timeout`; how many fire, or -1.
static int look(int kq, char *events, int max, const struct timespec *timeout) {
  struct pollfd *fds;
  struct watched *watched;
  uint64_t woken;
  int count = gather(kq, &fds, &watched);
  int ready = ppoll(fds, (nfds_t)count + 1, timeout, NULL);
  if (ready >= 0) {
    if (fds[count].revents && read(kq, &woken, sizeof woken) < 0) woken = 0;
    ready = fire(kq, fds, watched, count, events, max);
  }
  int error = errno;
  free(fds);
  free(watched);
  errno = error;
  return ready;
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000 + time.tv_nsec;
}

int model_kevent(int kq, const char *changes, int nchanges, char *events, int nevents,
    const struct timespec *timeout) {
  int errors = 0;
  if (!is_kqueue(kq)) return (int)fail(EBADF);
  for (int i = 0; i < nchanges; i++) {
    const char *one = changes + i * H_KEVENT_SIZE;
    int flags = (int)GET(one, H_KEVENT_FLAGS);
    pthread_mutex_lock(&lock);
    int error = change(kq, one);
    pthread_mutex_unlock(&lock);
    if (!error && !(flags & RECEIPT)) continue;
    if (errors == nevents) return error ? (int)fail(error) : errors;
    char *event = events + errors++ * H_KEVENT_SIZE; // "output local errors through the kevent"
    memcpy(event, one, H_KEVENT_SIZE);
    SET(event, H_KEVENT_FLAGS, (uint16_t)(flags | H_EV_ERROR));
    SET(event, H_KEVENT_DATA, error ? host_errno(error) : 0);
  }
  if (errors > 0 || nevents == 0) return errors;
  // xnu timespec_is_valid, FreeBSD kqueue_scan, OpenBSD sys_kevent (timespecisvalid)
  if (timeout != NULL && rule("kq-timespec")
      && (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000)) {
    return (int)fail(EINVAL);
  }
  int64_t end = timeout == NULL ? 0 : timeout->tv_sec > INT32_MAX ? INT64_MAX
    : now() + timeout->tv_sec * 1000000000 + timeout->tv_nsec;
  for (;;) {
    int64_t left = timeout == NULL ? 0 : end - now();
    if (left < 0) left = 0;
    struct timespec rest = { left / 1000000000, left % 1000000000 };
    int ready = look(kq, events, nevents, timeout == NULL ? NULL : &rest);
    if (ready < 0) return (int)out(-1);
    if (ready > 0 || (timeout != NULL && left == 0)) return ready;
    if (timeout == NULL || now() < end) poll(NULL, 0, 1); // what is ready for poll and fires not
  }
}
