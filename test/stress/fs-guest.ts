/**
 * The guest in a test of escapes: sends whatever requests there are, about nodes and handles that
 * it has, had, or never had, and looks at each answer for what must not be there.
 *
 * @module
 */
import {
  FATTR,
  FUSE_OPCODE,
  FUSE_SETATTR_IN,
  LINUX_F,
  LINUX_O,
  RENAME,
  S_IF,
} from '../../src/fuse/index.ts';
import { FuseCalls } from '../../src/frontend/index.ts';
import type { FuseConnection, FuseEntry } from '../../src/frontend/index.ts';
import { errorCode } from '../../src/util/index.ts';
import type { Random } from './exchange.ts';
import { CANARY } from './fs-canary.ts';
import type { Surroundings } from './fs-canary.ts';

const ROOT_ID = 1;
const NODES_MAX = 200;
const HANDLES_MAX = 60;
const ESCAPES_MAX = 20;
/** An answer that takes longer is none: something waits for a FIFO. */
const ANSWER_MS = 10_000;
const READ_BYTES = 4096;
const LIST_BYTES = 8192;
const NAMES = ['d0', 'd1', 'f0', 'f1', 'f2', 's0', 'n0'];
/** To look for and to remove: outside of the share there are more. */
const WANTED = [...NAMES, `${CANARY}-name`, '..', '..'];
const OPEN_FLAGS = [
  LINUX_O.RDONLY,
  LINUX_O.WRONLY,
  LINUX_O.RDWR,
  LINUX_O.RDWR | LINUX_O.TRUNC,
  LINUX_O.RDWR | LINUX_O.APPEND,
  LINUX_O.RDONLY | LINUX_O.DIRECTORY,
  LINUX_O.RDWR | LINUX_O.CREAT,
  LINUX_O.PATH,
];

/**
 * Requests that are sent with any bytes. Left out are those without an answer, those that end or
 * begin the session or wait for others, and those that may fill the disk.
 */
const RAW_OPCODES: readonly number[] = Object.entries(FUSE_OPCODE)
  .filter(([name]) => !/^(.*FORGET|INIT|DESTROY|INTERRUPT|SETLKW|WRITE|SYNCFS)$/.test(name))
  .filter(([name]) => !/^(FALLOCATE|COPY_.*|NOTIFY_REPLY)$/.test(name))
  .map(([, opcode]) => opcode);
const RAW_STRUCT_BYTES = [0, 4, 8, 12, 16, 20, 24, 40, 48, 64, 88];
const XATTR_NAMES = ['user.a', 'security.capability', 'trusted.overlay.opaque', 'x/../y'];

interface Node {
  readonly id: number;
  lookups: number;
}

interface Open {
  readonly node: number;
  readonly fh: bigint;
  readonly folder: boolean;
}

/** See the module. Several tasks may `run` on it at the same time. */
export class HostileGuest {
  requests = 0;
  readonly answers: Map<string, number> = new Map();
  readonly successes: Map<string, number> = new Map();
  readonly escapes: string[] = [];
  readonly #calls: FuseCalls;
  readonly #around: Surroundings;
  readonly #nodes: Node[] = [];
  readonly #opens: Open[] = [];
  readonly #formerFhs: bigint[] = [0n, 1n, 0xffff_ffff_ffff_ffffn];
  readonly #written = Buffer.from('the guest has written this\n'.repeat(8));

  constructor(connection: FuseConnection, around: Surroundings) {
    this.#calls = new FuseCalls(connection, connection.identity);
    this.#around = around;
  }

  /** Sends requests, one after the other, until it is late. */
  async run(random: Random, endMs: number): Promise<void> {
    const actions = this.#actions(random);
    while (performance.now() < endMs && this.escapes.length < ESCAPES_MAX) {
      const [name, action] = actions[random.below(actions.length)] as (typeof actions)[number];
      await this.#ask(name, action);
    }
  }

  async #ask(name: string, action: () => Promise<unknown>): Promise<void> {
    this.requests++;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new Error(`${name} was not answered within ${String(ANSWER_MS)} ms`));
      }, ANSWER_MS);
    });
    try {
      await Promise.race([action(), late]);
      count(this.answers, 'ok');
      count(this.successes, name);
    } catch (error) {
      const code = errorCode(error);
      if (code === undefined || !code.startsWith('E') || code.startsWith('ERR_')) throw error;
      count(this.answers, code);
    } finally {
      clearTimeout(timer);
    }
  }

  /** All kinds of requests; those that find something out are there more than once. */
  #actions(random: Random): (readonly [string, () => Promise<unknown>])[] {
    const calls = this.#calls;
    const name = (): string => NAMES[random.below(NAMES.length)] as string;
    const wanted = (): string => WANTED[random.below(WANTED.length)] as string;
    const node = (): number => this.#anyNode(random);
    const open = (): Open => this.#anyOpen(random);
    const place = (): { parent: number; name: string } => ({ parent: node(), name: name() });
    const lookup = async (): Promise<void> => this.#meet(await calls.lookup(node(), wanted()));
    const target = (): string => this.#linkTarget(random);
    return [
      ['lookup', lookup],
      ['lookup', lookup],
      ['lookup', lookup],
      ['lookup', lookup],
      ['getattr', async () => this.#seeIno(await calls.getattr(node()))],
      ['getattr', async () => this.#seeIno(await calls.getattr(node(), open().fh))],
      ['setattr', async () => this.#seeIno(await calls.setattr(node(), changes(random)))],
      ['readlink', () => calls.readlink(node())],
      ['symlink', async () => this.#meet(await calls.symlink(node(), name(), target()))],
      ['mknod', async () => this.#meet(await calls.mknod(node(), name(), S_IF.IFO | 0o644, 0))],
      ['mkdir', async () => this.#meet(await calls.mkdir(node(), name(), 0o755))],
      ['unlink', () => calls.unlink(node(), wanted())],
      ['rmdir', () => calls.rmdir(node(), wanted())],
      ['rename', () => calls.rename(place(), place(), [0, RENAME.NOREPLACE][random.below(2)] ?? 0)],
      ['rename', () => calls.rename(place(), place(), RENAME.EXCHANGE)],
      ['link', async () => this.#meet(await calls.link(node(), node(), name()))],
      ['open', () => this.#open(node(), OPEN_FLAGS[random.below(OPEN_FLAGS.length)] ?? 0, false)],
      ['open', () => this.#open(node(), OPEN_FLAGS[random.below(OPEN_FLAGS.length)] ?? 0, false)],
      ['opendir', () => this.#open(node(), 0, true)],
      ['create', () => this.#create(node(), name())],
      ['read', () => this.#read(open())],
      ['read', () => this.#read(open())],
      ['write', () => calls.write(node(), open().fh, random.below(64), this.#written)],
      ['readdir', () => this.#list(open(), false)],
      ['readdirplus', () => this.#list(open(), true)],
      ['release', () => this.#release(random)],
      ['forget', () => this.#forget(random)],
      ['statfs', () => calls.statfs(node())],
      ['access', () => calls.access(node(), random.below(8))],
      ['fsync', () => calls.fsync(node(), open().fh)],
      ['flush', () => calls.flush(node(), open().fh, BigInt(random.below(4)))],
      ['setlk', () => this.#lock(random)],
      ['fallocate', () => calls.fallocate(node(), open().fh, { offset: 0, length: 64, mode: 1 })],
      ['raw', () => this.#raw(random)],
      ['raw', () => this.#raw(random)],
      ['raw', () => this.#raw(random)],
      ['copy', () => calls.copyFileRange(range(open()), range(open()), 64)],
    ];
  }

  /** A link of the guest's own leads wherever the guest says; nobody must follow it. */
  #linkTarget(random: Random): string {
    const { outside } = this.#around;
    return [outside, `${outside}/f0`, '..', '../outside', '/', 'd0'][random.below(6)] ?? '/';
  }

  #meet(entry: FuseEntry | null): void {
    if (entry === null) return;
    this.#seeIno(entry.stats);
    const known = this.#nodes.find((each) => each.id === entry.nodeId);
    if (known !== undefined) known.lookups++;
    else this.#nodes.push({ id: entry.nodeId, lookups: 1 });
  }

  async #open(node: number, flags: number, folder: boolean): Promise<void> {
    const { fh } = await this.#calls.open(node, flags, folder);
    this.#opens.push({ node, fh, folder });
  }

  async #create(parent: number, name: string): Promise<void> {
    const flags = LINUX_O.RDWR | LINUX_O.CREAT;
    const { entry, handle } = await this.#calls.create(parent, name, flags, 0o644);
    this.#meet(entry);
    this.#opens.push({ node: entry.nodeId, fh: handle.fh, folder: false });
  }

  async #read(open: Open): Promise<void> {
    const into = new Uint8Array(READ_BYTES);
    const bytes = await this.#calls.read(open.node, open.fh, 0, into);
    const content = Buffer.from(into.buffer, 0, bytes);
    if (content.includes(CANARY)) this.#escaped(`read ${content.toString().slice(0, 60)}`);
    if (bytes === READ_BYTES && content.every((byte) => byte === 0)) {
      this.#escaped('read /dev/zero'); // nobody leaves so long a hole in the share
    }
  }

  async #list(open: Open, plus: boolean): Promise<void> {
    const from = { cookie: 0n, bytes: LIST_BYTES, plus };
    for (const { name, ino, entry } of await this.#calls.readdir(open.node, open.fh, from)) {
      if (name.includes(CANARY)) this.#escaped(`listed ${name.toString()}`);
      if (this.#around.outsideInos.has(ino)) this.#escaped(`listed inode ${String(ino)}`);
      this.#meet(entry);
    }
  }

  /** Any request with any arguments: numbers that may mean something, then perhaps a name. */
  async #raw(random: Random): Promise<void> {
    const opcode = RAW_OPCODES[random.below(RAW_OPCODES.length)] as number;
    const head = Buffer.alloc(RAW_STRUCT_BYTES[random.below(RAW_STRUCT_BYTES.length)] ?? 0);
    for (let at = 0; at < head.length; at += 4) {
      const bits = random.below(33);
      head.writeUInt32LE(bits === 0 ? 0 : random.below(2 ** bits), at);
    }
    if (head.length >= 8 && random.below(2) === 0) {
      head.writeBigUInt64LE(this.#anyOpen(random).fh);
    }
    if (opcode === FUSE_OPCODE.SETATTR && head.length >= 4) {
      // No size: nothing is to be as long as to look like /dev/zero. No mode: a host without the
      // rights of root would lose the share.
      const valid = head.readUInt32LE(FUSE_SETATTR_IN.valid);
      head.writeUInt32LE((valid & ~(FATTR.SIZE | FATTR.MODE)) >>> 0, FUSE_SETATTR_IN.valid);
    }
    const names = Array.from({ length: random.below(3) }, () => `${this.#rawName(random)}\0`);
    const args = Buffer.concat([head, Buffer.from(names.join(''))]);
    const outBytes = [0, 16, 128, READ_BYTES][random.below(4)] ?? 0;
    const options = { args, outBytes };
    const answer = await this.#calls.connection.request(opcode, this.#anyNode(random), options);
    if (Buffer.from(answer).includes(CANARY)) this.#escaped(`got a canary by request ${opcode}`);
  }

  /** None with CANARY in it: what comes before may make another name of it. */
  #rawName(random: Random): string {
    const { outside } = this.#around;
    const odd = ['', '.', '..', '../outside/f0', '/', outside, 'd0/../../outside', 'x'.repeat(256)];
    const all = [...NAMES, ...odd, ...XATTR_NAMES];
    return all[random.below(all.length)] as string;
  }

  async #release(random: Random): Promise<void> {
    if (this.#opens.length === 0) return;
    const [open] = this.#opens.splice(random.below(this.#opens.length), 1) as [Open];
    this.#formerFhs.push(open.fh);
    if (this.#formerFhs.length > HANDLES_MAX) this.#formerFhs.shift();
    await this.#calls.release(open.node, open.fh, { folder: open.folder });
    if (random.below(4) === 0) {
      await this.#calls.release(open.node, open.fh, { folder: open.folder });
    }
  }

  /** Some nodes, as often as they were met, or too often. */
  async #forget(random: Random): Promise<void> {
    if (this.#nodes.length < NODES_MAX / 2 && random.below(8) !== 0) return;
    const count = Math.min(this.#nodes.length, 1 + random.below(16));
    const list = this.#nodes.splice(random.below(this.#nodes.length - count + 1), count);
    const more = random.below(4) === 0 ? 1000 : 0;
    await this.#calls.forget(
      list.map(({ id, lookups }) => ({ nodeId: id, lookups: lookups + more })),
    );
    while (this.#opens.length > HANDLES_MAX) await this.#release(random);
  }

  async #lock(random: Random): Promise<void> {
    const { node, fh } = this.#anyOpen(random);
    await this.#calls.setlk(node, fh, {
      type: [LINUX_F.RDLCK, LINUX_F.WRLCK, LINUX_F.UNLCK][random.below(3)] ?? 0,
      start: 0n,
      end: BigInt(random.below(100)),
      pid: 1,
      owner: BigInt(random.below(4)),
      flock: random.below(2) === 0,
      wait: false,
    });
  }

  #anyNode(random: Random): number {
    const dice = random.below(40);
    if (dice === 0) return 2 ** random.below(53); // perhaps nobody's
    if (dice < 8 || this.#nodes.length === 0) return ROOT_ID;
    return (this.#nodes[random.below(this.#nodes.length)] as Node).id;
  }

  #anyOpen(random: Random): Open {
    if (this.#opens.length > 0 && random.below(20) !== 0) {
      return this.#opens[random.below(this.#opens.length)] as Open;
    }
    const fh = this.#formerFhs[random.below(this.#formerFhs.length)] as bigint;
    return { node: ROOT_ID, fh, folder: false };
  }

  #seeIno({ ino }: { readonly ino: number }): void {
    if (this.#around.outsideInos.has(ino)) this.#escaped(`met inode ${String(ino)}`);
  }

  #escaped(what: string): void {
    this.escapes.push(`the guest ${what}`);
  }
}

/** Of SETATTR: no size that makes a file longer, so that no zeroes are in the share. */
function changes(random: Random): { mode?: number; size?: number; mtime?: number; uid?: number } {
  const all = [{ mode: 0o700 | random.below(0o100) }, { size: 0 }, { mtime: 1 }, { uid: 0 }];
  return all[random.below(all.length)] ?? {};
}

function range(open: Open): { node: number; fh: bigint; offset: number } {
  return { node: open.node, fh: open.fh, offset: 0 };
}

function count(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1);
}
