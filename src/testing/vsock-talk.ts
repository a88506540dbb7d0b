/**
 * A vsock device, a guest that drives it packet by packet, and programs of the host, for tests.
 *
 * @module
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VhostUserError } from '../util/index.ts';
import { openVsock } from '../devices/vsock/index.ts';
import type { VsockDevice, VsockNetwork, VsockOptions } from '../devices/vsock/index.ts';
import { HostListener, HostProgram } from './host-program.ts';
import { TestBackend } from './test-backend.ts';
import type { TestReport } from './test-backend.ts';
import { MockVsockGuest } from './vsock-guest.ts';
import type { MockVsockOptions, VsockPacket } from './vsock-guest.ts';

/** Operations of packets (virtio 1.3, section 5.10.6). */
const OP = { REQUEST: 1, RESPONSE: 2 } as const;
const OP_NAMES: readonly string[] =
  'INVALID,REQUEST,RESPONSE,RST,SHUTDOWN,RW,CREDIT_UPDATE,CREDIT_REQUEST'.split(',');

/** How {@link withVsock} serves. */
export interface VsockTalkOptions {
  /** Beside `udsPath`, which is there already; the guest's CID is 3 unless this says otherwise. */
  readonly device?: Partial<VsockOptions>;
  readonly network?: VsockNetwork;
  readonly guest?: Partial<MockVsockOptions>;
}

/** What a test has in its hands. */
export class VsockTalk {
  readonly server: TestBackend<VsockDevice>;
  readonly guest: MockVsockGuest;
  /** What is given to it is closed after the front-end. */
  readonly keep: <T extends { close(): void }>(closer: T) => T;
  /** The device's `udsPath`. */
  readonly uds: string;

  constructor(
    server: TestBackend<VsockDevice>,
    guest: MockVsockGuest,
    keep: <T extends { close(): void }>(closer: T) => T,
    uds: string,
  ) {
    this.server = server;
    this.guest = guest;
    this.keep = keep;
    this.uds = uds;
  }

  /**
   * Receives a packet of this operation.
   * @throws VhostUserError `ERR_VHU_TEST_PACKET` for another one.
   */
  async expect(op: number): Promise<VsockPacket> {
    const packet = await this.guest.receive();
    if (packet.op === op && packet.dstCid === BigInt(this.guest.guestCid)) return packet;
    const name = (code: number): string => OP_NAMES[code] ?? String(code);
    const { srcPort, dstPort, flags, dstCid } = packet;
    throw new VhostUserError(
      'ERR_VHU_TEST_PACKET',
      `${name(op)} was expected, and ${name(packet.op)} came: from port ${String(srcPort)} to ` +
        `${String(dstPort)} of CID ${String(dstCid)}, flags ${String(flags)}, ` +
        `data "${packetText(packet).slice(0, 40)}"`,
    );
  }

  /** The guest connects to a program that listens on `uds_port`. */
  async guestConnects(srcPort: number, dstPort: number): Promise<HostProgram> {
    const listener = await HostListener.listen(`${this.uds}_${String(dstPort)}`);
    this.guest.send({ op: OP.REQUEST, srcPort, dstPort });
    await this.expect(OP.RESPONSE);
    const program = this.keep(await listener.accept());
    listener.close();
    return program;
  }

  /** A program connects to a port of the guest; returns it, and the host's port. */
  async hostConnects(
    guestPort: number,
  ): Promise<{ readonly program: HostProgram; readonly port: number }> {
    const program = this.keep(await HostProgram.connect(this.uds));
    program.socket.write(`CONNECT ${String(guestPort)}\n`);
    const { srcPort: port } = await this.expect(OP.REQUEST);
    this.guest.send({ op: OP.RESPONSE, srcPort: guestPort, dstPort: port });
    await program.take(`OK ${String(port)}\n`.length);
    return { program, port };
  }
}

/** The data of a packet as text. */
export function packetText(packet: VsockPacket): string {
  return Buffer.from(packet.data).toString('latin1');
}

/**
 * Serves a device to one guest, and makes sure that nothing is left behind: no ring broken, no fd,
 * no mapping, no socket file. Returns what was told meanwhile.
 */
export async function withVsock(
  talk: (talk: VsockTalk) => Promise<void>,
  options: VsockTalkOptions = {},
): Promise<TestReport> {
  const folder = mkdtempSync(join(tmpdir(), 'vhu-vsock-'));
  const uds = join(folder, 'v');
  const { guestCid = 3 } = options.device ?? {};
  let report: TestReport;
  try {
    const device = openVsock({ guestCid, udsPath: uds, ...options.device }, options.network);
    const server = await TestBackend.start(device);
    try {
      report = await server.session(async (frontend, keep) => {
        await frontend.negotiate();
        const guest = keep(new MockVsockGuest(frontend, { guestCid, ...options.guest }));
        await guest.start();
        await talk(new VsockTalk(server, guest, keep, uds));
      });
    } finally {
      await server.close();
    }
    const [fault] = report.faults;
    if (fault !== undefined) throw new VhostUserError('ERR_VHU_TEST_FAULT', fault.fault.message);
    const left = readdirSync(folder);
    if (left.length > 0) throw new VhostUserError('ERR_VHU_LEAK', `files left: ${left.join()}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return report;
}
