/**
 * What a guest does to a shared folder, as pieces of shell for a guest with tools. What is to be
 * compared afterwards lies in the share's folder `test`; see fs-host.ts for the host's side.
 *
 * @module
 */
import { readText } from '../support/repository.ts';
import { PRELUDE } from './blk-scripts.ts';

/** The tag of the share, and where the guest mounts it. */
export const TAG = 'share';

/** Files of the C project, the main one not counted. */
export const MODULE_COUNT = 120;

/** What a server is able to do on its host; a check that needs more asks for the error instead. */
export interface Abilities {
  /** Shared mappings: what the cache modes `auto` and `always` give. */
  readonly mmap: boolean;
  readonly xattr: boolean;
  /** Writes of others take the set-user-ID bit away. */
  readonly killpriv: boolean;
  /** A program that runs is not emptied by an open that fails. */
  readonly busy: boolean;
  /** Room beyond the end of a file, and names that are exchanged: Linux has them, POSIX not. */
  readonly linux: boolean;
}

/** The start of every script: the share is mounted, and each piece says how long it took. */
export function start(options = ''): string {
  return `${PRELUDE}
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@d
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
mount -t virtiofs ${options} ${TAG} /mnt || fail "mount"
mkdir -p /mnt/test
echo "@mounted=yes"
seconds() { cut -d' ' -f1 /proc/uptime; }
took() { echo "@took.$1=$(awk "BEGIN { print $(seconds) - $since }")"; since=$(seconds); }
since=$(seconds)
`;
}

/** The checks of fs-posix.py, call by call. */
export function posix(able: Abilities): string {
  const features = Object.entries(able).flatMap(([name, has]) => (has === true ? [name] : []));
  return `cat >/tmp/posix.py <<'PYTHON'
${readText('test/guest/fs-posix.py')}PYTHON
python3 /tmp/posix.py /mnt/test/posix ${features.join(' ')} || fail "fs-posix.py"
took posix
`;
}

/** Builds the C project that the host wrote, changes one file of it and builds that again. */
export function buildProject(sum: number): string {
  return `cd /mnt/test/project
make -s -j2 >/tmp/make.log 2>&1 || { cat /tmp/make.log; fail "make"; }
expect "the count of objects" "$(ls *.o | wc -l)" ${MODULE_COUNT + 1}
expect "what the program says" "$(./program)" ${sum}
make -q 2>/dev/null || fail "a second make has something to do"
sed -i 's/return 7;/return 1007;/' m007.c
make -s -j2 >/tmp/make.log 2>&1 || { cat /tmp/make.log; fail "make again"; }
expect "the count of new objects" "$(find . -name '*.o' -newer m007.c | wc -l)" 1
expect "what the new program says" "$(./program)" ${sum + 1000}
took make
`;
}

/** Clones a repository, over git's protocol and by hard links, and works in the clone. */
export function git(): string {
  return `mkdir /tmp/repository
cp /mnt/test/project/*.c /mnt/test/project/*.h /mnt/test/project/Makefile /tmp/repository
cd /tmp/repository
git init -q -b main
for i in 1 2 3; do
  echo "/* $i */" >>m00$i.c
  git add . && git commit -q -m "commit $i"
done
git clone -q --no-local /tmp/repository /mnt/test/clone 2>&1 || fail "git clone"
cd /mnt/test/clone
git fsck --full --strict >/tmp/fsck.log 2>&1 || { cat /tmp/fsck.log; fail "git fsck"; }
expect "the status of the clone" "$(git status --porcelain)" ""
git checkout -q -b side HEAD~1
git mv m010.c moved.c && git commit -q -m side
git checkout -q main
git merge -q -m merge side >/tmp/merge.log || { cat /tmp/merge.log; fail "git merge"; }
git repack -a -d -q || fail "git repack"
git fsck --full --strict >/tmp/fsck.log 2>&1 || { cat /tmp/fsck.log; fail "git fsck again"; }
git clone -q /mnt/test/clone /mnt/test/clone2 || fail "git clone by hard links"
cd /mnt/test/clone2
git fsck --full --strict >/tmp/fsck.log 2>&1 || { cat /tmp/fsck.log; fail "git fsck of a clone"; }
expect "the head" "$(git rev-parse HEAD)" "$(git -C /mnt/test/clone rev-parse HEAD)"
expect "the status of the second clone" "$(git status --porcelain)" ""
took git
`;
}

/** Unpacks an archive of headers and of every kind of entry, and compares all that tar knows. */
export function tar(headers: string): string {
  return `mkdir /tmp/odd && cd /tmp/odd
echo one >one && ln one two && ln -s one three && ln -s nowhere four && mkfifo five
mknod six c 1 3 && truncate -s 5M seven && printf x | dd of=seven bs=1 seek=3000000 conv=notrunc \\
  2>/dev/null
mkdir -m 1777 eight && echo x >eight/x && chmod 6711 eight/x && chown 12:34 one eight
touch -d '1999-12-31 23:59:59.123456789' one eight/x eight
cd /tmp
tar -c -S --format=posix -f odd.tar odd
tar -c -f headers.tar -C /usr/include ${headers}
mkdir /mnt/test/tar && cd /mnt/test/tar
tar -x -p -f /tmp/odd.tar && tar -x -f /tmp/headers.tar || fail "tar x"
tar -d -f /tmp/odd.tar || fail "tar d of odd entries"
tar -d -f /tmp/headers.tar || fail "tar d of headers"
diff -r /usr/include/${headers} ${headers} || fail "diff of headers"
expect "the count of files" "$(find . | wc -l)" \\
  "$( (tar -tf /tmp/odd.tar; tar -tf /tmp/headers.tar; echo .) | wc -l)"
took tar
`;
}

/** Random calls on one file, each checked against a model, with a fixed seed. */
export function fsx(operations: number, able: Abilities): string {
  const mapped = able.mmap ? 10 : 0;
  return `cat >/tmp/fsx.toml <<'TOML'
flen = 262144
[opsize]
max = 16384
[weights]
close_open = 1
read = 10
write = 10
mapread = ${mapped}
mapwrite = ${mapped}
invalidate = ${able.mmap ? 1 : 0}
truncate = 5
fsync = 1
fdatasync = 1
posix_fallocate = 2
punch_hole = 3
sendfile = 3
posix_fadvise = 2
copy_file_range = 3
TOML
cd /tmp
fsx -N ${operations} -S 20261124 -f /tmp/fsx.toml -P /tmp /mnt/test/fsx.bin >/tmp/fsx.log 2>&1 ||
  { tail -n 60 /tmp/fsx.log; fail "fsx"; }
took fsx
`;
}

/** Three writers and a reader on one data base, in a journal mode of SQLite. */
function database(mode: 'delete' | 'wal', rows: number): string {
  return `cd /mnt/test/sqlite
sqlite3 ${mode}.db 'PRAGMA journal_mode=${mode}; CREATE TABLE t (who INT, n INT, text TEXT);
CREATE INDEX i ON t (text);' >/tmp/mode.log || fail "sqlite3 ${mode}"
expect "the journal mode" "$(cat /tmp/mode.log)" ${mode}
writers=
for who in 1 2 3; do
  { echo '.timeout 60000'
    for n in $(seq 1 ${rows}); do
      echo "INSERT INTO t VALUES ($who, $n, hex(randomblob(200)));"
    done
  } >/tmp/writer.$who
  sqlite3 -bail ${mode}.db </tmp/writer.$who & writers="$writers $!"
done
for i in 1 2 3; do
  expect "the check amid writing" \\
    "$(sqlite3 -cmd '.timeout 60000' ${mode}.db 'PRAGMA integrity_check')" ok
done
for writer in $writers; do wait $writer || fail "a writer of sqlite3 ${mode}"; done
expect "the rows" "$(sqlite3 ${mode}.db 'SELECT count(*), sum(n), count(distinct text) FROM t')" \\
  "$((3 * ${rows}))|$((3 * ${rows} * (${rows} + 1) / 2))|$((3 * ${rows}))"
sqlite3 ${mode}.db "BEGIN; DELETE FROM t; ROLLBACK; DELETE FROM t WHERE n % 2 = 0; VACUUM;"
expect "the check at the end" "$(sqlite3 ${mode}.db 'PRAGMA integrity_check')" ok
`;
}

/** Data bases with a rollback journal and with a write-ahead log, which wants shared mappings. */
export function sqlite(rows: number, able: Abilities): string {
  const kinds = able.mmap ? database('delete', rows) + database('wal', rows) : '';
  return `mkdir /mnt/test/sqlite
${able.mmap ? kinds : database('delete', rows)}took sqlite
`;
}

/** Lists the folder that the host filled, to the last name, and takes some names away. */
export function listMany(count: number): string {
  return `cd /mnt/many-host
expect "the count of names" "$(ls -f | wc -l)" $((${count} + 2))
python3 - <<'PYTHON' || fail "the names"
import os
names = os.listdir(".")
assert sorted(names) == sorted(f"file-{i:06}" for i in range(${count})), len(names)
assert sum(entry.is_file() for entry in os.scandir(".")) == ${count}
for i in range(0, ${count}, 50):
    os.unlink(f"file-{i:06}")
PYTHON
expect "the count of the rest" "$(ls -f | wc -l)" $((${count} - (${count} + 49) / 50 + 2))
took list
`;
}

/** Makes that many files in one folder, and removes every second while it is being listed. */
export function makeMany(count: number): string {
  return `mkdir /mnt/many-guest && cd /mnt/many-guest
python3 - <<'PYTHON' || fail "making many files"
import os
for i in range(${count}):
    os.close(os.open(f"guest-{i:06}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
assert len(os.listdir(".")) == ${count}
seen = set()
for entry in os.scandir("."):
    assert entry.name not in seen, entry.name
    seen.add(entry.name)
    if int(entry.name[6:]) % 2 == 0:
        os.unlink(entry.name)
assert len(seen) == ${count}, len(seen)
PYTHON
expect "the rest" "$(ls -f | wc -l)" $((${count} / 2 + 2))
took many
`;
}

/**
 * Says what the tree is, as it is cached and as it is after the share was mounted anew. With
 * writeback the guest's kernel keeps the times of data itself, and hands on a later one.
 */
export function manifest(writeback = false): string {
  const shown = writeback ? `sed -i 's/"mtime": "[0-9]*", //'` : ':';
  return `cat >/tmp/manifest.py <<'PYTHON'
${readText('test/guest/fs-manifest.py')}PYTHON
cd /tmp
python3 /tmp/manifest.py /mnt/test /tmp/cached.json || fail "the list of the cached tree"
umount /mnt
mount -t virtiofs ${TAG} /mnt
python3 /tmp/manifest.py /mnt/test /mnt/manifest.json || fail "the list of the tree"
cp /mnt/manifest.json /tmp/new.json
${shown} /tmp/cached.json /tmp/new.json
diff /tmp/cached.json /tmp/new.json || fail "what is cached differs from what the server has"
umount /mnt
took manifest
`;
}
