/**
 * Sessions with front-ends that send the wrong file descriptors: how many, when, and of what kind.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { closeSync, existsSync, openSync, readFileSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after, before, describe, it } from 'node:test';
import {
  FDS_PER_MESSAGE_MAX,
  closeFd,
  createNotifier,
  createSharedMemory,
  openFdCount,
  socketPair,
} from '../sys/index.ts';
import { EchoDevice, TestBackend, codesOf, mockMessage } from '../testing/index.ts';
import type { FrontendMessageName, MockValues } from '../testing/index.ts';

const PAGE_BYTES = 65536;
const REGION = { gpa: 0, sizeBytes: PAGE_BYTES, uva: 0x10000, mmapOffset: 0 };

let served: TestBackend<EchoDevice>;
const spare = openSync('/dev/null', 'r+'); // sent where any fd will do
const repeated = (count: number): number[] => Array<number>(count).fill(spare);

before(async () => {
  served = await TestBackend.start(new EchoDevice());
  await served.session(async (frontend) => {
    await frontend.negotiate();
  });
});
after(async () => {
  await served.close();
  closeSync(spare);
});

describe('a session that gets the wrong number of fds', () => {
  const cases: readonly (readonly [FrontendMessageName, MockValues, number])[] = [
    ['GET_FEATURES', {}, 1],
    ['GET_FEATURES', {}, FDS_PER_MESSAGE_MAX],
    ['SET_OWNER', {}, 8],
    ['SET_VRING_NUM', { index: 0, num: 64 }, 1],
    ['SET_VRING_KICK', { value: 0n }, 0],
    ['SET_VRING_KICK', { value: 0n }, 2],
    ['SET_VRING_CALL', { value: 0n }, FDS_PER_MESSAGE_MAX],
    ['SET_VRING_ERR', { value: 0n }, 0],
    ['SET_BACKEND_REQ_FD', {}, 0],
    ['SET_BACKEND_REQ_FD', {}, 2],
    ['SET_MEM_TABLE', { regions: [REGION] }, 0],
    ['SET_MEM_TABLE', { regions: [REGION] }, 2],
    ['SET_MEM_TABLE', { regions: [] }, 1],
    ['ADD_MEM_REG', REGION, 0],
    ['ADD_MEM_REG', REGION, 9],
    ['REM_MEM_REG', REGION, 2],
  ];
  for (const [name, values, count] of cases) {
    it(`refuses ${name} with ${String(count)} and goes on`, async () => {
      const { refused } = await served.session(async (frontend) => {
        await frontend.negotiate();
        const fds = repeated(count);
        if (name.startsWith('GET_')) {
          await frontend.send(name, values, { fds });
          assert.equal((await frontend.receive()).payload.length, 0, 'an empty reply');
        } else {
          assert.notEqual(await frontend.ack(name, values, { fds }), 0n);
        }
      });
      assert.deepEqual(codesOf(refused), ['ERR_VHU_FD_COUNT']);
    });
  }

  it('closes an fd that comes although "no fd" is said', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      for (const name of ['SET_VRING_KICK', 'SET_VRING_CALL', 'SET_VRING_ERR'] as const) {
        const open = openFdCount();
        await frontend.ack(name, { value: 0x100n }, { fds: [spare] });
        assert.equal(openFdCount(), open, name);
      }
    });
    assert.deepEqual(refused, []);
  });
});

describe('a session that gets fds at the wrong time', () => {
  for (const fdsWithPiece of [1, 2, 4]) {
    it(`closes fds that come with piece ${String(fdsWithPiece)} of a message`, async () => {
      const { refused, log } = await served.session(async (frontend) => {
        await frontend.negotiate();
        const pieces = { pieceBytes: 4, fdsWithPiece };
        const options = { fds: repeated(3), pieces };
        assert.notEqual(await frontend.ack('SET_VRING_KICK', { value: 1n }, options), 0n);
      });
      assert.deepEqual(codesOf(refused), ['ERR_VHU_FD_COUNT']);
      assert.equal(log.length, 1);
      assert.match(log[0] ?? '', /3 file descriptors came in the middle of a message/);
    });
  }

  it('takes the fds of the first byte, and closes those that come later', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      const { notifier, consumer } = createNotifier();
      const message = mockMessage('SET_VRING_CALL', { value: 1n }, { needReply: true });
      const open = openFdCount();
      await frontend.sendBytes(message.subarray(0, 6), [notifier.fd]);
      await frontend.sendBytes(message.subarray(6), repeated(5));
      assert.equal((await frontend.receive()).payload[0], 0);
      assert.equal(openFdCount(), open + 1);
      notifier.close();
      consumer.close();
    });
    assert.deepEqual(refused, []);
  });

  it('keeps the fds of coalesced messages apart', async () => {
    const { refused } = await served.session(async (frontend) => {
      await frontend.negotiate();
      const { notifier, consumer } = createNotifier();
      const call = { bytes: mockMessage('SET_VRING_CALL', { value: 0n }), fds: [notifier.fd] };
      const err = { bytes: mockMessage('SET_VRING_ERR', { value: 1n }), fds: [notifier.fd] };
      const plain = { bytes: mockMessage('SET_VRING_BASE', { index: 0, num: 5 }) };
      await frontend.sendTogether(plain, call, plain, plain, err, plain, call);
      await frontend.askNumber('GET_FEATURES');
      notifier.close();
      consumer.close();
    });
    assert.deepEqual(refused, []);
  });

  it('closes the fds of a message that is never finished', async () => {
    const { ends } = await served.session(async (frontend) => {
      const message = mockMessage('SET_VRING_CALL', { value: 0n });
      await frontend.sendBytes(message.subarray(0, 13), repeated(7));
      frontend.close();
    }, 'ends');
    assert.deepEqual(codesOf(ends), ['ERR_VHU_CUT_OFF']);
  });

  it('closes the fds of a message that breaks the framing', async () => {
    await served.session(async (frontend) => {
      await frontend.send('SET_VRING_CALL', { value: 0n }, { flags: 2, fds: repeated(7) });
    }, 'ends');
  });
});

/** Fds of all kinds, with what closes them. */
function openKind(kind: string): { fd: number; close(): void } {
  if (kind === 'socket') {
    const [fd, other] = socketPair();
    return {
      fd,
      close: () => {
        closeFd(fd);
        closeFd(other);
      },
    };
  }
  if (kind.startsWith('pipe')) {
    const { notifier, consumer } = createNotifier();
    return {
      fd: kind === 'pipe, read end' ? consumer.fd : notifier.fd,
      close: () => {
        notifier.close();
        consumer.close();
      },
    };
  }
  if (kind === 'shared memory') {
    const fd = createSharedMemory(PAGE_BYTES, 'vhu-test');
    return { fd, close: () => closeFd(fd) };
  }
  const paths = {
    'regular file': import.meta.filename,
    directory: tmpdir(),
    '/dev/null': '/dev/null',
  };
  const fd = openSync(paths[kind as keyof typeof paths], 'r');
  return { fd, close: () => closeSync(fd) };
}

describe('a session that gets fds of the wrong kind', () => {
  const notifiers = ['SET_VRING_KICK', 'SET_VRING_CALL', 'SET_VRING_ERR'] as const;
  for (const name of notifiers) {
    for (const kind of ['regular file', 'directory', 'shared memory']) {
      it(`refuses ${name} with a ${kind}`, async () => {
        const { refused } = await served.session(async (frontend, keep) => {
          await frontend.negotiate();
          const { fd } = keep(openKind(kind));
          assert.notEqual(await frontend.ack(name, { value: 0n }, { fds: [fd] }), 0n);
        });
        assert.deepEqual(codesOf(refused), ['ERR_VHU_FD_KIND']);
      });
    }

    for (const kind of ['socket', '/dev/null', 'pipe, read end', 'pipe, write end']) {
      it(`survives ${name} with a ${kind}, at rest and on a running ring`, async () => {
        await served.session(async (frontend, keep) => {
          const guest = keep(await frontend.bringUp());
          const { fd } = keep(openKind(kind));
          await frontend.ack(name, { value: 1n }, { fds: [fd] });
          await frontend.ack(name, { value: 0n }, { fds: [fd] });
          // The ring itself goes on, at the latest when the right fd is there.
          const { kick, call, err } = guest.queue(0).raw.peerFds;
          const right = { SET_VRING_KICK: kick, SET_VRING_CALL: call, SET_VRING_ERR: err }[name];
          await frontend.command(name, { value: 0n }, { fds: [right] });
          const { written } = await guest.queue(0).exchange([Buffer.from('hello')], [5]);
          assert.equal(Buffer.from(written).toString(), 'hello');
        });
      });

      it(`survives ${name} with a ${kind} before the ring starts`, async () => {
        await served.session(async (frontend, keep) => {
          await frontend.negotiate();
          const guest = keep(await frontend.bringUp());
          await guest.stopQueue(0);
          const { fd } = keep(openKind(kind));
          await frontend.ack(name, { value: 0n }, { fds: [fd] });
          if (name !== 'SET_VRING_KICK') {
            const { kick } = guest.queue(0).raw.peerFds;
            await frontend.command('SET_VRING_KICK', { value: 0n }, { fds: [kick] });
          }
          await guest.stopQueue(0);
          await guest.startQueue(0, guest.queue(0).raw.ring.inFlight);
          const { written } = await guest.queue(0).exchange([Buffer.from('hello')], [5]);
          assert.equal(Buffer.from(written).toString(), 'hello');
        });
      });
    }
  }

  for (const name of ['ADD_MEM_REG', 'SET_MEM_TABLE'] as const) {
    for (const kind of ['socket', '/dev/null', 'directory', 'pipe, read end', 'regular file']) {
      it(`refuses ${name} with a ${kind}`, async () => {
        const { refused } = await served.session(async (frontend, keep) => {
          await frontend.negotiate();
          const { fd } = keep(openKind(kind));
          const values = name === 'ADD_MEM_REG' ? REGION : { regions: [REGION] };
          assert.notEqual(await frontend.ack(name, values, { fds: [fd] }), 0n);
        });
        assert.deepEqual(codesOf(refused), ['ERR_VHU_MEMORY_MAP']);
      });
    }
  }

  for (const kind of ['regular file', '/dev/null', 'directory', 'pipe, read end']) {
    it(`refuses SET_BACKEND_REQ_FD with a ${kind}`, async () => {
      const { refused } = await served.session(async (frontend, keep) => {
        await frontend.negotiate();
        const { fd } = keep(openKind(kind));
        assert.notEqual(await frontend.ack('SET_BACKEND_REQ_FD', {}, { fds: [fd] }), 0n);
      });
      assert.deepEqual(codesOf(refused), ['ERR_VHU_FD_KIND']);
    });
  }

  it('closes the socket of SET_BACKEND_REQ_FD when another takes its place', async () => {
    const { refused } = await served.session(async (frontend, keep) => {
      await frontend.negotiate();
      const first = keep(await frontend.openBackendChannel());
      const second = keep(await frontend.openBackendChannel());
      await first.expectClosed();
      served.device.configChanged();
      assert.equal((await second.receive()).request, 2);
    });
    assert.deepEqual(refused, []);
  });

  it('survives a SET_BACKEND_REQ_FD whose other end is closed, and its use', async () => {
    await served.session(async (frontend) => {
      await frontend.negotiate();
      const [own, peer] = socketPair();
      closeFd(own);
      await frontend.ack('SET_BACKEND_REQ_FD', {}, { fds: [peer] });
      closeFd(peer);
      served.device.configChanged();
      await frontend.askNumber('GET_FEATURES');
      served.device.configChanged();
    });
  });
});

describe('a session and the fds that it keeps', () => {
  const noProc = existsSync('/proc/self/fdinfo') ? false : 'only Linux shows the flags of fds';
  it('has none that a child process would inherit', { skip: noProc }, async () => {
    await served.session(async (frontend, keep) => {
      const before = inheritableFds();
      const guest = keep(await frontend.bringUp());
      keep(await frontend.openBackendChannel());
      await guest.queue(0).exchange([Buffer.from('x')], [1]);
      assert.deepEqual(inheritableFds(), before, 'none but those that this process was given');
    });
  });
});

/** The fds without close-on-exec. */
function inheritableFds(): string[] {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      const flags = /flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'));
      return (parseInt(flags?.[1] ?? '', 8) & 0o2000000) === 0;
    } catch {
      return false; // it was that of the listing itself
    }
  });
}
