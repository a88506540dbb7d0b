/**
 * What a guest does to a block device, as pieces of shell, and beside each piece what the host
 * checks in the image afterwards. The pieces use separate parts of a 96 MiB image ({@link AREA}).
 *
 * @module
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runProgram } from '../peers/process.ts';
import type { Peers } from '../peers/setup.ts';
import type { GuestResult } from './qemu.ts';

const MIB = 1 << 20;
const SECTOR_BYTES = 512;
const STAT_BLOCK_BYTES = 512; // the unit of a file's `blocks`, on every host
const FILE_COUNT = 24;

/** Which piece of the image belongs to whom, in MiB. */
export const AREA = {
  fileSystem: { at: 0, size: 40 },
  fio: { at: 40, size: 40 },
  discard: { at: 80, size: 16 },
  total: 96,
} as const;

/** The start of every script: any failure ends the script, and says where. */
export const PRELUDE = `set -eu
fail() { echo "FAILED: $*"; exit 1; }
`;

/** What the guest's kernel is to see of a disk. */
export interface DiskFacts {
  readonly name: string;
  readonly bytes: number;
  readonly serial: string;
  readonly readOnly: boolean;
  readonly queues: number;
}

/** Checks what the driver made of the configuration space and of the device's identity. */
export function checkDisk(facts: DiskFacts): string {
  const expected: readonly (readonly [string, string | number])[] = [
    ['size', facts.bytes / SECTOR_BYTES],
    ['serial', facts.serial],
    ['ro', facts.readOnly ? 1 : 0],
    ['queue/logical_block_size', SECTOR_BYTES],
  ];
  const lines = expected.map(
    ([file, value]) =>
      `[ "$(cat /sys/block/${facts.name}/${file})" = "${value}" ] || ` +
      `fail "${facts.name} ${file}: $(cat /sys/block/${facts.name}/${file}), not ${value}"`,
  );
  const queues = `$(ls /sys/block/${facts.name}/mq | wc -l)`;
  lines.push(`[ ${queues} = ${facts.queues} ] || fail "${facts.name} has ${queues} queues"`);
  return `${lines.join('\n')}\n`;
}

/** A write to a read-only disk fails in the guest, and a read of it gives the host's bytes. */
export function checkReadOnly(name: string, mib: number, sha256: string): string {
  return `if dd if=/dev/zero of=/dev/${name} bs=4k count=1 2>/dev/null; then fail "${name} took a write"; fi
[ "$(dd if=/dev/${name} bs=1M count=${mib} 2>/dev/null | sha256sum | cut -d' ' -f1)" = ${sha256} ] ||
  fail "${name} has other bytes than the host's file"
`;
}

/**
 * Two jobs at once, one a processor and so one a queue: small unaligned-to-the-page requests at
 * depth 64 and large ones at depth 16; each block is written once at random and then read back.
 */
function fioJobs(filename: string, extra: readonly string[]): string {
  const { at, size } = AREA.fio;
  const small = 8;
  return [
    ...['[global]', `filename=${filename}`, 'rw=randwrite', 'randseed=20261123'],
    ...['verify=crc32c', 'verify_fatal=1', 'group_reporting=1', ...extra],
    ...['[small]', 'bsrange=512-16k', 'bs_unaligned=0', 'iodepth=64', 'cpus_allowed=0'],
    ...[`offset=${at}M`, `size=${small}M`],
    ...['[large]', 'bsrange=64k-1M', 'blockalign=64k', 'iodepth=16', 'cpus_allowed=1'],
    ...[`offset=${at + small}M`, `size=${size - small}M`],
    '',
  ].join('\n');
}

/** Writes and verifies by fio in the guest. */
export function fioVerify(name: string): string {
  const jobs = fioJobs(`/dev/${name}`, ['ioengine=libaio', 'direct=1', 'do_verify=1']);
  return `cat >fio.job <<'JOB'
${jobs}JOB
fio fio.job >fio.log 2>&1 || { cat fio.log; fail "fio on ${name}"; }
echo "@fio.requests=$(awk '{ print $1 + $5 }' /sys/block/${name}/stat)"
`;
}

/** Finds in the image what fio wrote in the guest, by fio's own check sums. */
export async function verifyFio(peers: Peers, image: string, folder: string): Promise<void> {
  const file = join(folder, 'host-fio.job');
  writeFileSync(file, fioJobs(image, ['ioengine=psync', 'verify_only=1']));
  await runProgram([peers.fio, file]);
}

/** Makes an ext4 in the disk's first part, fills it with files, checks it and reads all back. */
export function fileSystem(name: string): string {
  const device = `/dev/${name}`;
  return `mkfs.ext4 -q -F -b 4096 -E lazy_itable_init=0,lazy_journal_init=0 ${device} ${AREA.fileSystem.size}M
mount -t ext4 ${device} /mnt
mkdir /mnt/files
for i in $(seq 1 ${FILE_COUNT}); do
  dd if=/dev/urandom of=/mnt/files/$i bs=$((i * 777)) count=$((i * 2)) 2>/dev/null
done
dd if=/dev/urandom of=/mnt/big bs=1M count=12 conv=fsync 2>/dev/null
ln /mnt/files/7 /mnt/seven
rm /mnt/files/3
(cd /mnt && find files big -type f | sort | xargs sha256sum) >sums
umount /mnt
echo 3 >/proc/sys/vm/drop_caches
e2fsck -f -n ${device} >fsck.log 2>&1 || { cat fsck.log; fail "e2fsck on ${name}"; }
mount -t ext4 -o ro ${device} /mnt
(cd /mnt && sha256sum -c -s /tmp/sums) || fail "files changed on ${name}"
umount /mnt
echo "@files.count=$(wc -l <sums)"
while read sum path; do echo "@file.$(basename $path)=$sum"; done <sums
`;
}

/** Checks the guest's ext4 in the image, and its files' bytes by the guest's own sums. */
export async function verifyFileSystem(
  peers: Peers,
  image: string,
  folder: string,
  guest: GuestResult,
): Promise<void> {
  await runProgram([peers.fsck, '-f', '-n', image]);
  assert.equal(guest.values.get('files.count'), String(FILE_COUNT), 'one removed, one big');
  for (const [name, path] of [
    ['big', '/big'],
    ['24', '/files/24'],
    ['7', '/seven'],
  ] as const) {
    const copy = join(folder, 'file-from-image');
    await runProgram([peers.debugfs, '-R', `dump ${path} ${copy}`, image]);
    assert.equal(sha256(readFileSync(copy)), guest.values.get(`file.${name}`), path);
  }
}

/** Fills the disk's last part, then discards most of it: it reads as zeros, and the rest stays. */
export function discard(name: string): string {
  const { at, size } = AREA.discard;
  const kept = 2; // MiB at the start
  const read = (skip: number, count: number): string =>
    `dd if=/dev/${name} iflag=direct bs=1M skip=${at + skip} count=${count} 2>/dev/null`;
  return `[ $(cat /sys/block/${name}/queue/discard_max_bytes) -gt 0 ] || fail "${name} does not discard"
yes 'a line that is not zero' | dd of=/dev/${name} iflag=fullblock oflag=direct bs=1M seek=${at} count=${size} 2>/dev/null
before=$(${read(0, kept)} | md5sum)
blkdiscard -o $((${at + kept} << 20)) -l $((${size - kept} << 20)) /dev/${name} || fail "blkdiscard"
${read(kept, size - kept)} | cmp -n $((${size - kept} << 20)) - /dev/zero || fail "discarded bytes are not zero"
[ "$before" = "$(${read(0, kept)} | md5sum)" ] || fail "discard took too much of ${name}"
`;
}

/** The discarded part of the image takes no room any more. */
export function verifyDiscard(image: string): void {
  const { blocks } = statSync(image);
  const most = (AREA.fileSystem.size + AREA.fio.size + 4) * MIB;
  const used = blocks * STAT_BLOCK_BYTES;
  assert.ok(used <= most, `${used} bytes are allocated, ${most} at most after the discard`);
}

/** Asks the host by `@resize=ready` to grow the image, and waits until the kernel has seen it. */
export function resize(name: string, bytes: number): string {
  const sectors = bytes / SECTOR_BYTES;
  const at = bytes / MIB - 1;
  return `echo "@resize=ready"
for i in $(seq 1 100); do
  [ "$(cat /sys/block/${name}/size)" = ${sectors} ] && break
  usleep 100000
done
[ "$(cat /sys/block/${name}/size)" = ${sectors} ] || fail "${name} did not grow: $(cat /sys/block/${name}/size)"
yes 'in the new part' | dd of=/dev/${name} iflag=fullblock oflag=direct bs=1M seek=${at} count=1 2>/dev/null ||
  fail "cannot write to the new part of ${name}"
`;
}

/** The last MiB of the grown image has what the guest wrote there. */
export function verifyResize(image: string, bytes: number): void {
  assert.equal(statSync(image).size, bytes);
  const tail = readFileSync(image).subarray(bytes - MIB);
  assert.equal(tail.subarray(0, 32).toString(), 'in the new part\nin the new part\n');
}

/** In hexadecimal digits, as sha256sum prints it. */
export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
