/**
 * What a request costs beside its file system: from the driver's index to the answer, against
 * operations that do nothing. Run by `node build/src/devices/fs/server/server.bench.js`.
 *
 * @module
 */
import { bench, run, summary } from 'mitata';
import { COUNTER } from '../../../backend/index.ts';
import {
  FUSE_ATTR_OUT,
  FUSE_ENTRY_OUT,
  FUSE_GETATTR_IN,
  FUSE_OPCODE,
  FUSE_OPEN_IN,
  FUSE_OPEN_OUT,
  FUSE_READ_IN,
  FUSE_WRITE_IN,
  FUSE_WRITE_OUT,
} from '../../../fuse/index.ts';
import { RingPair, fuseInitRequest, fuseRequest, fuseStruct } from '../../../testing/index.ts';
import type { Chain } from '../../../virtqueue/index.ts';
import type { FuseCall, FuseOperations } from '../operations.ts';
import { FuseServer } from './server.ts';

const MIB = 1024 * 1024;

const NOTHING: FuseOperations = {
  abilities: { flags: 0, flags2: 0, timeGranularityNs: 1 },
  init: () => undefined,
  destroy: () => undefined,
  close: () => undefined,
  forget: () => undefined,
  lookup: () => FUSE_ENTRY_OUT.SIZE,
  getattr: () => FUSE_ATTR_OUT.SIZE,
  open: () => FUSE_OPEN_OUT.SIZE,
  read: (call: FuseCall) => call.dataBytes,
  write: () => FUSE_WRITE_OUT.SIZE,
};

/** One chain, offered again and again, as a Linux guest makes it: header and arguments apart. */
class Request {
  readonly #pair = new RingPair({ size: 512, dataBytes: 8 * MIB });
  readonly #server: FuseServer;

  constructor(request: Uint8Array, roomBytes: number, pieceBytes: number = MIB) {
    const { memory, driver, dataGpa } = this.#pair;
    let next = dataGpa;
    this.#server = new FuseServer({
      operations: NOTHING,
      counters: new Float64Array(COUNTER.LENGTH),
      callCount: 4,
      readdirPlus: 'auto',
      log: () => undefined,
    });
    const put = (bytes: Uint8Array): { gpa: number; lengthBytes: number } => {
      const gpa = next;
      next += Math.ceil(bytes.length / 64) * 64;
      memory.copyTo(gpa, bytes);
      return { gpa, lengthBytes: bytes.length };
    };
    const cut = (bytes: Uint8Array): { gpa: number; lengthBytes: number }[] => {
      const pieces = [];
      for (let at = 0; at < bytes.length; at += pieceBytes) {
        pieces.push(put(bytes.subarray(at, at + pieceBytes)));
      }
      return pieces;
    };
    driver.addChain([put(fuseInitRequest())], [put(new Uint8Array(80))], 0);
    this.#turn();
    this.#readable = [put(request.subarray(0, 40)), ...cut(request.subarray(40))];
    this.#writable = [put(new Uint8Array(16)), ...cut(new Uint8Array(roomBytes))];
  }

  readonly #readable: readonly { gpa: number; lengthBytes: number }[];
  readonly #writable: readonly { gpa: number; lengthBytes: number }[];

  /** The driver alone: what the figure of `ask` has too much. */
  drive(): void {
    const { driver, device } = this.#pair;
    driver.addChain(this.#readable, this.#writable, 0);
    driver.publish();
    device.push(device.pop() as Chain, 16);
    device.publish();
    driver.take();
  }

  /** One request and its answer. */
  ask(): void {
    this.#pair.driver.addChain(this.#readable, this.#writable, 0);
    this.#turn();
  }

  #turn(): void {
    const { driver, device } = this.#pair;
    driver.publish();
    this.#server.handle(device, device.pop() as Chain);
    device.publish();
    driver.take();
  }
}

const REQUESTS: readonly (readonly [string, Request])[] = [
  ['LOOKUP', new Request(fuseRequest(FUSE_OPCODE.LOOKUP, ['some-name.txt']), 128)],
  ['GETATTR', new Request(fuseRequest(FUSE_OPCODE.GETATTR, [fuseStruct(FUSE_GETATTR_IN)]), 104)],
  ['OPEN', new Request(fuseRequest(FUSE_OPCODE.OPEN, [fuseStruct(FUSE_OPEN_IN)]), 16)],
  [
    'READ 4 KiB',
    new Request(fuseRequest(FUSE_OPCODE.READ, [fuseStruct(FUSE_READ_IN, { size: 4096 })]), 4096),
  ],
  [
    'READ 1 MiB, 256 pages',
    new Request(
      fuseRequest(FUSE_OPCODE.READ, [fuseStruct(FUSE_READ_IN, { size: MIB })]),
      MIB,
      4096,
    ),
  ],
  [
    'WRITE 4 KiB',
    new Request(
      fuseRequest(FUSE_OPCODE.WRITE, [
        fuseStruct(FUSE_WRITE_IN, { size: 4096 }),
        new Uint8Array(4096),
      ]),
      8,
    ),
  ],
];

for (const [name, request] of REQUESTS) {
  summary(() => {
    bench(`${name}: driver and ring alone`, () => request.drive());
    bench(`${name}: with the server`, () => request.ask());
  });
}
await run();
