/**
 * A guest that connects to a program whose queue of connections is full: it waits, it is not
 * refused, and it comes through as the program accepts.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { unlinkSync } from 'node:fs';
import { describe, it } from 'node:test';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { acceptSocket, closeFd, listenUnix } from '../../sys/index.ts';
import { withVsock } from '../../testing/index.ts';
import type { VsockTalk } from '../../testing/index.ts';
import { VIRTIO_VSOCK_OP as OP } from './layout.ts';

const PORT = 601;
const NOBODY = 602;
const GUEST_PORTS = [700, 701, 702, 703];
/** Many times as long as an attempt rests, so that there are several. */
const BUSY_MS = 30;
/** So many connections in all, and so many at once, that some are between two others. */
const MANY = 200;
const WAITING = 8;
const FIRST_PORT = 1000;
// Elsewhere a full queue refuses, as connect(2) of those systems has it.
const skip = process.platform === 'linux' ? false : 'only Linux tells a full queue by EAGAIN';

describe('a program of the host that accepts slowly', { skip }, () => {
  it('gets each connection of the guest, in turn, however often it was tried', async () => {
    await withVsock(async (talk) => {
      // With a backlog of 0 Linux lets one connection wait.
      const path = `${talk.uds}_${String(PORT)}`;
      const listener = listenUnix(path, { backlog: 0 });
      const accepted: number[] = [];
      try {
        for (const srcPort of GUEST_PORTS) {
          talk.guest.send({ op: OP.REQUEST, srcPort, dstPort: PORT });
        }
        for (const srcPort of GUEST_PORTS) {
          const answer = await talk.expect(OP.RESPONSE);
          assert.deepEqual([answer.srcPort, answer.dstPort], [PORT, srcPort]);
          await sleep(BUSY_MS);
          accepted.push(acceptSocket(listener));
          assert.ok((accepted.at(-1) as number) >= 0, 'it was there before the guest heard of it');
        }
        assert.ok(acceptSocket(listener) < 0, 'nobody came twice');
      } finally {
        for (const fd of [...accepted, listener]) if (fd >= 0) closeFd(fd);
        unlinkSync(path);
      }
    });
  });

  it('gets them in turn when it accepts at any moment, and more come meanwhile', async () => {
    await withVsock(async (talk) => {
      const path = `${talk.uds}_${String(PORT)}`;
      const listener = listenUnix(path, { backlog: 0 });
      const accepted: number[] = [];
      const came: number[] = [];
      let sent = 0;
      try {
        while (came.length < MANY) {
          if (sent < MANY && sent - accepted.length < WAITING) {
            talk.guest.send({ op: OP.REQUEST, srcPort: FIRST_PORT + sent++, dstPort: PORT });
          }
          const fd = acceptSocket(listener);
          if (fd >= 0) accepted.push(fd);
          for (const answer of talk.guest.pending()) {
            assert.equal(answer.op, OP.RESPONSE);
            came.push(answer.dstPort);
          }
          await setImmediate();
        }
        assert.deepEqual(
          came,
          Array.from({ length: MANY }, (_, i) => FIRST_PORT + i),
        );
      } finally {
        for (const fd of [...accepted, listener]) if (fd >= 0) closeFd(fd);
        unlinkSync(path);
      }
    });
  });

  it('leaves the others their turn when one gives up, and refuses all when it ends', async () => {
    await withVsock(async (talk) => {
      const path = `${talk.uds}_${String(PORT)}`;
      const listener = listenUnix(path, { backlog: 0 });
      const accepted: number[] = [];
      try {
        for (const srcPort of GUEST_PORTS) {
          talk.guest.send({ op: OP.REQUEST, srcPort, dstPort: PORT });
        }
        const [first, gone, next, last] = GUEST_PORTS as [number, number, number, number];
        assert.equal((await talk.expect(OP.RESPONSE)).dstPort, first);
        talk.guest.send({ op: OP.RST, srcPort: gone, dstPort: PORT });
        await allHeard(talk);
        accepted.push(acceptSocket(listener));
        assert.equal((await talk.expect(OP.RESPONSE)).dstPort, next);
        accepted.push(acceptSocket(listener));
        assert.equal((await talk.expect(OP.RESPONSE)).dstPort, last);
        accepted.push(acceptSocket(listener));
        for (const srcPort of [800, 801, 802]) {
          talk.guest.send({ op: OP.REQUEST, srcPort, dstPort: PORT });
        }
        assert.equal((await talk.expect(OP.RESPONSE)).dstPort, 800);
        await allHeard(talk);
        unlinkSync(path);
        for (const srcPort of [801, 802]) {
          assert.equal((await talk.expect(OP.RST)).dstPort, srcPort);
        }
      } finally {
        for (const fd of [...accepted, listener]) if (fd >= 0) closeFd(fd);
      }
    });
  });
});

/** Waits until the device has taken all that the guest has sent: it answers in order. */
async function allHeard(talk: VsockTalk): Promise<void> {
  talk.guest.send({ op: OP.REQUEST, srcPort: 900, dstPort: NOBODY });
  const answer = await talk.expect(OP.RST);
  assert.deepEqual([answer.srcPort, answer.dstPort], [NOBODY, 900]);
}
