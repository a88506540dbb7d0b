/*
 * The guest's end of the tests and benchmarks of vsock. A connection begins by a line that says what
 * its other end is to do:
 *   echo            gives back what it is sent, until the end
 *   sink            checks what it is sent, and says `bytes N` after the end
 *   source N BLOCK  sends N bytes, ends its half, and expects `got N` before the other half ends
 *   drain N, pour N BLOCK   the same of a host for benchmarks: any bytes, which nobody looks at, and
 *                   no half-close, which not every device has
 * Data are a pattern in which each word, little-endian, tells its own place: nothing can be lost, twice, or moved.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

enum { BUFFER = 65536 };
static uint8_t data[BUFFER + 8], expected[BUFFER + 8];

static void fail(const char *what) {
  printf("vsock-guest: %s: %s\n", what, strerror(errno));
  fflush(stdout);
  exit(1);
}

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* Words from the one that byte `at` is in. */
static void pattern(uint8_t *into, uint64_t at, size_t bytes) {
  uint32_t word = at / 4, *words = (uint32_t *)into;
  for (size_t i = 0; i < bytes / 4 + 2; i++) words[i] = htole32((word + i) * 2654435761u ^ 0x5bd1e995u);
}

static void check(const uint8_t *bytes, uint64_t at, size_t count) {
  pattern(expected, at, count);
  if (memcmp(bytes, expected + at % 4, count) == 0) return;
  printf("vsock-guest: wrong data in the %zu bytes at %llu\n", count, (unsigned long long)at);
  exit(1);
}

static struct sockaddr_vm address(unsigned cid, unsigned port) {
  struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
  return a;
}

static int dial(unsigned cid, unsigned port) {
  struct sockaddr_vm a = address(cid, port);
  int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
  if (fd < 0) fail("socket");
  if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) fail("connect");
  return fd;
}

static void put(int fd, const void *bytes, size_t count) {
  for (size_t done = 0; done < count;) {
    ssize_t n = write(fd, (const char *)bytes + done, count - done);
    if (n < 0) fail("write");
    done += n;
  }
}

static void put_text(int fd, const char *text) { put(fd, text, strlen(text)); }

static void get(int fd, void *bytes, size_t count) {
  for (size_t done = 0; done < count;) {
    ssize_t n = read(fd, (char *)bytes + done, count - done);
    if (n == 0) errno = ECONNRESET;
    if (n <= 0) fail("read");
    done += n;
  }
}

/* A line, or the rest before the end; without the line feed. */
static void get_line(int fd, char *line, size_t room) {
  size_t n = 0;
  while (n + 1 < room && read(fd, line + n, 1) == 1 && line[n] != '\n') n++;
  line[n] = 0;
}

static void send_pattern(int fd, uint64_t bytes, size_t block) {
  for (uint64_t at = 0; at < bytes;) {
    size_t n = bytes - at < block ? bytes - at : block;
    pattern(data, at, n);
    put(fd, data, n);
    at += n;
  }
}

static uint64_t take_pattern(int fd) {
  for (uint64_t at = 0;;) {
    ssize_t n = read(fd, data, BUFFER);
    if (n < 0) fail("read");
    if (n == 0) return at;
    check(data, at, n);
    at += n;
  }
}

static void expect_line(int fd, const char *wanted) {
  char line[64];
  get_line(fd, line, sizeof line);
  if (strcmp(line, wanted) == 0) return;
  printf("vsock-guest: '%s' came in place of '%s'\n", line, wanted);
  exit(1);
}

/* The other end of a connection; see above. */
static void serve_one(int fd) {
  char line[64], text[64];
  unsigned long long bytes;
  unsigned block;
  get_line(fd, line, sizeof line);
  if (strcmp(line, "echo") == 0) {
    ssize_t n;
    while ((n = read(fd, data, BUFFER)) > 0) put(fd, data, n);
  } else if (strcmp(line, "sink") == 0) {
    sprintf(text, "bytes %llu\n", (unsigned long long)take_pattern(fd));
    put_text(fd, text);
  } else if (sscanf(line, "source %llu %u", &bytes, &block) == 2) {
    send_pattern(fd, bytes, block);
    shutdown(fd, SHUT_WR);
    sprintf(text, "got %llu", bytes);
    expect_line(fd, text);
  }
  close(fd);
}

static int listener(unsigned port) {
  struct sockaddr_vm a = address(VMADDR_CID_ANY, port);
  int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0) fail("bind");
  /* The host is quicker than this program: the kernel resets connections that have no place here. */
  if (listen(fd, 4096) < 0) fail("listen");
  fprintf(stderr, "@listening=%u\n", port);
  return fd;
}

static void serve(unsigned port) {
  signal(SIGCHLD, SIG_IGN);
  for (int fd = listener(port);;) {
    int one = accept(fd, NULL, NULL);
    if (one < 0) fail("accept");
    if (fork() == 0) {
      close(fd);
      serve_one(one);
      exit(0);
    }
    close(one);
  }
}

/* Takes connections and closes them. */
static void accept_all(unsigned port, unsigned count) {
  int fd = listener(port);
  for (unsigned i = 0; i < count; i++) {
    int one = accept(fd, NULL, NULL);
    if (one < 0) fail("accept");
    while (read(one, data, BUFFER) > 0) continue;
    close(one);
  }
}

static void send_to(int fd, uint64_t bytes, size_t block, int plain) {
  char text[64];
  sprintf(text, plain ? "drain %llu\n" : "sink\n", (unsigned long long)bytes);
  put_text(fd, text);
  if (!plain) send_pattern(fd, bytes, block);
  else for (uint64_t at = 0; at < bytes; at += block) put(fd, data, block);
  if (!plain) shutdown(fd, SHUT_WR);
  sprintf(text, "bytes %llu", (unsigned long long)bytes);
  expect_line(fd, text);
}

static void receive_from(int fd, uint64_t bytes, unsigned block, int plain) {
  char text[64];
  sprintf(text, "%s %llu %u\n", plain ? "pour" : "source", (unsigned long long)bytes, block);
  put_text(fd, text);
  uint64_t got = 0;
  if (plain) for (ssize_t n; got < bytes && (n = read(fd, data, BUFFER)) > 0;) got += n;
  else got = take_pattern(fd);
  sprintf(text, "got %llu\n", (unsigned long long)got);
  put_text(fd, text);
  if (got == bytes) return;
  printf("vsock-guest: %llu bytes came\n", (unsigned long long)got);
  exit(1);
}

static void ping(int fd, unsigned count) {
  uint8_t byte = 0;
  put_text(fd, "echo\n");
  for (unsigned i = 0; i < count; i++) {
    put(fd, &byte, 1);
    get(fd, &byte, 1);
  }
}

/* Connections one after the other, with a word there and back on each. */
static void connect_all(unsigned cid, unsigned port, unsigned count, int words) {
  for (unsigned i = 0; i < count; i++) {
    unsigned back = 0;
    int fd = dial(cid, port);
    if (words) {
      put_text(fd, "echo\n");
      put(fd, &i, 4);
      get(fd, &back, 4);
      if (back != i) fail("another word came back");
    }
    close(fd);
  }
}

/* So many connections that are all open at once. */
static void at_once(unsigned cid, unsigned port, unsigned count, size_t bytes) {
  int opened[2], ready[2], status, failed = 0;
  char byte = 0;
  if (pipe(opened) < 0 || pipe(ready) < 0) fail("pipe");
  for (unsigned i = 0; i < count; i++) {
    if (fork() != 0) continue;
    close(ready[1]);
    int fd = dial(cid, port);
    put_text(fd, "echo\n");
    put(fd, &i, 4);
    get(fd, data, 4);
    put(opened[1], &byte, 1);
    if (read(ready[0], &byte, 1) != 0) exit(1); /* until all are */
    for (uint64_t at = 0; at < bytes; at += 4096) {
      pattern(data, at, 4096);
      put(fd, data, 4096);
      get(fd, data, 4096);
      check(data, at, 4096);
    }
    exit(0);
  }
  close(opened[1]);
  for (unsigned i = 0; i < count && read(opened[0], &byte, 1) == 1; i++) continue;
  close(ready[1]);
  for (unsigned i = 0; i < count; i++) {
    if (wait(&status) < 0 || status != 0) failed++;
  }
  if (failed > 0) {
    printf("vsock-guest: %d of %u failed\n", failed, count);
    exit(1);
  }
}

static void refused(unsigned cid, unsigned port) {
  struct sockaddr_vm a = address(cid, port);
  int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
  double from = now_ms();
  int result = connect(fd, (struct sockaddr *)&a, sizeof a);
  printf("@refused.error=%s\n", result == 0 ? "none" : errno == ECONNRESET ? "ECONNRESET"
                              : errno == ECONNREFUSED ? "ECONNREFUSED" : strerror(errno));
  printf("@refused.ms=%.0f\n", now_ms() - from);
}

/* Reads and writes until the other end has gone, and says how that looked. */
static void until_gone(int fd) {
  put_text(fd, "echo\n");
  signal(SIGPIPE, SIG_IGN);
  memset(data, 7, BUFFER);
  printf("@going=yes\n");
  fflush(stdout);
  for (;;) {
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
    if (poll(&p, 1, 10000) <= 0) fail("nothing happens");
    if (p.revents & POLLIN) {
      ssize_t n = recv(fd, data, BUFFER, MSG_DONTWAIT);
      if (n == 0 || (n < 0 && errno != EAGAIN)) break;
    }
    if ((p.revents & POLLOUT) && send(fd, data, 4096, MSG_DONTWAIT) < 0 && errno != EAGAIN) break;
  }
  printf("@gone=yes\n");
}

/* Waits until the host says something, and prints it. */
static void line(int fd) {
  char text[64];
  get_line(fd, text, sizeof text);
  printf("@line=%s\n", text);
}

/*
 * Messages (SOCK_SEQPACKET): `echo-messages` gives each back, `messages` sends some of many lengths to
 * such a program, and `late-messages` only begins to read after a while and tells how many were whole,
 * by the pattern that each begins anew.
 */
enum { MESSAGE_MAX = 1 << 20 };
static uint8_t message[MESSAGE_MAX + 8], wanted[MESSAGE_MAX + 8];

static int message_socket(int room) {
  int fd = socket(AF_VSOCK, SOCK_SEQPACKET, 0);
  uint64_t bytes = MESSAGE_MAX;
  if (fd < 0) fail("socket");
  if (!room) return fd;
  if (setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &bytes, sizeof bytes) < 0 ||
      setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &bytes, sizeof bytes) < 0)
    fail("setsockopt");
  return fd;
}

static int accept_messages(unsigned port, int room) {
  struct sockaddr_vm a = address(VMADDR_CID_ANY, port);
  int fd = message_socket(room);
  if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 16) < 0) fail("listen");
  printf("@listening=%u\n", port);
  fflush(stdout);
  int one = accept(fd, NULL, NULL);
  if (one < 0) fail("accept");
  close(fd);
  return one;
}

static void echo_messages(int fd) {
  ssize_t n;
  while ((n = recv(fd, message, MESSAGE_MAX, 0)) > 0)
    if (send(fd, message, n, 0) != n) fail("send");
  if (n < 0) fail("recv");
}

static void messages(unsigned cid, unsigned port, unsigned count, size_t most) {
  struct sockaddr_vm a = address(cid, port);
  int fd = message_socket(1);
  if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) fail("connect");
  for (unsigned i = 1; i <= count; i++) {
    size_t bytes = most * i / count;
    pattern(wanted, 4 * i, bytes);
    if (send(fd, wanted, bytes, 0) != (ssize_t)bytes) fail("send");
    if (recv(fd, message, MESSAGE_MAX, 0) == (ssize_t)bytes && memcmp(message, wanted, bytes) == 0) continue;
    printf("vsock-guest: another message came back\n");
    exit(1);
  }
  shutdown(fd, SHUT_WR);
  if (recv(fd, message, MESSAGE_MAX, 0) != 0) fail("no end");
}

static void late_messages(int fd, unsigned ms, size_t bytes) {
  unsigned whole = 0, torn = 0;
  ssize_t n;
  usleep(1000 * ms);
  pattern(wanted, 0, bytes);
  while ((n = recv(fd, message, MESSAGE_MAX, 0)) > 0) {
    if (n == (ssize_t)bytes && memcmp(message, wanted, bytes) == 0) whole++;
    else torn++;
  }
  printf("@late=%u whole, %u torn\n", whole, torn);
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  unsigned long long n[5] = {0};
  for (int i = 2; i < argc && i < 7; i++) n[i - 2] = strtoull(argv[i], NULL, 10);
  double from = now_ms();
  if (strcmp(what, "serve") == 0) serve(n[0]);
  else if (strcmp(what, "accept") == 0) accept_all(n[0], n[1]);
  else if (strcmp(what, "send") == 0) send_to(dial(n[0], n[1]), n[2], n[3], n[4]);
  else if (strcmp(what, "receive") == 0) receive_from(dial(n[0], n[1]), n[2], n[3], n[4]);
  else if (strcmp(what, "ping") == 0) ping(dial(n[0], n[1]), n[2]);
  else if (strcmp(what, "connect") == 0) connect_all(n[0], n[1], n[2], n[3]);
  else if (strcmp(what, "at-once") == 0) at_once(n[0], n[1], n[2], n[3]);
  else if (strcmp(what, "refused") == 0) refused(n[0], n[1]);
  else if (strcmp(what, "until-gone") == 0) until_gone(dial(n[0], n[1]));
  else if (strcmp(what, "line") == 0) line(dial(n[0], n[1]));
  else if (strcmp(what, "echo-messages") == 0) echo_messages(accept_messages(n[0], 1));
  else if (strcmp(what, "messages") == 0) messages(n[0], n[1], n[2], n[3]);
  else if (strcmp(what, "late-messages") == 0) late_messages(accept_messages(n[0], 0), n[1], n[2]);
  else fail("serve PORT | accept PORT N | send, receive CID PORT BYTES BLOCK PLAIN | ping CID PORT N | "
            "connect CID PORT N WORDS | at-once CID PORT N BYTES | refused, until-gone, line CID PORT | "
            "echo-messages PORT | messages CID PORT N BYTES | late-messages PORT MS BYTES");
  printf("ms %.3f\n", now_ms() - from);
  return 0;
}
