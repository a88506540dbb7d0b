/**
 * Tests of taking a user's own options of QEMU apart, and of texts with commas.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UsageError } from '../errors.ts';
import { formatOptionText, lastValue, parseOptionText } from './option-text.ts';
import {
  machineText,
  memoryOptionText,
  memoryText,
  optionWords,
  readQemuArguments,
  splitOptions,
} from './qemu-arguments.ts';

const MIB = 2 ** 20;

function refused(words: readonly string[], expected: RegExp): void {
  assert.throws(
    () => readQemuArguments(words),
    (error) => error instanceof UsageError && expected.test(error.message),
    words.join(' '),
  );
}

test('a text with commas is taken apart as QEMU does it, and put together again', () => {
  const cases: readonly (readonly [string, readonly (readonly [string, string | null])[]])[] = [
    ['q35', [['first', 'q35']]],
    ['type=q35,usb', [['type', 'q35'], ['usb', null]]], // prettier-ignore
    ['a,,b,path=x,,y=z', [['first', 'a,b'], ['path', 'x,y=z']]], // prettier-ignore
    ['a,,,b=1', [['first', 'a,'], ['b', '1']]], // prettier-ignore
    ['a=,b=2', [['a', ''], ['b', '2']]], // prettier-ignore
    ['', []],
  ];
  for (const [text, expected] of cases) {
    const parts = parseOptionText(text, 'first');
    assert.deepEqual(
      parts.map(({ key, value }) => [key, value]),
      expected,
      text,
    );
    assert.equal(formatOptionText(parts, 'first'), text);
  }
  assert.equal(lastValue(parseOptionText('a=1,b,a=2', 'x'), 'a'), '2');
  assert.equal(lastValue(parseOptionText('a=1,b', 'x'), 'b'), 'on');
  assert.equal(lastValue([], 'b'), undefined);
});

test('an option is told from the value of the one before it', () => {
  const words = ['-append', '-m 3', '-S', '--nographic', '-drive', 'file=a', 'disk.img', '-'];
  assert.deepEqual(
    splitOptions(words).map(({ name, value }) => [name, value]),
    [
      ['append', '-m 3'],
      ['S', null],
      ['nographic', null],
      ['drive', 'file=a'],
      ['', 'disk.img'],
      ['', '-'],
    ],
  );
  assert.deepEqual(optionWords(splitOptions(words)), words);
  refused(['-kernel'], /^-kernel: nothing comes after it/);
});

test('memory is counted as QEMU counts it: in MiB without a unit, in whole 8 KiB', () => {
  const sizes: readonly (readonly [string, number])[] = [
    ['512', 512 * MIB],
    ['2G', 2048 * MIB],
    ['1.5g', 1536 * MIB],
    ['size=300M,slots=2,maxmem=4G', 300 * MIB],
    ['1048577b', MIB + 8192],
    ['4096K', 4 * MIB],
  ];
  for (const [text, bytes] of sizes) {
    assert.equal(readQemuArguments(['-m', text]).memoryBytes, bytes, text);
  }
  assert.equal(readQemuArguments([]).memoryBytes, null);
  assert.equal(readQemuArguments(['-m', '1G', '-m', 'slots=2,maxmem=2G']).memoryBytes, 1024 * MIB);
  assert.equal(readQemuArguments(['-m', '1G', '-m', '2G']).memoryBytes, 2048 * MIB);
  for (const text of ['much', '0', '-1', '1e9G', '99999999P'])
    refused(['-m', text], /a size such as/);
});

test('memory is written as people write it', () => {
  assert.equal(memoryText(2048 * MIB), '2G');
  assert.equal(memoryText(1536 * MIB), '1536M');
  assert.equal(memoryText(8192), '8K');
  assert.equal(memoryText(513), '513');
  const { memory } = readQemuArguments(['-m', 'slots=2,maxmem=4G']);
  assert.equal(memoryOptionText(memory, 1024 * MIB), '1G,slots=2,maxmem=4G');
});

test('all -machine and -M are merged, with our memory, and the rest stays as it was', () => {
  const words = ['-M', 'pc', '-smp', '4', '--machine', 'accel=tcg,usb=off', '-nographic'];
  const user = readQemuArguments(words);
  assert.equal(machineText(user.machine, 'q35', 'mem'), 'pc,accel=tcg,usb=off,memory-backend=mem');
  assert.ok(user.choosesAccelerator && !user.choosesCpu);
  assert.equal(user.cpuCount, 4);
  assert.deepEqual(optionWords(user.rest), ['-smp', '4', '-nographic']);
  assert.equal(machineText([], 'virt', 'mem'), 'virt,memory-backend=mem');
  const typed = readQemuArguments(['-machine', 'usb=off', '-machine', 'type=pc']);
  assert.equal(machineText(typed.machine, 'q35', null), 'pc,usb=off');
});

test('accelerators and processors of the user are seen in each of their forms', () => {
  for (const words of [['-accel', 'tcg'], ['-enable-kvm'], ['-M', 'q35,accel=hvf:tcg']]) {
    assert.ok(readQemuArguments(words).choosesAccelerator, words.join(' '));
  }
  assert.ok(!readQemuArguments(['-append', 'accel']).choosesAccelerator);
  assert.ok(readQemuArguments(['--cpu', 'host']).choosesCpu);
  for (const [text, count] of [
    ['3', 3],
    ['cpus=5,maxcpus=8', 5],
    ['sockets=2,cores=3,threads=2', 12],
    ['nonsense', 1],
  ] as const) {
    assert.equal(readQemuArguments(['-smp', text]).cpuCount, count, text);
  }
});

test('memory of the user stays the user’s, and has to be shared', () => {
  const object = (text: string): string[] => ['-object', text, '-M', 'q35,memory-backend=m'];
  for (const good of [
    'memory-backend-memfd,id=m,size=1G',
    'memory-backend-shm,id=m,size=1G,share=on',
    'memory-backend-file,id=m,size=1G,mem-path=/dev/shm,share=on',
    '{"qom-type":"memory-backend-file","id":"m","size":4096,"mem-path":"/x","share":true}',
    'memory-backend-ram,id=other,size=1G',
  ]) {
    assert.ok(readQemuArguments(object(good)).ownsMemory, good);
  }
  refused(object('memory-backend-ram,id=m,size=1G,share=on'), /no descriptor/);
  refused(object('memory-backend-file,id=m,size=1G,mem-path=/x'), /add share=on/);
  refused(object('memory-backend-memfd,id=m,size=1G,share=off'), /add share=on/);
  refused(object('{"qom-type":"memory-backend-file","id":"m","share":false}'), /add share=on/);
  const nodes = ['-numa', 'node,memdev=n0', '-object', 'memory-backend-ram,id=n0,size=1G'];
  refused(nodes, /no descriptor/);
  assert.ok(!readQemuArguments(['-numa', 'node', '-numa', 'cpu,node-id=0']).ownsMemory);
});

test('-mem-path becomes a backend of ours, unless the user has one', () => {
  const user = readQemuArguments(['-mem-path', '/dev/hugepages', '-mem-prealloc']);
  assert.equal(user.memoryPath, '/dev/hugepages');
  assert.deepEqual(optionWords(user.rest), ['-mem-prealloc']);
  const own = readQemuArguments(['-mem-path', '/x', '-M', 'memory-backend=m']);
  assert.deepEqual(optionWords(own.rest), ['-mem-path', '/x'], 'QEMU says what is wrong with it');
});

test('identifiers that are taken are known, in JSON as well', () => {
  const words = ['-chardev', 'null,id=blk0', '-device', '{"driver":"x","id":"fs0"}', '-object'];
  assert.deepEqual([...readQemuArguments([...words, 'rng-builtin,id=mem']).ids].sort(), [
    'blk0',
    'fs0',
    'mem',
  ]);
  assert.equal(readQemuArguments(['-device', '{broken']).ids.size, 0);
});

test('a QEMU in the background would leave its devices', () => {
  refused(['-daemonize'], /foreground/);
});
