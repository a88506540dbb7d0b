"""Writes what a tree is, one line of JSON for each entry: fs-manifest.py ROOT TARGET. The host
compares it with what it sees itself. Names are hexadecimal; big holes are not read."""

import hashlib, json, os, stat, sys

root, target = sys.argv[1:]


def content(path, size):
    """The sum of a file's bytes; of a large one the pieces of data between its holes."""
    with open(path, "rb", buffering=0) as file:
        if size <= 64 << 20:
            digest = hashlib.sha256()
            while piece := file.read(1 << 20):
                digest.update(piece)
            return {"sum": digest.hexdigest()}
        pieces = []
        at = 0
        while True:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return {"pieces": pieces}
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            data = os.pread(file.fileno(), end - at, at)
            pieces.append([at, end, hashlib.sha256(data).hexdigest()])
            at = end


def walk(path):
    info = os.lstat(path)
    kind = stat.S_IFMT(info.st_mode)
    entry = {
        "path": os.path.relpath(path, os.fsencode(root)).hex(),
        "mode": info.st_mode,
        "uid": info.st_uid,
        "gid": info.st_gid,
        "mtime": str(info.st_mtime_ns),
    }
    if kind != stat.S_IFDIR:
        entry |= {"links": info.st_nlink, "size": info.st_size}
    if kind == stat.S_IFREG:
        entry |= content(path, info.st_size)
    if kind == stat.S_IFLNK:
        entry["target"] = os.readlink(path).hex()
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        entry["device"] = [os.major(info.st_rdev), os.minor(info.st_rdev)]
    yield entry
    if kind == stat.S_IFDIR:
        for name in sorted(os.listdir(path)):
            yield from walk(os.path.join(path, name))


with open(target, "w") as out:
    for entry in walk(os.fsencode(root)):
        out.write(json.dumps(entry) + "\n")
