/**
 * Any requests with any numbers to file systems of objects: each is answered once, nothing is
 * thrown or left over, and a guest that has gone away has left nothing open.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FuseCaller, FuseMount } from '../../../testing/index.ts';
import type { FuseRequest } from '../../../testing/index.ts';
import { MemoryFileSystem } from '../memory/index.ts';
import type { MemoryNode } from '../memory/index.ts';
import { treeOperations } from './index.ts';
import type { FileSystem } from './index.ts';

const OPCODES = [
  'LOOKUP',
  'GETATTR',
  'SETATTR',
  'READLINK',
  'SYMLINK',
  'MKNOD',
  'MKDIR',
  'UNLINK',
  'RMDIR',
  'RENAME2',
  'LINK',
  'OPEN',
  'READ',
  'WRITE',
  'STATFS',
  'RELEASE',
  'FSYNC',
  'SETXATTR',
  'GETXATTR',
  'LISTXATTR',
  'REMOVEXATTR',
  'FLUSH',
  'OPENDIR',
  'READDIR',
  'READDIRPLUS',
  'RELEASEDIR',
  'GETLK',
  'SETLK',
  'SETLKW',
  'ACCESS',
  'CREATE',
  'FALLOCATE',
  'LSEEK',
  'COPY_FILE_RANGE',
  'TMPFILE',
] as const;

const INPUT_BYTES = 88; // the longest structure

/** Numbers that are nodes and handles, sizes and flags, or nothing of all that. */
const number = fc.oneof(
  { weight: 8, arbitrary: fc.nat(8) },
  { weight: 2, arbitrary: fc.constantFrom(0o100644, 0o40755, 0o120777, 0o1000, 0x8002, 4096) },
  { weight: 1, arbitrary: fc.constantFrom(2 ** 31, 2 ** 32 - 1, 2 ** 53, 2 ** 63, 2 ** 64 - 2048) },
  { weight: 1, arbitrary: fc.nat(0xffff_ffff) },
);

const request: fc.Arbitrary<FuseRequest> = fc
  .record({
    opcode: fc.constantFrom(...OPCODES),
    nodeId: fc.oneof({ weight: 9, arbitrary: fc.nat(6) }, fc.constantFrom(2 ** 40)),
    words: fc.array(number, { minLength: INPUT_BYTES / 8, maxLength: INPUT_BYTES / 8 }),
    name: fc.constantFrom('a', 'b', 'c', 'user.x', '.', 'security.capability', '\u00ff'),
    second: fc.constantFrom('a', 'b', 'c', 'value', 'x/y'),
    outBytes: fc.constantFrom(0, 16, 100, 200, 4096, 65_536),
    newDirectory: fc.nat(6),
    flags: fc.nat(4),
    data: fc.uint8Array({ maxLength: 100 }),
  })
  .map(({ words, ...rest }) => {
    const view = new DataView(new ArrayBuffer(INPUT_BYTES));
    for (const [i, word] of words.entries()) {
      view.setUint32(i * 8, word % 2 ** 32, true);
      view.setUint32(i * 8 + 4, Math.floor(word / 2 ** 32), true);
    }
    // The server lets `.` through to LOOKUP only.
    const name = rest.name === '.' && rest.opcode !== 'LOOKUP' ? 'a' : rest.name;
    return { ...rest, name, input: new Uint8Array(view.buffer) };
  });

type Step =
  | { readonly ask: FuseRequest }
  | { readonly forget: number; readonly count: number }
  | { readonly interrupt: number }
  | { readonly destroy: true };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 30, arbitrary: fc.record({ ask: request }) },
  { weight: 3, arbitrary: fc.record({ forget: fc.nat(6), count: number }) },
  { weight: 2, arbitrary: fc.record({ interrupt: fc.nat(60) }) },
  { weight: 1, arbitrary: fc.record({ destroy: fc.constant(true as const) }) },
);

/** The same file system, with every answer a turn of the event loop later. */
function slowly(fs: FileSystem<MemoryNode>): FileSystem<MemoryNode> {
  const slow: Record<string, unknown> = { root: fs.root, validMs: 0 };
  const names = Object.getOwnPropertyNames(Object.getPrototypeOf(fs));
  for (const name of names.filter((each) => each !== 'constructor')) {
    const method = fs[name as 'stat'].bind(fs);
    const isSync = name === 'inode' || name === 'close';
    slow[name] = async (...args: Parameters<typeof method>) => {
      await new Promise(setImmediate);
      return method(...args);
    };
    if (isSync) slow[name] = method;
  }
  return slow as unknown as FileSystem<MemoryNode>;
}

async function attack(steps: readonly Step[], isSlow: boolean): Promise<void> {
  const memory = new MemoryFileSystem({ bytesMax: 1 << 20, namesMax: 50 });
  const reported: unknown[] = [];
  const report = (error: unknown): void => void reported.push(error);
  const operations = treeOperations(isSlow ? slowly(memory) : memory, { report });
  const caller = new FuseCaller(operations);
  const answers: Promise<number>[] = [];
  for (const each of steps) {
    if ('ask' in each) answers.push(caller.request(each.ask).then(({ result }) => result));
    else if ('forget' in each) operations.forget(each.forget, each.count);
    else if ('interrupt' in each) operations.interrupt?.(each.interrupt);
    else operations.destroy();
    if (isSlow && answers.length % 3 === 0) await new Promise(setImmediate);
  }
  await new Promise(setImmediate);
  operations.destroy(); // those who wait for locks would do so for ever
  for (const result of await Promise.all(answers)) {
    assert.ok(Number.isInteger(result) && result > -200, String(result));
  }
  assert.deepEqual(reported, [], 'the guest finds no mistakes');
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
  await removeAll(new FuseMount(new FuseCaller(treeOperations(memory))));
  for (const name of [...memory.listXattrs(memory.root)]) memory.removeXattr(memory.root, name);
  const { blocks, blocksFree, files, filesFree } = memory.usage();
  assert.deepEqual([blocksFree, filesFree], [blocks, files], 'nothing stays open');
}

async function removeAll(mount: FuseMount, at = ''): Promise<void> {
  for (const name of await mount.readdir(at)) {
    const path = `${at}/${Buffer.from(name, 'latin1').toString()}`;
    if (((await mount.stat(path)).mode & 0o170000) !== 0o040000) await mount.unlink(path);
    else {
      await removeAll(mount, path);
      await mount.rmdir(path);
    }
  }
}

describe('a file system of objects', () => {
  for (const isSlow of [false, true]) {
    const what = isSlow ? 'that takes its time' : 'that answers at once';
    it(`${what} withstands any requests`, async () => {
      const steps = fc.array(step, { maxLength: 60 });
      await fc.assert(
        fc.asyncProperty(steps, (each) => attack(each, isSlow)),
        { numRuns: isSlow ? 150 : 400 },
      );
    });
  }
});
