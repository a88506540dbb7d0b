/**
 * What other hosts have and this one lacks, or the other way round, by a small library that is
 * loaded before the C library: kqueue, shm_mkstemp and launchd; no eventfd, no memfd, no
 * SO_ACCEPTCONN.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const TIME_LIMIT_MS = 60_000;
const ENDING = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const DOOR = new URL(`./index.${ENDING}`, import.meta.url).href;
const POLLER_TEST = new URL(`./poller.test.${ENDING}`, import.meta.url);

/** kqueue(2) over poll(2), with macOS's `struct kevent`, level-triggered. */
const KQUEUE = `
struct kevent { uintptr_t ident; int16_t filter; uint16_t flags; uint32_t fflags; intptr_t data;
  void *udata; };
static struct { int kq; struct kevent at; } entries[4096];
int kqueue(void) {
  int kq = open("/dev/null", O_RDONLY | O_CLOEXEC);
  for (int i = 0; i < 4096; i++) if (entries[i].kq == kq) entries[i].kq = 0; // of a closed one
  return kq;
}
static int change(int kq, const struct kevent *one) {
  int unused = -1;
  for (int i = 0; i < 4096; i++) {
    if (entries[i].kq == 0) { if (unused < 0) unused = i; continue; }
    if (entries[i].kq != kq || entries[i].at.ident != one->ident) continue;
    if (entries[i].at.filter != one->filter) continue;
    if (one->flags & 2) entries[i].kq = 0; else entries[i].at = *one;
    return 0;
  }
  if (one->flags & 2) { errno = ENOENT; return -1; }
  if (fcntl((int)one->ident, F_GETFD) < 0) return -1;
  entries[unused].kq = kq;
  entries[unused].at = *one;
  return 0;
}
int kevent(int kq, const struct kevent *changes, int n, struct kevent *events, int max,
    const struct timespec *timeout) {
  struct pollfd fds[4096];
  int index[4096], count = 0, ready = 0;
  if (fcntl(kq, F_GETFD) < 0) return -1;
  for (int i = 0; i < n; i++) if (change(kq, &changes[i]) < 0) return -1;
  if (max == 0) return 0;
  for (int i = 0; i < 4096; i++) {
    if (entries[i].kq != kq) continue;
    fds[count].fd = (int)entries[i].at.ident;
    fds[count].events = entries[i].at.filter == -1 ? POLLIN : POLLOUT;
    fds[count].revents = 0;
    index[count++] = i;
  }
  if (ppoll(fds, count, timeout, NULL) < 0) return -1;
  for (int i = 0; i < count && ready < max; i++) {
    if (fds[i].revents == 0) continue;
    events[ready] = entries[index[i]].at;
    events[ready].flags = fds[i].revents & POLLHUP ? 0x8000 : 0;
    ready++;
  }
  return ready;
}`;

/** Functions of OpenBSD and macOS, and functions of Linux that fail as where they do not exist. */
const OTHERS = `
int shm_mkstemp(char *name) {
  size_t length = strlen(name);
  if (length < 6 || strcmp(name + length - 6, "XXXXXX") != 0) { errno = EINVAL; return -1; }
  memcpy(name + length - 6, "abcdef", 6);
  return shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
}
int launch_activate_socket(const char *name, int **fds, size_t *count) {
  if (strcmp(name, "Listeners") != 0) return ENOENT;
  *fds = malloc(2 * sizeof(int));
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, *fds) < 0) return errno;
  *count = 2;
  return 0;
}
int eventfd(unsigned int value, int flags) { // Node itself cannot start without it
  if (getenv("VHU_ABSENT") == NULL) return (int)syscall(SYS_eventfd2, value, flags);
  errno = ENOSYS;
  return -1;
}
int memfd_create(const char *name, unsigned int flags) {
  (void)name; (void)flags; errno = ENOSYS; return -1;
}
int getsockopt(int fd, int level, int name, void *value, socklen_t *length) {
  if (level == SOL_SOCKET && name == SO_ACCEPTCONN) {
    struct stat status;
    if (fstat(fd, &status) < 0) return -1;
    errno = S_ISSOCK(status.st_mode) ? ENOPROTOOPT : ENOTSOCK;
    return -1;
  }
  return (int)syscall(SYS_getsockopt, fd, level, name, value, length);
}`;

const HEADERS = ['errno', 'fcntl', 'poll', 'stdint', 'stdlib', 'string', 'time', 'unistd'];
const SYSTEM_HEADERS = ['eventfd', 'mman', 'socket', 'stat', 'syscall', 'types'];
const PROLOGUE = [
  '#define _GNU_SOURCE',
  ...HEADERS.map((name) => `#include <${name}.h>`),
  ...SYSTEM_HEADERS.map((name) => `#include <sys/${name}.h>`),
].join('\n');

let skip: string | false = false;
if (process.platform !== 'linux') skip = 'functions are put before the C library on Linux only';
else if (spawnSync('cc', ['--version']).error !== undefined) skip = 'there is no C compiler (cc)';

const folder = mkdtempSync(join(tmpdir(), 'vhu-hosts-'));

function compile(name: string, source: string): void {
  writeFileSync(join(folder, `${name}.c`), `${PROLOGUE}\n${source}\n`);
  const args = ['-shared', '-fPIC', '-o', join(folder, `${name}.so`), join(folder, `${name}.c`)];
  execFileSync('cc', args, { stdio: 'pipe' });
}

function environment(library: string, mode: string): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    LD_PRELOAD: join(folder, `${library}.so`),
    VHOST_USER_HOST: mode,
  };
  delete env.NODE_TEST_CONTEXT; // else the child takes itself for a part of this run
  return env;
}

/** What a module prints as JSON that has this layer as `sys`. */
function answer(source: string, mode: 'native' | 'posix'): unknown {
  const file = join(folder, 'child.mjs');
  const start = `import * as sys from ${JSON.stringify(DOOR)};\nprocess.env.VHU_ABSENT = 'yes';\n`;
  writeFileSync(file, start + source);
  const { status, stdout, stderr } = spawnSync(process.execPath, [file], {
    env: environment('others', mode),
    encoding: 'utf8',
    timeout: TIME_LIMIT_MS,
  });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

describe('the facilities of other hosts', { skip }, () => {
  before(() => {
    compile('kqueue', KQUEUE);
    compile('others', OTHERS);
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  it('kqueue passes the tests of a poller', () => {
    const args = ['--enable-source-maps', '--test-reporter=tap', fileURLToPath(POLLER_TEST)];
    const { status, stdout } = spawnSync(process.execPath, args, {
      env: environment('kqueue', 'native'),
      encoding: 'utf8',
      timeout: TIME_LIMIT_MS,
    });
    assert.equal(status, 0, stdout);
    assert.match(stdout, /^ok \d+ - a kqueue poller$/m, 'not skipped');
  });

  it('a host whose kernel has no eventfd has pipes', () => {
    const result = answer(
      `const { notifier, consumer } = sys.createNotifier();
       const kinds = [sys.notifierKind(), sys.fdKind(notifier.fd), sys.fdKind(consumer.fd)];
       const flags = [notifier, consumer].map(({ fd }) => sys.isNonBlocking(fd));
       const before = consumer.drain();
       notifier.signal();
       console.log(JSON.stringify({ kinds, flags, drains: [before, consumer.drain()] }));`,
      'native',
    );
    const expected = { kinds: ['pipe', 'pipe', 'pipe'], flags: [true, true], drains: [0, 1] };
    assert.deepEqual(result, expected);
  });

  it('shm_mkstemp gives nameless memory, in the mode that has no memfd', () => {
    for (const mode of ['native', 'posix'] as const) {
      const result = answer(
        `import { readdirSync } from 'node:fs';
         const before = sys.openFdCount();
         const fd = sys.createSharedMemory(65536, 'x');
         const mapping = sys.mapFd(fd, 65536, 0, { writable: true });
         const zero = new Uint8Array(sys.viewMemory(mapping.address, 65536)).every((b) => b === 0);
         mapping.unmap();
         sys.closeFd(fd);
         const names = readdirSync('/dev/shm').filter((name) => name.startsWith('vhu.'));
         console.log(JSON.stringify({ kind: sys.sharedMemoryKind(), zero, names,
           leaked: sys.openFdCount() - before }));`,
        mode,
      );
      assert.deepEqual(result, { kind: 'shm_mkstemp', zero: true, names: [], leaked: 0 });
    }
  });

  it('a host without SO_ACCEPTCONN tells listening sockets from connected ones', () => {
    const path = join(folder, 'socket');
    const result = answer(
      `const listener = sys.listenUnix(${JSON.stringify(path)});
       const client = sys.connectUnix(${JSON.stringify(path)});
       const server = sys.acceptUnix(listener);
       const [a] = sys.socketPair();
       const { notifier } = sys.createNotifier();
       let text;
       try { sys.isListening(notifier.fd); } catch (error) { text = error.message; }
       const fds = [listener, client, server, a].map(sys.isListening);
       console.log(JSON.stringify({ text, fds }));`,
      'native',
    ) as { text: string };
    const { text, ...rest } = result;
    assert.deepEqual(rest, { fds: [true, false, false, false] });
    assert.match(text, /^getsockopt\(fd \d+, SO_ACCEPTCONN\): ENOTSOCK: fd \d+ is pipe, a socket/);
  });

  it('launchd hands over its sockets, and says when it has none of that name', () => {
    const result = answer(
      `const fds = sys.launchdFds('Listeners');
       let text;
       try { sys.launchdFds('Others'); } catch (error) { text = error.message; }
       console.log(JSON.stringify({ text, kinds: fds.map(sys.fdKind) }));`,
      'native',
    ) as { text: string };
    const { text, ...rest } = result;
    assert.deepEqual(rest, { kinds: ['socket', 'socket'] });
    assert.match(text, /^launch_activate_socket\(Others\): ENOENT: was this process started by/);
  });
});
