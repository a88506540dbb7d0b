"""What programs do to a file system, call by call, on a shared folder: each function is one check
in a folder of its own. Says `@check.NAME=ok` or a trace for each, and ends with 1 if any failed.
Usage: fs-posix.py FOLDER FEATURES, where a feature is `mmap`, `xattr`, `linux`, `killpriv` or
`busy`. What needs a feature that is not there has to fail as it should, or is not asked for."""

import ctypes, errno, fcntl, hashlib, mmap, os, resource, signal, socket, stat, struct, sys, time
import traceback

MIB = 1 << 20
GIB = 1 << 30
libc = ctypes.CDLL(None, use_errno=True)


def fails(code, call, *args, **named):
    """The call has to fail, and with this error."""
    try:
        call(*args, **named)
    except OSError as error:
        assert error.errno == code, f"{error!r} in place of {errno.errorcode[code]}"
        return
    raise AssertionError(f"{call.__name__}{args} did not fail with {errno.errorcode[code]}")


def put(path, data):
    fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
    assert os.write(fd, data) == len(data)
    os.close(fd)


def get(path):
    with open(path, "rb", buffering=0) as file:
        return file.readall()


def names_of_255_bytes():
    name = b"n" * 255
    put(name, b"long")
    assert get(name) == b"long"
    assert name in os.listdir(b".")
    os.mkdir(b"d" * 255)
    put(b"d" * 255 + b"/" + b"f" * 255, b"deep")
    fails(errno.ENAMETOOLONG, put, b"n" * 256, b"")
    fails(errno.ENAMETOOLONG, os.mkdir, b"n" * 256)
    fails(errno.ENAMETOOLONG, os.rename, name, b"n" * 256)
    os.rename(name, b"m" * 255)
    assert get(b"m" * 255) == b"long"


def names_that_are_not_utf8():
    names = [b"\xff\xfe", b"\xc3\x28", b"a\nb", b"tab\there", b" ", b"-rf", b"\x01\x7f", b"..."]
    names += [b"*", b'"\\', b"caf\xe9", "café".encode(), "cafe\u0301".encode(), b"A", b"a"]
    for i, name in enumerate(names):
        put(name, b"%d" % i)
    assert sorted(os.listdir(b".")) == sorted(names)
    for i, name in enumerate(names):
        assert get(name) == b"%d" % i, name
    os.symlink(b"\xff\xfe", b"link\xff")
    assert os.readlink(b"link\xff") == b"\xff\xfe"


def sparse_files():
    fd = os.open("sparse", os.O_CREAT | os.O_RDWR, 0o644)
    os.ftruncate(fd, 1 << 40)
    os.pwrite(fd, b"x" * 4096, 100 * MIB)
    os.fsync(fd)
    info = os.fstat(fd)
    assert info.st_size == 1 << 40 and info.st_blocks * 512 < MIB, info
    assert os.lseek(fd, 0, os.SEEK_DATA) == 100 * MIB
    assert os.lseek(fd, 100 * MIB, os.SEEK_HOLE) == 100 * MIB + 4096
    fails(errno.ENXIO, os.lseek, fd, 100 * MIB + 4096, os.SEEK_DATA)
    fails(errno.ENXIO, os.lseek, fd, 2 << 40, os.SEEK_HOLE)
    assert os.pread(fd, 16, 50 * MIB) == bytes(16)
    os.close(fd)


def offsets_beyond_10_gib():
    fd = os.open("far", os.O_CREAT | os.O_RDWR, 0o644)
    for at in [10 * GIB + 1, 12 * GIB + 4095, 4 * GIB - 3]:
        assert os.pwrite(fd, b"far%012d" % at, at) == 15
    for at in [10 * GIB + 1, 12 * GIB + 4095, 4 * GIB - 3]:
        assert os.pread(fd, 15, at) == b"far%012d" % at
    assert os.fstat(fd).st_size == 12 * GIB + 4095 + 15
    os.ftruncate(fd, 11 * GIB)
    assert os.pread(fd, 15, 12 * GIB + 4095) == b""
    assert os.lseek(fd, 0, os.SEEK_END) == 11 * GIB
    os.close(fd)


def fallocate():
    KEEP, PUNCH, ZERO = 1, 2, 16
    fd = os.open("room", os.O_CREAT | os.O_RDWR, 0o644)

    def call(mode, at, length):
        at, length = ctypes.c_int64(at), ctypes.c_int64(length)
        if libc.fallocate(fd, mode, at, length) != 0:
            raise OSError(ctypes.get_errno(), "fallocate")

    call(0, 0, MIB)
    assert os.fstat(fd).st_size == MIB and os.fstat(fd).st_blocks * 512 >= MIB
    if "linux" not in features:
        fails(errno.EOPNOTSUPP, call, KEEP, MIB, MIB)
        os.pwrite(fd, b"y" * 65536, 0)
        call(KEEP | PUNCH, 4096, 8192)  # zeroes may be written instead
        assert os.pread(fd, 65536, 0) == b"y" * 4096 + bytes(8192) + b"y" * 53248
        os.close(fd)
        return
    call(KEEP, MIB, MIB)
    assert os.fstat(fd).st_size == MIB
    os.pwrite(fd, b"y" * MIB, 0)
    call(KEEP | PUNCH, 64 << 10, 128 << 10)
    assert os.pread(fd, MIB, 0) == b"y" * (64 << 10) + bytes(128 << 10) + b"y" * (832 << 10)
    os.fsync(fd)
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 64 << 10
    try:
        call(ZERO, 512 << 10, 4096)
        assert os.pread(fd, 4096, 512 << 10) == bytes(4096)
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP
    fails(errno.EINVAL, call, 0, 0, 0)
    os.close(fd)


def rename_over_open_files():
    put("old", b"old content")
    put("new", b"new content!")
    fd = os.open("old", os.O_RDWR)
    os.rename("new", "old")
    assert os.pread(fd, 100, 0) == b"old content" and os.fstat(fd).st_nlink == 0
    assert get("old") == b"new content!"
    os.pwrite(fd, b"OLD", 0)
    assert os.pread(fd, 100, 0) == b"OLD content" and get("old") == b"new content!"
    os.close(fd)
    fails(errno.ENOENT, os.stat, "new")
    os.mkdir("full")
    put("full/x", b"")
    os.mkdir("dir")
    fails(errno.ENOTEMPTY, os.rename, "dir", "full")
    fails(errno.EISDIR, os.rename, "old", "dir")
    fails(errno.ENOTDIR, os.rename, "dir", "old")
    fails(errno.EINVAL, os.rename, "full", "full/below")
    os.unlink("full/x")
    os.rename("dir", "full")
    fails(errno.ENOENT, os.stat, "dir")


def rename_flags():
    NOREPLACE, EXCHANGE = 1, 2

    def rename2(source, target, flags):
        if libc.renameat2(-100, source.encode(), -100, target.encode(), flags) != 0:
            raise OSError(ctypes.get_errno(), "renameat2")

    put("a", b"A")
    put("b", b"B")
    if "linux" not in features:
        fails(errno.EINVAL, rename2, "a", "c", NOREPLACE)
        fails(errno.EINVAL, rename2, "a", "b", EXCHANGE)
        assert get("a") == b"A" and get("b") == b"B"
        return
    fails(errno.EEXIST, rename2, "a", "b", NOREPLACE)
    rename2("a", "c", NOREPLACE)
    rename2("b", "c", EXCHANGE)
    assert get("b") == b"A" and get("c") == b"B"


def unlink_of_open_files():
    fd = os.open("gone", os.O_CREAT | os.O_RDWR, 0o600)
    os.write(fd, b"still here")
    os.unlink("gone")
    fails(errno.ENOENT, os.stat, "gone")
    info = os.fstat(fd)
    assert info.st_nlink == 0 and info.st_size == 10, info
    os.pwrite(fd, b"STILL", 0)
    assert os.pread(fd, 100, 0) == b"STILL here"
    os.ftruncate(fd, 5)
    os.fchmod(fd, 0o640)
    assert os.fstat(fd).st_size == 5 and stat.S_IMODE(os.fstat(fd).st_mode) == 0o640
    put("gone", b"another")
    assert os.pread(fd, 100, 0) == b"STILL"
    os.close(fd)
    assert get("gone") == b"another"


def removal_of_the_current_folder():
    os.mkdir("here")
    fd = os.open("here", os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir("here")
    assert os.listdir(fd) == []
    os.close(fd)
    os.mkdir("full")
    put("full/x", b"")
    fails(errno.ENOTEMPTY, os.rmdir, "full")
    fails(errno.ENOTDIR, os.rmdir, "full/x")
    fails(errno.EISDIR, os.unlink, "full")


def hard_links():
    put("one", b"1")
    for i in range(20):
        os.link("one", f"link{i}")
    assert os.stat("one").st_nlink == 21
    assert len({os.stat(name).st_ino for name in os.listdir(".")}) == 1
    with open("link7", "ab") as file:
        file.write(b"2")
    assert get("one") == b"12"
    for i in range(10):
        os.unlink(f"link{i}")
    assert os.stat("link15").st_nlink == 11
    os.mkdir("dir")
    fails(errno.EPERM, os.link, "dir", "dir2")
    fails(errno.EEXIST, os.link, "one", "link15")
    os.symlink("one", "sym")
    os.link("sym", "sym2", follow_symlinks=False)
    assert os.readlink("sym2") == "one" and os.lstat("sym2").st_nlink == 2


def symbolic_links():
    put("target", b"T")
    os.symlink("target", "s")
    os.symlink("nowhere/at/all", "dangling")
    os.symlink("/etc/hostname", "absolute")
    os.symlink("loop", "loop")
    os.symlink("x" * 4000, "long")
    assert get("s") == b"T" and os.readlink("absolute") == "/etc/hostname"
    assert os.lstat("s").st_size == 6 and len(os.readlink("long")) == 4000
    fails(errno.ENOENT, os.stat, "dangling")
    fails(errno.ELOOP, os.stat, "loop")
    fails(errno.ELOOP, os.open, "s", os.O_RDONLY | os.O_NOFOLLOW)
    os.lchown("dangling", 12, 13)
    assert os.lstat("dangling").st_uid == 12
    os.utime("dangling", ns=(1_000_000_001, 2_000_000_002), follow_symlinks=False)
    assert os.lstat("dangling").st_mtime_ns == 2_000_000_002


def fifos_sockets_and_devices():
    os.mkfifo("fifo", 0o600)
    child = os.fork()
    if child == 0:
        fd = os.open("fifo", os.O_WRONLY)
        os.write(fd, b"through the pipe")
        os._exit(0)
    fd = os.open("fifo", os.O_RDONLY)
    assert os.read(fd, 100) == b"through the pipe"
    os.close(fd)
    assert os.waitpid(child, 0)[1] == 0
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")
    assert stat.S_ISSOCK(os.stat("socket").st_mode)
    os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    info = os.stat("null")
    assert stat.S_ISCHR(info.st_mode) and info.st_rdev == os.makedev(1, 3)
    put("null", b"into nothing")
    assert get("null") == b""


def flock_between_processes():
    put("lock", b"0")
    fd = os.open("lock", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    child = os.fork()
    if child == 0:
        other = os.open("lock", os.O_RDWR)
        fails(errno.EAGAIN, fcntl.flock, other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX)
        os._exit(0 if os.pread(other, 10, 0) == b"released" else 1)
    time.sleep(0.5)
    os.pwrite(fd, b"released", 0)
    fcntl.flock(fd, fcntl.LOCK_UN)
    assert os.waitpid(child, 0)[1] == 0
    fcntl.flock(fd, fcntl.LOCK_SH)
    os.close(fd)


def counting_under_a_lock():
    put("count", b"%08d" % 0)
    workers = []
    for kind in (fcntl.flock, fcntl.lockf, fcntl.flock, fcntl.lockf):
        child = os.fork()
        if child == 0:
            # Both kinds of lock are taken by everyone, so everyone excludes everyone.
            fd = os.open("count", os.O_RDWR)
            for _ in range(50):
                fcntl.flock(fd, fcntl.LOCK_EX)
                fcntl.lockf(fd, fcntl.LOCK_EX)
                os.pwrite(fd, b"%08d" % (int(os.pread(fd, 8, 0)) + 1), 0)
                fcntl.lockf(fd, fcntl.LOCK_UN)
                fcntl.flock(fd, fcntl.LOCK_UN)
            os._exit(0)
        workers.append(child)
    for child in workers:
        assert os.waitpid(child, 0)[1] == 0
    assert get("count") == b"%08d" % 200, get("count")


def posix_locks_of_ranges():
    put("ranges", b"r" * 100)
    fd = os.open("ranges", os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX, 10, 20)
    child = os.fork()
    if child == 0:
        other = os.open("ranges", os.O_RDWR)
        fails(errno.EAGAIN, fcntl.lockf, other, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 25)
        fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 30)
        query = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
        kind, _, start, length, pid = struct.unpack("hhqqi4x", fcntl.fcntl(other, 5, query))
        os._exit(0 if (kind, start, length, pid) == (fcntl.F_WRLCK, 20, 10, os.getppid()) else 1)
    assert os.waitpid(child, 0)[1] == 0
    os.close(fd)


def mmap_shared_and_private():
    put("map", b"m" * 3 * 4096)
    fd = os.open("map", os.O_RDWR)
    private = mmap.mmap(fd, 0, mmap.MAP_PRIVATE)
    private[0:7] = b"private"
    assert os.pread(fd, 7, 0) == b"m" * 7
    if "mmap" in features:
        shared = mmap.mmap(fd, 0, mmap.MAP_SHARED)
        shared[4090:4102] = b"shared-pages"
        child = os.fork()
        if child == 0:
            again = mmap.mmap(os.open("map", os.O_RDWR), 0, mmap.MAP_SHARED)
            again[8192:8197] = b"child"
            again.flush()
            os._exit(0 if again[4090:4102] == b"shared-pages" else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert shared[8192:8197] == b"child"
        shared.flush()
        assert os.pread(fd, 12, 4090) == b"shared-pages"
        os.pwrite(fd, b"by write", 100)
        assert shared[100:108] == b"by write"
        shared.close()
    else:
        fails(errno.ENODEV, mmap.mmap, fd, 0, mmap.MAP_SHARED)
    assert private[0:7] == b"private"
    os.close(fd)
    put("program", b"#!/bin/sh\nexit 7\n")
    os.chmod("program", 0o755)
    assert os.waitstatus_to_exitcode(os.system("./program")) == 7


def reads_and_writes_of_all_sizes():
    fd = os.open("sizes", os.O_CREAT | os.O_RDWR, 0o644)
    expected = bytearray()
    for i, size in enumerate([0, 1, 511, 4095, 4096, 4097, 65535, 65537, MIB, 3 * MIB + 17]):
        data = bytes([i + 1]) * size
        assert os.write(fd, data) == size
        expected += data
    assert os.pread(fd, 9 * MIB, 0) == expected
    parts = [b"a" * 10, b"", b"b" * 5000, b"c"]
    assert os.pwritev(fd, parts, 12345) == 5011
    expected[12345 : 12345 + 5011] = b"".join(parts)
    buffers = [bytearray(7), bytearray(4096), bytearray(MIB)]
    assert os.preadv(fd, buffers, 12340) == 7 + 4096 + MIB
    assert b"".join(buffers) == expected[12340 : 12340 + 7 + 4096 + MIB]
    assert os.pread(fd, 100, len(expected) + 5) == b""
    assert os.pread(fd, 100, len(expected) - 3) == b"\n" * 3
    os.close(fd)
    assert hashlib.sha256(get("sizes")).digest() == hashlib.sha256(expected).digest()


def direct_io():
    fd = os.open("direct", os.O_CREAT | os.O_RDWR | os.O_DIRECT, 0o644)
    page = mmap.mmap(-1, 65536)
    page[:] = b"D" * 65536
    assert os.pwrite(fd, page, 0) == 65536 and os.pwrite(fd, page, 131072) == 65536
    page[:] = bytes(65536)
    assert os.preadv(fd, [page], 131072) == 65536 and page[:] == b"D" * 65536
    assert os.preadv(fd, [page], 65536) == 65536 and page[:] == bytes(65536)
    os.close(fd)


def appends_of_two_processes():
    children = []
    for letter in (b"a", b"b"):
        child = os.fork()
        if child == 0:
            fd = os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
            for _ in range(200):
                os.write(fd, letter * 31 + b"\n")
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    lines = get("log").split(b"\n")
    assert len(lines) == 401 and all(line in (b"a" * 31, b"b" * 31, b"") for line in lines)


def copies_within_the_server():
    put("from", os.urandom(300_000))
    source, target = os.open("from", os.O_RDONLY), os.open("to", os.O_CREAT | os.O_RDWR, 0o644)
    left = 300_000
    while left > 0:
        moved = os.copy_file_range(source, target, left)
        assert moved > 0
        left -= moved
    assert os.copy_file_range(source, target, 10) == 0
    assert get("to") == get("from")
    os.ftruncate(target, 0)
    os.lseek(target, 0, os.SEEK_SET)
    at = 0
    while (moved := os.sendfile(target, source, at, 100_000)) > 0:
        at += moved
    assert at == 300_000 and get("to") == get("from")


def modes_and_times():
    put("file", b"x")
    os.chmod("file", 0o4751)
    assert stat.S_IMODE(os.stat("file").st_mode) == 0o4751
    times = (123_456_789_012_345_678, 987_654_321_098_765_432)
    os.utime("file", ns=times)
    info = os.stat("file")
    assert (info.st_atime_ns, info.st_mtime_ns) == times
    before = info.st_ctime_ns
    time.sleep(0.05)
    os.chmod("file", 0o600)
    assert os.stat("file").st_ctime_ns > before
    os.utime("file")
    assert abs(os.stat("file").st_mtime - time.time()) < 60
    os.umask(0o027)
    os.mkdir("dir", 0o777)
    os.close(os.open("new", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    os.umask(0o022)
    assert stat.S_IMODE(os.stat("dir").st_mode) == 0o750
    assert stat.S_IMODE(os.stat("new").st_mode) == 0o640
    fails(errno.EEXIST, os.open, "new", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.mkdir("setgid")
    os.chown("setgid", 0, 1000)
    os.chmod("setgid", 0o2775)
    put("setgid/below", b"")
    os.mkdir("setgid/dir")
    assert os.stat("setgid/below").st_gid == 1000 and os.stat("setgid/dir").st_mode & 0o2000
    whole = os.statvfs(".")
    assert whole.f_bsize >= 512 and whole.f_blocks > whole.f_bfree > 0 and whole.f_namemax >= 255


def as_user(call, *args):
    """Runs a call as user 1000 in a child; its errno, or 0."""
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(1000, 1000, 1000)
        os.setresuid(1000, 1000, 1000)
        try:
            call(*args)
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def rights_of_other_users():
    os.chmod(".", 0o777)
    put("secret", b"s")
    os.chmod("secret", 0o600)
    assert as_user(get, "secret") == errno.EACCES
    assert as_user(put, "secret", b"") == errno.EACCES
    assert as_user(os.chmod, "secret", 0o644) == errno.EPERM
    assert as_user(put, "theirs", b"mine") == 0
    info = os.stat("theirs")
    assert (info.st_uid, info.st_gid) == (1000, 1000), info
    assert as_user(os.mkdir, "dir") == 0 and as_user(put, "dir/below", b"") == 0
    assert as_user(os.symlink, "x", "link") == 0 and os.lstat("link").st_uid == 1000
    os.mkdir("closed", 0o700)
    assert as_user(put, "closed/x", b"") == errno.EACCES
    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    put("sticky/roots", b"")
    assert as_user(os.unlink, "sticky/roots") == errno.EPERM


def setuid_is_lost_on_writes_of_others():
    put("suid", b"x" * 10)
    os.chmod("suid", 0o6777)

    def write():
        fd = os.open("suid", os.O_WRONLY)
        os.write(fd, b"evil")
        os.close(fd)

    if "killpriv" in features:
        assert as_user(write) == 0
        assert os.stat("suid").st_mode & 0o6000 == 0, oct(os.stat("suid").st_mode)
    os.chmod("suid", 0o6777)
    assert as_user(os.truncate, "suid", 3) == 0
    assert os.stat("suid").st_mode & 0o6000 == 0, oct(os.stat("suid").st_mode)


def extended_attributes():
    put("file", b"x")
    if "xattr" not in features:
        fails(errno.EOPNOTSUPP, os.setxattr, "file", "user.a", b"1")
        return
    os.setxattr("file", "user.a", b"1")
    os.setxattr("file", "user.empty", b"")
    os.setxattr("file", "user.long", b"L" * 3000)
    assert sorted(os.listxattr("file")) == ["user.a", "user.empty", "user.long"]
    assert os.getxattr("file", "user.long") == b"L" * 3000
    assert os.getxattr("file", "user.empty") == b""
    fails(errno.EEXIST, os.setxattr, "file", "user.a", b"2", os.XATTR_CREATE)
    fails(errno.ENODATA, os.setxattr, "file", "user.b", b"2", os.XATTR_REPLACE)
    os.setxattr("file", "user.a", b"two", os.XATTR_REPLACE)
    os.removexattr("file", "user.empty")
    fails(errno.ENODATA, os.getxattr, "file", "user.empty")
    os.mkdir("dir")
    os.setxattr("dir", "user.d", b"\0\xff")
    assert os.getxattr("dir", "user.d") == b"\0\xff"


def temporary_files_without_names():
    try:
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP
        return
    os.write(fd, b"nameless")
    os.link(f"/proc/self/fd/{fd}", "named", follow_symlinks=True)
    os.close(fd)
    assert get("named") == b"nameless"


def running_programs_are_not_emptied():
    with open("/usr/bin/sleep", "rb") as file:
        put("program", file.read())
    os.chmod("program", 0o755)
    child = os.fork()
    if child == 0:
        os.execv("./program", ["program", "100"])
    time.sleep(0.5)
    fails(errno.ETXTBSY, os.open, "program", os.O_WRONLY)
    if "busy" in features:
        size = os.stat("program").st_size
        fails(errno.ETXTBSY, os.open, "program", os.O_RDONLY | os.O_TRUNC)
        fails(errno.ETXTBSY, os.open, "program", os.O_WRONLY | os.O_TRUNC)
        assert os.stat("program").st_size == size > 0
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    put("program", b"another")
    assert get("program") == b"another"


def deep_trees():
    depth = 24
    path = "/".join(f"level{i}" for i in range(depth))
    os.makedirs(path)
    put(f"{path}/bottom", b"deep")
    os.rename("level0/level1", "moved")
    rest = "/".join(f"level{i}" for i in range(2, depth))
    assert get(f"moved/{rest}/bottom") == b"deep"
    start = os.getcwd()
    os.chdir(f"moved/{rest}")
    assert os.getcwd() == f"{start}/moved/{rest}"
    assert os.stat("../" * (depth - 1)).st_ino == os.stat(start).st_ino
    os.chdir(start)
    fails(errno.ENAMETOOLONG, os.stat, "d/" * 2100)


def many_open_files():
    fds = [os.open(f"f{i}", os.O_CREAT | os.O_RDWR, 0o644) for i in range(300)]
    for i, fd in enumerate(fds):
        os.write(fd, b"%d" % i)
    for i in range(0, 300, 3):
        os.unlink(f"f{i}")
    for i, fd in enumerate(fds):
        assert os.pread(fd, 10, 0) == b"%d" % i
        os.close(fd)
    assert len(os.listdir(".")) == 200


def signals_interrupt_waiting_for_a_lock():
    put("held", b"")
    fd = os.open("held", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(9))
        fcntl.flock(os.open("held", os.O_RDWR), fcntl.LOCK_EX)
        os._exit(1)
    time.sleep(0.5)
    os.kill(child, signal.SIGTERM)
    deadline = time.monotonic() + 10
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.close(fd)  # lets a child go that the signal did not reach
    assert ended[0] == child, "the signal did not reach who waits for a lock"
    assert os.waitstatus_to_exitcode(ended[1]) == 9


HELPERS = {fails, put, get, as_user}
CHECKS = [each for each in globals().values() if hasattr(each, "__code__") and each not in HELPERS]

root, *features = sys.argv[1:]
failed, main = 0, os.getpid()
os.umask(0o022)
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
os.makedirs(root, exist_ok=True)
for check in CHECKS:
    name = check.__name__
    os.makedirs(f"{root}/{name}")
    os.chdir(f"{root}/{name}")
    started = time.monotonic()
    try:
        check()
        print(f"@check.{name}=ok {time.monotonic() - started:.2f} s")
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        sys.stdout.flush()
        if os.getpid() != main:
            os._exit(1)
        print(f"FAILED: {name}")
        failed += 1
    sys.stdout.flush()
sys.exit(1 if failed > 0 else 0)
