/**
 * What a Linux guest does for the benchmark, as a shell script, and what its lines on the console
 * mean. The guest has both servers' folders mounted, and goes from one to the other for each line.
 * Pure.
 *
 * @module
 */
import { processError } from '../process.ts';
import { SHARED, TREE, treeFolder } from './files.ts';
import { DATA_BYTES, FILE_COUNT } from './plan.ts';
import type { CacheMode, FsRow } from './plan.ts';
import { SIDES } from './result.ts';
import type { Side } from './result.ts';

const MIB = 2 ** 20;
const KIB = 1024;
const TREE_FILES = TREE.folders * TREE.filesEach;
/** Lines that are short, and differ by a tenth from turn to turn, get more of them. */
const TURNS_EACH: Readonly<Record<string, number>> = { walk: 4, stat: 2 };
const FIO_TURNS = 4;
const FIO_TURNS_LARGE = 8; // nearly all of them is the kernel's copying: the sides differ little
const WALKS = 2; // one alone is too short for a clock of 10 ms
const WARM_UP_FILES = 1000;
const WARM_UP_MS = 300; // of each line of fio
const SETTLE_SECONDS = 0.3; // the server forgets what the kernel has dropped

/** A line of the table that the guest measures. */
export interface GuestLine {
  /** Of one word, for the script. */
  readonly id: string;
  readonly name: string;
  readonly blockBytes: number;
  readonly depth: number;
  /** How often each side is measured: a power of two; once what changes the folder. */
  readonly turnsEach: number;
  /** Shell: does it in the folder `$m`, new files in `$fresh`; sets `$count` and `$ms`. */
  readonly shell: string;
}

/** Lines that stand together: the later ones use what the first one made. */
const TOGETHER: readonly (readonly string[])[] = [
  ['create', 'stat', 'unlink'],
  ['tar', 'rm'],
];

/** The lines that are wanted, and those without which they cannot be. */
export function chosenLines(
  lines: readonly GuestLine[],
  wanted: (line: GuestLine) => boolean,
): GuestLine[] {
  const ids = new Set(lines.filter(wanted).map(({ id }) => id));
  for (const group of TOGETHER) {
    if (group.some((id) => ids.has(id))) for (const id of group) ids.add(id);
  }
  return lines.filter(({ id }) => ids.has(id));
}

/** How much a guest does. */
export interface GuestEffort {
  /** Length of a run of fio. */
  readonly seconds: number;
}

/** All lines, in the order in which they are measured. */
export function guestLines(): GuestLine[] {
  return [...fioLines(), ...fileLines()];
}

function fioLines(): GuestLine[] {
  const lines: GuestLine[] = [];
  const timed = ['--direct=1', '--time_based', '--runtime=$time'];
  for (const op of ['read', 'write'] as const) {
    for (const order of ['sequential', 'random'] as const) {
      for (const depth of [1, 16]) {
        const blockBytes = order === 'random' ? 4 * KIB : MIB;
        const turnsEach = order === 'random' ? FIO_TURNS : FIO_TURNS_LARGE;
        const engine = depth === 1 ? ['--ioengine=psync'] : ['--ioengine=libaio'];
        const args = [...engine, `--iodepth=${depth}`, `--bs=${blockBytes}`, ...timed];
        const rw = order === 'random' ? `rand${op}` : op;
        const id = `${rw}-${depth}`;
        const name = `fio ${op} ${order}, direct`;
        const shell = fioShell(op, rw, blockBytes, args);
        lines.push({ id, name, blockBytes, depth, turnsEach, shell });
      }
    }
    // Through the page cache of the guest: all of the file once.
    const args = ['--ioengine=psync', `--bs=${MIB}`, ...(op === 'write' ? ['--end_fsync=1'] : [])];
    lines.push({
      id: `cached-${op}`,
      name: `fio ${op} sequential, cached`,
      blockBytes: MIB,
      depth: 1,
      turnsEach: FIO_TURNS_LARGE,
      shell: fioShell(op, op, MIB, args),
    });
  }
  return lines;
}

/**
 * Lets a server that has just been started compile what it runs often, and the emulator translate
 * the guest's programs, which else who is measured first would pay for; nothing is measured.
 */
function warmUp(lines: readonly GuestLine[]): string[] {
  const names = `head -n ${WARM_UP_FILES} /tmp/names`;
  const whole = lines.filter(({ id, blockBytes }) => blockBytes > 0 || id === 'walk');
  const part = `${SHARED.tree}/${treeFolder(0)}`;
  return [
    'warm_up() {',
    `m=/mnt/$1; fresh=$m/${SHARED.fresh}/$1; time=${WARM_UP_MS}ms`,
    ...whole.map(callOf),
    'cd $fresh || exit 1',
    `for name in $(${names}); do echo "$text" >$name; done`,
    'echo 3 >/proc/sys/vm/drop_caches',
    `${names} | xargs stat -c %s >/dev/null || exit 1`,
    `${names} | xargs rm -f || exit 1`,
    `tar -xf /tmp/tree.tar ${part} || exit 1`,
    `rm -r ${SHARED.tree} || exit 1`,
    'cd /',
    '}',
  ];
}

/** Fields of fio's terse output, version 3: KiB and milliseconds of reads and of writes. */
const TERSE = { read: { kib: 6, ms: 9 }, write: { kib: 47, ms: 50 } } as const;

function fioShell(
  op: 'read' | 'write',
  rw: string,
  blockBytes: number,
  args: readonly string[],
): string {
  const { kib, ms } = TERSE[op];
  const file = `--filename=$m/${SHARED.data} --size=${DATA_BYTES} --thread`;
  const output = '--output-format=terse --terse-version=3 --eta=never --output=/tmp/fio.out';
  return [
    `fio --name=line --rw=${rw} ${file} ${args.join(' ')} ${output} || exit 1`,
    `kib=$(tail -n 1 /tmp/fio.out | cut -d';' -f${kib})`,
    `ms=$(tail -n 1 /tmp/fio.out | cut -d';' -f${ms})`,
    `count=$((kib * ${KIB} / ${blockBytes}))`,
  ].join('\n');
}

function fileLines(): GuestLine[] {
  const fresh = '$fresh';
  const line = (id: string, name: string, count: number, ...shell: string[]): GuestLine => ({
    id,
    name,
    blockBytes: 0,
    depth: 1,
    turnsEach: TURNS_EACH[id] ?? 1,
    shell: ['clock; from=$clock', ...shell, `clock; ms=$((clock - from)); count=${count}`].join(
      '\n',
    ),
  });
  const loop = `while [ $i -lt ${FILE_COUNT} ]; do echo "$text" >f$i; i=$((i + 1)); done`;
  const walk = `find $m/${SHARED.tree} -type f -size +0 >/tmp/found || exit 1`;
  const walks = Array.from({ length: WALKS - 1 }, () => [
    'clock; was=$clock; forget; clock; from=$((from + clock - was))',
    walk,
  ]).flat();
  return [
    line(
      'create',
      `create ${FILE_COUNT} files of 1 KiB`,
      FILE_COUNT,
      `cd ${fresh}; i=0`,
      loop,
      'cd /',
    ),
    line(
      'stat',
      `stat of ${FILE_COUNT} files`,
      FILE_COUNT,
      `cd ${fresh}`,
      xargs('stat -c %s'),
      'cd /',
    ),
    line('unlink', `unlink ${FILE_COUNT} files`, FILE_COUNT, `cd ${fresh}`, xargs('rm -f'), 'cd /'),
    line(
      'tar',
      `tar x of ${TREE_FILES} files`,
      TREE_FILES,
      `tar -xf /tmp/tree.tar -C ${fresh} || exit 1`,
    ),
    line(
      'rm',
      `rm -r of ${TREE_FILES} files`,
      TREE_FILES,
      `rm -r ${fresh}/${SHARED.tree} || exit 1`,
    ),
    line('walk', `walk of ${TREE_FILES} files`, WALKS * TREE_FILES, walk, ...walks),
  ];
}

/** Runs a program on all names of the created files, without looking them up in the folder. */
function xargs(program: string): string {
  return `xargs ${program} </tmp/names >/tmp/out || exit 1`;
}

/**
 * The sides in the order in which a line is measured: one, the other; then both the other way
 * round; then all that the other way round. What changes with time alone favours none.
 */
export function turns({ turnsEach }: GuestLine, first: Side): readonly Side[] {
  const other = (side: Side): Side => (side === 'ours' ? 'theirs' : 'ours');
  let order: Side[] = [first, other(first)];
  while (order.length < 2 * turnsEach) order = [...order, ...order.map(other)];
  return order;
}

/** The script of one boot; `first` is measured first in each line. */
export function guestScript(
  lines: readonly GuestLine[],
  first: Side,
  { seconds }: GuestEffort,
): string {
  const order = first === 'ours' ? SIDES : [...SIDES].reverse();
  return [
    '# Milliseconds since the boot, in steps of ten, without a process of its own.',
    'clock() { read -r up rest </proc/uptime; clock=${up%.*}${up#*.}0; }',
    `forget() { sync; echo 3 >/proc/sys/vm/drop_caches; sleep ${SETTLE_SECONDS}; }`,
    ...order.map(
      (side) => `mkdir -p /mnt/${side}; mount -t virtiofs ${side} /mnt/${side} || exit 1`,
    ),
    ...order.map((side) => `mkdir /mnt/${side}/${SHARED.fresh}/${side} || exit 1`),
    `cp /mnt/${first}/${SHARED.archive} /tmp/tree.tar || exit 1`,
    `text=$(head -c 768 /dev/urandom | base64 | tr -d '\\n' | head -c ${KIB - 1})`,
    `i=0; while [ $i -lt ${FILE_COUNT} ]; do echo f$i; i=$((i + 1)); done >/tmp/names`,
    ...lines.map((line) => `${callOf(line)}() {\n${line.shell}\n}`),
    ...warmUp(lines),
    'measure() {',
    `  m=/mnt/$1; fresh=$m/${SHARED.fresh}/$1; forget`,
    '  echo "@bench.begin=$1 $2"; $3; echo "@bench.end=$1 $2 $count $ms"',
    '}',
    ...order.map((side) => `warm_up ${side}`),
    `time=${Math.round(seconds * 1000)}ms`,
    ...lines.flatMap((line) =>
      turns(line, first).map((side) => `measure ${side} ${line.id} ${callOf(line)}`),
    ),
    ...order.map((side) => `umount /mnt/${side} || exit 1`),
    '',
  ].join('\n');
}

/** The name of a line's function in the script. */
function callOf({ id }: GuestLine): string {
  return `line_${id.replaceAll('-', '_')}`;
}

/** What a line on the guest's console tells. */
export type GuestWord =
  | { readonly what: 'begin'; readonly side: Side; readonly id: string }
  | {
      readonly what: 'end';
      readonly side: Side;
      readonly id: string;
      readonly count: number;
      readonly ms: number;
    };

/**
 * The benchmark's word in a line of the console; null where there is none.
 * @throws VhostUserError `ERR_VHU_BENCH_PROCESS` for a measurement that is none.
 */
export function parseGuestLine(line: string): GuestWord | null {
  const match = /^@bench\.(begin|end)=(ours|theirs) ([\w-]+)(?: (\S*) (\S*))?\s*$/.exec(line);
  if (match === null) return null;
  const [, what, side, id = '', count, ms] = match;
  const head = { side: side as Side, id };
  if (what === 'begin') return { what: 'begin', ...head };
  const measured = { count: Number(count), ms: Number(ms) };
  if (measured.count > 0 && measured.ms > 0) return { what: 'end', ...head, ...measured };
  throw processError(`the guest measured nothing: ${line}`);
}

/** The row of a line in a cache mode. */
export function guestRow(cache: CacheMode, line: GuestLine): FsRow {
  const { name, blockBytes, depth } = line;
  return { place: 'guest', cache, name, blockBytes, depth };
}
