/**
 * What a guest of another architecture does to its disks and shared folders, as pieces of shell for
 * busybox, which is all that such a guest has; and what the host expects to find afterwards.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { lstatSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { sha256 } from './blk-scripts.ts';
import { FILES_GUEST } from './foreign-programs.ts';

const KIB = 1024;
const MIB = KIB * KIB;

/** A disk: the host's bytes, a part that the guest writes, and one that it discards. */
export const DISK = {
  mib: 16,
  written: { at: 4, size: 4 },
  discarded: { at: 12, size: 2 },
} as const;
/** Names that a guest makes in one folder, and one host made before. */
export const NAME_COUNT = 1000;

/** Fails on a processor or a page size that is not the one the test is named after. */
export function checkMachine(machine: string, pageBytes: number): string {
  return `expect "the machine" "$(uname -m)" ${machine}
expect "the page" "$(awk '/KernelPageSize/ { print $2; exit }' /proc/self/smaps)" ${pageBytes / KIB}
`;
}

/** Random bytes of our device, which need not be the one that the kernel has chosen. */
export const RANDOM = `echo virtio_rng.0 >/sys/class/misc/hw_random/rng_current
expect "random bytes" "$(head -c 4096 /dev/hwrng | wc -c)" 4096
`;

/** Reads a whole disk, writes to it past the guest's cache, flushes it and discards a part. */
export function useDisk(name: string, sum: string): string {
  const disk = `/dev/${name}`;
  const { written, discarded } = DISK;
  const [at, bytes] = [discarded.at * MIB, discarded.size * MIB];
  return `expect "size of ${name}" "$(cat /sys/block/${name}/size)" $((${DISK.mib} * 2048))
expect "serial of ${name}" "$(cat /sys/block/${name}/serial)" "serial-of-${name}"
expect "content of ${name}" "$(dd if=${disk} iflag=direct bs=256k 2>/dev/null | sum)" ${sum}
yes 'written on ${name}' | dd of=${disk} iflag=fullblock oflag=direct bs=1M seek=${written.at} \\
  count=${written.size} conv=fsync 2>/dev/null || fail "cannot write to ${name}"
[ "$(awk '{ print $16 }' /sys/block/${name}/stat)" -gt 0 ] || fail "${name} was not flushed"
blkdiscard -o ${at} -l ${bytes} ${disk} || fail "blkdiscard of ${name}"
dd if=${disk} iflag=direct bs=1M skip=${discarded.at} count=${discarded.size} 2>/dev/null |
  cmp -n ${bytes} - /dev/zero || fail "discarded bytes of ${name} are not zero"
echo "@sum.${name}=$(dd if=${disk} iflag=direct bs=1M 2>/dev/null | sum)"
`;
}

/** What {@link useDisk} leaves on a disk that held `before`. */
export function diskAfter(name: string, before: Buffer): Buffer {
  const after = Buffer.from(before);
  const { written, discarded } = DISK;
  const start = written.at * MIB;
  after.fill(`written on ${name}\n`, start, start + written.size * MIB);
  after.fill(0, discarded.at * MIB, (discarded.at + discarded.size) * MIB);
  return after;
}

/**
 * Compares what the host put into the folder, unpacks its archive there, and does once what a shell
 * can do; then it says what the tree is, by `stat` and by sums, for {@link verifyTree}.
 */
export function useFolder(tag: string, linux: boolean): string {
  const program = `${FILES_GUEST} . ${linux ? 'linux' : 'posix'} || fail "files-guest"`;
  return `mkdir -p /mnt/${tag}
mount -t virtiofs ${tag} /mnt/${tag} || fail "mount ${tag}"
cd /mnt/${tag}
sha256sum -c host/sums >/tmp/sums.log || { cat /tmp/sums.log; fail "the host's files"; }
expect "names of the host" "$(ls many-host | wc -l)" ${NAME_COUNT}
expect "the host's link" "$(readlink host/link)" 'a target'
expect "the owner" "$(stat -c '%u:%g %a %h %s %Y' host/odd)" "12:34 640 2 5 915148799"
set -- $(stat -f -c '%S %b %a' .)
[ "$1" -gt 511 ] && [ "$1" -le 1048576 ] && [ "$2" -ge "$3" ] || fail "statfs says $*"
mkdir guest && cd guest
tar -x -f ../host/archive.tar || fail "tar x"
(cd tree && sha256sum -c ../../host/archive-sums >/tmp/sums.log) || fail "what tar unpacked"
${callByCall(linux)}${program}
mkdir many && cd many
i=0; while [ $i -lt ${NAME_COUNT} ]; do : >"name-$i"; i=$((i + 1)); done
expect "names" "$(ls | wc -l)" ${NAME_COUNT}
rm name-*5
expect "names that are left" "$(ls -l | grep -c name-)" $((${NAME_COUNT} * 9 / 10))
cd ../..
umount /mnt/${tag} 2>/dev/null || { cd /; umount /mnt/${tag}; } || fail "umount"
mount -t virtiofs ${tag} /mnt/${tag} || fail "mount again"
cd /mnt/${tag}
find guest | while read -r path; do stat -c '%f %h %u %g %s %t:%T %Y %n' "$path"; done >tree.txt
find guest -type f -size +0 | while read -r path; do sha256sum "$path"; done >tree.sums
cd /
umount /mnt/${tag} || fail "the last umount"
echo "@share.${tag}=done"
`;
}

function callByCall(linux: boolean): string {
  const room = 'fallocate -l 70000 room && expect "room" "$(stat -c %s room)" 70000';
  return `echo one >one && ln one two && ln -s one three && mkfifo five
mknod six c 259 300 || fail "mknod"
chown 12:34 one && chmod 4751 one && touch -h -d '1999-12-31 23:59:59' three one
[ two -ef one ] || fail "a hard link is another file"
expect "a device" "$(stat -c '%t:%T' six)" 103:12c
dd if=/dev/urandom of=direct bs=64k count=16 oflag=direct 2>/dev/null || fail "direct writes"
dd if=direct of=copy bs=64k iflag=direct 2>/dev/null || fail "direct reads"
cmp direct copy || fail "what was written directly"
dd if=direct bs=4096 skip=17 count=1 iflag=direct 2>/dev/null >/tmp/piece
dd if=copy bs=4096 skip=17 count=1 2>/dev/null | cmp - /tmp/piece || fail "a direct read amid it"
truncate -s 3000000 sparse && printf x | dd of=sparse bs=1 seek=2000000 conv=notrunc 2>/dev/null
expect "the hole's sum" "$(head -c 2000000 sparse | sum)" "$(head -c 2000000 /dev/zero | sum)"
${linux ? room : ':'}
echo again >>one
printf 'ü 😀 %s' "$(yes n | head -n 120 | tr -d '\\n')" >name.txt
touch "$(cat name.txt)" && mkdir -p a/b/c && mv a/b moved && mv one moved/c/one && rmdir a
mv -f copy "$(cat name.txt)" || fail "a rename over a file"
cp /bin/busybox . && ./busybox true || fail "a program in the folder"
ls nowhere 2>/tmp/said && fail "a file that is not there"
grep -q 'No such file or directory' /tmp/said || fail "an error is another one: $(cat /tmp/said)"
mkdir two 2>/tmp/said && fail "a folder over a file"
grep -q 'File exists' /tmp/said || fail "an error is another one: $(cat /tmp/said)"
echo x >gone && exec 3<gone && rm gone || fail "rm of a file that is open"
expect "a file without a name" "$(cat <&3)" x
exec 3<&-
`;
}

/** Compares what the guest said of the tree with the tree; returns how many entries it has. */
export function verifyTree(share: string): number {
  const lines = readFileSync(join(share, 'tree.txt'), 'utf8').trim().split('\n');
  const said = new Map(lines.map((line) => [line.replace(/^(\S+ ){7}/, ''), line]));
  const found = pathsBelow(share, 'guest');
  assert.deepEqual([...said.keys()].sort(), found.sort(), 'the names on both sides');
  for (const path of found) {
    const info = lstatSync(join(share, path));
    const special = info.isCharacterDevice();
    const [major, minor] = special ? [info.rdev >> 8, info.rdev & 0xff] : [0, 0];
    const numbers = [info.nlink, info.uid, info.gid, info.size].join(' ');
    const device = special ? '103:12c' : `${major}:${minor}`;
    const seconds = Math.floor(info.mtimeMs / 1000);
    const line = `${info.mode.toString(16)} ${numbers} ${device} ${seconds} ${path}`;
    assert.equal(said.get(path), line);
  }
  const sums = readFileSync(join(share, 'tree.sums'), 'utf8').trim().split('\n');
  const ofFiles = found.filter((path) => lstatSync(join(share, path)).isFile());
  const filled = ofFiles.filter((path) => lstatSync(join(share, path)).size > 0);
  const expected = filled.map((path) => `${sha256(readFileSync(join(share, path)))}  ${path}`);
  assert.deepEqual(sums.sort(), expected.sort());
  assert.equal(readdirSync(join(share, 'guest/many')).length, (NAME_COUNT * 9) / 10);
  assert.equal(readlinkSync(join(share, 'guest/three')), 'one');
  return found.length;
}

function pathsBelow(share: string, path: string): string[] {
  const entries = readdirSync(join(share, path), { withFileTypes: true });
  const below = entries.flatMap((entry) => {
    const each = `${path}/${entry.name}`;
    return entry.isDirectory() ? pathsBelow(share, each) : [each];
  });
  return [path, ...below];
}
