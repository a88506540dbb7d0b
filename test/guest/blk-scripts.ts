/**
 * What a guest does to a block device, as pieces of shell, and beside each piece what the host
 * checks in the image afterwards. The pieces use separate parts of a 96 MiB image ({@link AREA}).
 *
 * @module
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
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
expect() { [ "$2" = "$3" ] || fail "$1 is '$2', not '$3'"; }
sum() { sha256sum | cut -d' ' -f1; }
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
  const { name } = facts;
  const expect = (file: string, value: string | number): string =>
    `expect "${name} ${file}" "$(cat /sys/block/${name}/${file})" "${value}"\n`;
  return [
    expect('size', facts.bytes / SECTOR_BYTES),
    expect('serial', facts.serial),
    expect('ro', facts.readOnly ? 1 : 0),
    expect('queue/logical_block_size', SECTOR_BYTES),
    `expect "queues of ${name}" "$(ls /sys/block/${name}/mq | wc -l)" ${facts.queues}\n`,
  ].join('');
}

/** A write to a read-only disk fails in the guest, and a read of it gives the host's bytes. */
export function checkReadOnly(name: string, mib: number, sha256: string): string {
  const disk = `/dev/${name}`;
  return `dd if=/dev/zero of=${disk} bs=4k count=1 2>/dev/null && fail "${name} took a write"
expect "content of ${name}" "$(dd if=${disk} bs=1M count=${mib} 2>/dev/null | sum)" ${sha256}
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
    ...['verify=crc32c', 'verify_fatal=1', 'verify_state_save=0', ...extra],
    ...['[small]', 'bsrange=512-8k', 'bs_unaligned=0', 'iodepth=64', 'cpus_allowed=0'],
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

/** Takes the disk from its driver and gives it back: the device's queues stop and start anew. */
export function rebind(name: string): string {
  const driver = '/sys/bus/virtio/drivers/virtio_blk';
  return `device=$(basename $(readlink -f /sys/block/${name}/device))
echo $device >${driver}/unbind
[ ! -e /sys/block/${name} ] || fail "${name} is still there"
echo $device >${driver}/bind
[ -e /sys/block/${name}/size ] || fail "${name} did not come back"
`;
}

/** What {@link longLoad} asks of the disk until its job is done, in requests. */
export const LONG_LOAD_REQUESTS = 24_576;

/**
 * Writes at depth 32 on two processors and reads all of it back, then does so for ever. Says
 * `@requests=N` now and then: how many are completed.
 */
export function longLoad(name: string): string {
  const job = [
    ...['[global]', `filename=/dev/${name}`, 'rw=randwrite', 'bs=4k', 'iodepth=32', 'direct=1'],
    ...['ioengine=libaio', 'verify=crc32c', 'verify_fatal=1', 'verify_state_save=0'],
    ...['size=24M', '[one]', 'cpus_allowed=0', '[two]', 'cpus_allowed=1', 'offset=24M', ''],
  ].join('\n');
  return `cat >load.job <<'JOB'
${job}JOB
while true; do awk '{ print "@requests=" $1 + $5 }' /sys/block/${name}/stat; usleep 100000; done &
fio load.job >load.log 2>&1 || { cat load.log; fail "fio on ${name}"; }
echo "@load=done"
while true; do fio load.job >load.log 2>&1 || { cat load.log; fail "fio on ${name}"; }; done
`;
}

/** Makes an ext4 in the disk's first part, fills it with files, checks it and reads all back. */
export function fileSystem(name: string): string {
  const device = `/dev/${name}`;
  const lazy = 'lazy_itable_init=0,lazy_journal_init=0'; // nothing is left for later
  return `mkfs.ext4 -q -F -b 4096 -E ${lazy} ${device} ${AREA.fileSystem.size}M
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
while read sum path; do echo "@file.$path=$sum"; done <sums
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
  const copy = join(folder, 'files-from-image');
  mkdirSync(copy);
  await runProgram([peers.debugfs, '-R', `rdump / ${copy}`, image]);
  for (const [key, sum] of guest.values) {
    const path = /^file\.(.+)$/.exec(key)?.[1];
    if (path !== undefined) assert.equal(sha256(readFileSync(join(copy, path))), sum, path);
  }
  const other = sha256(readFileSync(join(copy, 'seven')));
  assert.equal(other, guest.values.get('file.files/7'), 'a second link to a file');
}

/** Fills the disk's last part, then discards most of it: it reads as zeros, and the rest stays. */
export function discard(name: string): string {
  const { at, size } = AREA.discard;
  const kept = 2; // MiB at the start
  const disk = `/dev/${name}`;
  const bytes = (size - kept) * MIB;
  const read = (skip: number, count: number): string =>
    `dd if=${disk} iflag=direct bs=1M skip=${at + skip} count=${count} 2>/dev/null`;
  return `[ $(cat /sys/block/${name}/queue/discard_max_bytes) -gt 0 ] || fail "no discard"
${fill('a line that is not zero', disk, at, size)}
before=$(${read(0, kept)} | sum)
blkdiscard -o ${(at + kept) * MIB} -l ${bytes} ${disk} || fail "blkdiscard"
${read(kept, size - kept)} | cmp -n ${bytes} - /dev/zero || fail "discarded bytes are not zero"
expect "what was not discarded" "$(${read(0, kept)} | sum)" "$before"
`;
}

/** Writes a line again and again. */
function fill(text: string, disk: string, atMib: number, mib: number): string {
  const to = `of=${disk} iflag=fullblock oflag=direct bs=1M seek=${atMib} count=${mib}`;
  return `yes '${text}' | dd ${to} 2>/dev/null || fail "cannot write to ${disk}"`;
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
  const size = `/sys/block/${name}/size`;
  const sectors = bytes / SECTOR_BYTES;
  return `echo "@resize=ready"
for i in $(seq 1 100); do
  [ "$(cat ${size})" = ${sectors} ] && break
  usleep 100000
done
expect "the grown size of ${name}" "$(cat ${size})" ${sectors}
${fill('in the new part', `/dev/${name}`, bytes / MIB - 1, 1)}
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
