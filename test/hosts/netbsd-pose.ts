/**
 * Loaded before anything else (`--import`): makes this process take its host for NetBSD. The C
 * library that `src/sys` sees has that host's names, and for what differs in kind from Linux a few
 * functions of ours, in the place of a kernel: directories, kevent and fsync_range. It is no model
 * of the kernel.
 *
 * @module
 */
import { createRequire } from 'node:module';

type Func = (...args: unknown[]) => unknown;
interface Library {
  func(prototypeOrName: string, ...rest: unknown[]): Func;
}
interface Koffi {
  load(path: string | null): Library;
  errno(value?: number): number;
  view(address: bigint, bytes: number): ArrayBuffer;
}

/** What the tests see of this host. */
export interface NetbsdSeen {
  /** Functions that were looked up, each once. */
  readonly names: Set<string>;
  readonly libraries: string[];
  /** Entries of the one folder that there is. */
  folder: { ino: number; type: number; name: string }[];
  /** How many entries a block has. */
  blockEntries: number;
  /** Calls, with their arguments. */
  readonly calls: unknown[][];
  /** Error numbers that the functions below fail with, by their names; 0 for success. */
  readonly fails: Record<string, number>;
}

const koffi = createRequire(import.meta.url)('koffi') as Koffi; // as the product loads it
const own = koffi.load(null);
const older = process.env.VHU_NETBSD === '10';
const seen: NetbsdSeen = {
  names: new Set(),
  libraries: [],
  folder: [],
  blockEntries: 4,
  calls: [],
  fails: {},
};
Object.assign(globalThis, { netbsd: seen });
let position = 0;
let failed = 0;

function result(name: string, args: unknown[]): number {
  seen.calls.push([name, ...args]);
  failed = seen.fails[name] ?? 0;
  return failed === 0 ? 0 : -1;
}

/** `struct dirent` of NetBSD: fileno 8, reclen 2, namlen 2, type 1, name. */
function getdents(_fd: unknown, buf: unknown, bytes: unknown): number {
  const view = new DataView(koffi.view(BigInt(buf as number), bytes as number));
  let at = 0;
  const end = Math.min(seen.folder.length, position + seen.blockEntries);
  for (; position < end; position++) {
    const { ino, type, name } = seen.folder[position] as NetbsdSeen['folder'][number];
    const record = Math.ceil((13 + name.length + 1) / 8) * 8;
    if (at + record > (bytes as number)) break;
    view.setBigUint64(at, BigInt(ino), true);
    view.setUint16(at + 8, record, true);
    view.setUint16(at + 10, name.length, true);
    view.setUint8(at + 12, type);
    new TextEncoder().encodeInto(`${name}\0`, new Uint8Array(view.buffer, at + 13));
    at += record;
  }
  failed = at === 0 && position < end ? 22 : 0; // EINVAL: no room for an entry
  return failed === 0 ? at : -1;
}

function lseek(_fd: unknown, offset: unknown, whence: unknown): number {
  if (whence === 0) position = Number(offset);
  return position;
}

const OURS: Readonly<Record<string, Func>> = {
  __getdents30: getdents,
  lseek,
  kqueue: () => 1000,
  [older ? '__kevent50' : '__kevent100']: (...args) => result('kevent', args),
  fsync_range: (...args) => result('fsync_range', args),
  fsync: (...args) => result('fsync', args),
};
/** What NetBSD has not, or has under another name only, or in a library of its own. */
const ABSENT = /^(__kevent\d+|__getdirentries64|getdirentries|shm_open|shm_unlink|eventfd)$|\$|64$/;

koffi.errno = () => failed;
koffi.load = (path) => {
  if (path !== null) seen.libraries.push(path);
  return {
    func: (prototype, ...rest) => {
      const name = /([\w$]+)\s*(\(|$)/.exec(prototype)?.[1] ?? '';
      seen.names.add(name);
      const ours = OURS[name];
      if (ours !== undefined) return ours;
      if (path === null && ABSENT.test(name)) throw new Error(`${name} is not there`);
      const plain = name.replace(/^__(fstat)50$/, '$1').replace(/^__(\w+?)\d+$/, '$1');
      return own.func(prototype.replace(name, plain), ...rest);
    },
  };
};
Object.defineProperty(process, 'platform', { value: 'netbsd' });
