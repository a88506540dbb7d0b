/**
 * Tests of `vhost-user vsock` while it serves: our own front-end plays the guests, and programs of
 * the host are met by each way that there is.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { after, before, beforeEach, test } from 'node:test';
import type { TestContext } from 'node:test';
import { VsockClient } from '../../src/frontend/index.ts';
import { closeFd, listenUnix } from '../../src/sys/index.ts';
import { VsockHost } from '../../src/vsock/index.ts';
import { PROGRAM_FILE, linesOf, withProgram } from '../support/program.ts';

/** How long an end may take on a machine that is busy with other tests. */
const SLOW_MS = 5000;
const LISTENING = /"event":"listening"/;

let folder = '';
let count = 0;
/** Of each test: what the front-end connects to, and what programs do. */
let socketPath = '';
let udsPath = '';

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'vhu-serve-vsock-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));
beforeEach(() => {
  count++;
  socketPath = join(folder, `${count}.sock`);
  udsPath = join(folder, `${count}.vsock`);
});

async function withGuest(path: string, body: (guest: VsockClient) => Promise<void>): Promise<void> {
  const guest = await VsockClient.connect(path);
  try {
    await body(guest);
  } finally {
    await guest.close();
  }
}

/** What the other side says until its end, in capitals. */
async function shout(socket: Duplex): Promise<void> {
  let heard = '';
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) heard += String(chunk);
  socket.end(heard.toUpperCase());
}

function answerBy(socket: Duplex): void {
  socket.on('error', () => undefined); // one that only looks whether somebody listens
  shout(socket).catch(() => socket.destroy());
}

/** Says a word and its end, and returns what comes back. */
async function ask(socket: Duplex, word: string): Promise<string> {
  socket.end(word);
  return await text(socket);
}

/** A program of the host that listens on TCP or a path; returns the port. */
async function listening(context: TestContext, path?: string): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, answerBy);
  server.listen(path ?? { port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  context.after(() => server.close());
  return path === undefined ? (server.address() as AddressInfo).port : 0;
}

/** A TCP port that nobody listens on. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

test('programs of both sides connect by a Unix socket, and a signal ends it fast', async () => {
  const args = ['vsock', '--guest-cid', '4', '--socket-path', socketPath, '--uds-path', udsPath];
  await withProgram(args, {}, async (program) => {
    await program.says(LISTENING);
    const host = new VsockHost(udsPath);
    await withGuest(socketPath, async (guest) => {
      assert.equal(guest.guestCid, 4);
      guest.listen(22, answerBy);
      assert.equal(await ask(await host.connect(22), 'to the guest'), 'TO THE GUEST');
      const server = await host.listen(1234, answerBy, { allowHalfOpen: true });
      assert.equal(await ask(await guest.dial(1234), 'to the host'), 'TO THE HOST');
      server.close();
    });
    await program.says(/"event":"disconnected"/);
    const { code, ms, stderr, stdout } = await program.end();
    assert.equal(code, 0);
    assert.equal(stdout, '');
    assert.ok(ms < SLOW_MS, `${ms} ms`);
    assert.ok(!existsSync(socketPath) && !existsSync(udsPath), 'the sockets are removed');
    const lines = linesOf(stderr);
    assert.deepEqual(
      lines.map(({ event }) => event),
      ['listening', 'sandbox', 'connected', 'disconnected', 'ending'],
    );
    assert.equal(lines[0]?.msg, `listening on ${socketPath}: guest CID 4, ${udsPath}`);
  });
});

test('a closed port is refused at once, on both sides, and so is a guest that is not there', async () => {
  const args = ['vsock', '--socket', socketPath, '--uds-path', udsPath];
  await withProgram(args, {}, async (program) => {
    await program.says(LISTENING);
    const host = new VsockHost(udsPath);
    await assert.rejects(host.connect(22), { code: 'ECONNRESET' });
    await withGuest(socketPath, async (guest) => {
      const begin = performance.now();
      await assert.rejects(host.connect(22), { code: 'ECONNRESET' });
      await assert.rejects(guest.dial(1234), { code: 'ECONNREFUSED' });
      await assert.rejects(guest.dial(1234, { cid: 9 }), { code: 'ECONNREFUSED' });
      assert.ok(performance.now() - begin < SLOW_MS / 2);
    });
    await program.end();
  });
});

test('one guest after the other is served, and programs see when one is gone', async () => {
  const args = ['vsock', '--socket-path', socketPath, '--uds-path', udsPath];
  await withProgram(args, {}, async (program) => {
    await program.says(LISTENING);
    const host = new VsockHost(udsPath);
    for (let round = 0; round < 3; round++) {
      let gone: Promise<unknown> = Promise.resolve();
      await withGuest(socketPath, async (guest) => {
        guest.listen(22, answerBy);
        assert.equal(await ask(await host.connect(22), `guest ${round}`), `GUEST ${round}`);
        const socket = await host.connect(22);
        gone = new Promise((resolve) => socket.once('close', resolve));
        socket.on('error', () => undefined).resume();
      });
      await gone;
    }
    assert.equal((await program.end()).code, 0);
  });
});

test('a program may wait for a guest that is not there yet', async () => {
  const args = ['vsock', '--socket-path', socketPath, '--uds-path', udsPath];
  await withProgram(args, {}, async (program) => {
    const connecting = new VsockHost(udsPath).connect(22, { waitMs: 30_000 });
    await program.says(LISTENING);
    await withGuest(socketPath, async (guest) => {
      guest.listen(22, answerBy);
      assert.equal(await ask(await connecting, 'up'), 'UP');
    });
    await program.end();
  });
});

test('ports of the host that the guest finds: TCP, a Unix socket, and each other port', async (t) => {
  const path = join(folder, `${count}.program`);
  await listening(t, path);
  const tcp = await listening(t);
  const args = [
    ...['vsock', '--socket-path', socketPath, '--forward', 'guest:*=tcp:localhost'],
    ...['--forward', `guest:1=tcp:127.0.0.1:${tcp}`, '--forward', `guest:2=unix:${path}`],
  ];
  await withProgram(args, {}, async (program) => {
    await program.says(/guest CID 3, guest:1=tcp:127\.0\.0\.1:\d+, guest:2=unix:\S+, guest:\*=tcp/);
    await withGuest(socketPath, async (guest) => {
      for (const port of [1, 2, tcp]) {
        assert.equal(await ask(await guest.dial(port), `port ${port}`), `PORT ${port}`);
      }
      await assert.rejects(guest.dial(await freePort()), { code: 'ECONNREFUSED' });
    });
    assert.equal((await program.end()).code, 0);
  });
});

test('ports of the guest that the host finds: TCP and a Unix socket', async () => {
  const path = join(folder, `${count}.guest`);
  const tcp = await freePort();
  const args = [
    ...['vsock', '--socket-path', socketPath, '--listen', `tcp:127.0.0.1:${tcp}=guest:22`],
    ...['--listen', `unix:${path}=guest:80`, '--uds-mode', '600'],
  ];
  await withProgram(args, {}, async (program) => {
    await program.says(LISTENING);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    await withGuest(socketPath, async (guest) => {
      guest.listen(22, answerBy);
      guest.listen(80, answerBy);
      const allowHalfOpen = true;
      for (const address of [{ port: tcp, host: '127.0.0.1' }, { path }]) {
        const socket = connect({ ...address, allowHalfOpen });
        assert.equal(await ask(socket, 'a word'), 'A WORD');
      }
    });
    assert.equal((await program.end()).code, 0);
    assert.ok(!existsSync(path), 'the socket is removed');
  });
});

test('a listener on port 0 takes a free port, and the log says which', async () => {
  const udsPath = join(folder, `${count}.host`);
  const listen = ['--listen', 'tcp:127.0.0.1:0=guest:22', '--listen', 'tcp:127.0.0.1:0=guest:80'];
  const args = ['vsock', '--socket-path', socketPath, '--uds-path', udsPath, ...listen];
  await withProgram(args, {}, async (program) => {
    const { input: text = '' } = await program.says(/^.*"event":"listening".*$/m);
    const [, ssh = 0, web = 0] =
      /tcp:127\.0\.0\.1:(\d+)=guest:22, tcp:127\.0\.0\.1:(\d+)=guest:80/.exec(text) ?? [];
    assert.ok(Number(ssh) > 0 && Number(web) > 0 && ssh !== web, text);
    await withGuest(socketPath, async (guest) => {
      guest.listen(22, answerBy);
      const socket = connect({ port: Number(ssh), host: '127.0.0.1', allowHalfOpen: true });
      assert.equal(await ask(socket, 'a word'), 'A WORD');
    });
  });
});

/** Settings of a guest with its CID in its paths. */
function vm(cid: number, more = ''): string {
  const base = join(folder, `${count}-${cid}`);
  return `guest-cid=${cid},socket=${base}.sock,uds-path=${base}.vsock${more}`;
}

test('guests of one process reach each other by CID, when they share a group', async () => {
  const vms = [vm(3, ',groups=a+b'), vm(4, ',groups=b'), vm(5)];
  const args = ['vsock', ...vms.flatMap((each) => ['--vm', each])];
  await withProgram(args, {}, async (program) => {
    await program.says(/vm3.*listening[^]*vm4.*listening[^]*vm5.*listening|"device":"vm5"/);
    const paths = [3, 4, 5].map((cid) => join(folder, `${count}-${cid}.sock`));
    const guests = await Promise.all(paths.map((path) => VsockClient.connect(path)));
    try {
      const [first, second, third] = guests as [VsockClient, VsockClient, VsockClient];
      for (const guest of guests) guest.listen(7, answerBy);
      assert.equal(await ask(await first.dial(7, { cid: 4 }), 'a to b'), 'A TO B');
      assert.equal(await ask(await second.dial(7, { cid: 3 }), 'b to a'), 'B TO A');
      await assert.rejects(third.dial(7, { cid: 3 }), { code: 'ECONNREFUSED' });
      await assert.rejects(first.dial(7, { cid: 5 }), { code: 'ECONNREFUSED' });
      await assert.rejects(first.dial(8, { cid: 4 }), { code: 'ECONNREFUSED' });
      // Each has its own programs on the host.
      const host = new VsockHost(join(folder, `${count}-5.vsock`));
      assert.equal(await ask(await host.connect(7), 'to the third'), 'TO THE THIRD');
    } finally {
      await Promise.all(guests.map((guest) => guest.close()));
    }
    assert.equal((await program.end()).code, 0);
  });
});

test('under the name of vhost-device-vsock its file is served', async () => {
  const [file, config] = [join(folder, 'vhost-device-vsock'), join(folder, 'vms.yaml')];
  symlinkSync(PROGRAM_FILE, file);
  writeFileSync(
    config,
    `vms:
  - guest_cid: 3
    socket: ${socketPath}
    uds_path: ${udsPath}
    tx_buffer_size: 65536
    queue_size: 1024
    groups: group1+groupA
  - guest_cid: 4
    socket: ${socketPath}.2
    uds_path: ${udsPath}.2
    groups: groupA
`,
  );
  await withProgram(['--config', config], { file }, async (program) => {
    await program.says(/"device":"vm4"[^\n]*"event":"listening"|"event":"listening"[^]*vm4/);
    await withGuest(socketPath, async (first) => {
      await withGuest(`${socketPath}.2`, async (second) => {
        second.listen(7, answerBy);
        assert.equal(await ask(await first.dial(7, { cid: 4 }), 'hello'), 'HELLO');
        const host = new VsockHost(`${udsPath}.2`);
        assert.equal(await ask(await host.connect(7), 'hello'), 'HELLO');
      });
    });
    assert.equal((await program.end()).code, 0);
  });
});

test('a vsock of a configuration file is served beside a disk, by a relative path', async () => {
  writeFileSync(join(folder, 'disk.img'), Buffer.alloc(2 ** 20));
  const config = join(folder, 'vm.yaml');
  writeFileSync(
    config,
    `log-format: text
devices:
  - {type: blk, image: disk.img, socket-path: a.sock}
  - {type: vsock, name: lab, guest-cid: 7, uds-path: lab.vsock, socket-path: b.sock}
`,
  );
  await withProgram(['run', config], {}, async (program) => {
    await program.says(/lab: listening on \S+b\.sock: guest CID 7, \S+lab\.vsock/);
    await withGuest(join(folder, 'b.sock'), async (guest) => {
      assert.equal(guest.guestCid, 7);
      guest.listen(22, answerBy);
      const host = new VsockHost(join(folder, 'lab.vsock'));
      assert.equal(await ask(await host.connect(22), 'hello'), 'HELLO');
    });
    assert.equal((await program.end()).code, 0);
  });
});

test('a socket that the parent process left open is used', async () => {
  const listener = listenUnix(socketPath);
  try {
    const args = ['vsock', '--fd', '3', '--uds-path', udsPath];
    await withProgram(args, { extraFds: [listener] }, async (program) => {
      await program.says(/listening on fd 3: guest CID 3/);
      await withGuest(socketPath, async (guest) => {
        guest.listen(22, answerBy);
        assert.equal(await ask(await new VsockHost(udsPath).connect(22), 'x'), 'X');
      });
      assert.equal((await program.end()).code, 0);
    });
  } finally {
    closeFd(listener);
  }
});

test('vsock-connect joins a pipeline with a program of the guest', async () => {
  const args = ['vsock', '--socket-path', socketPath, '--uds-path', udsPath];
  await withProgram(args, {}, async (program) => {
    await program.says(LISTENING);
    await withGuest(socketPath, async (guest) => {
      guest.listen(22, answerBy);
      const words = [PROGRAM_FILE, 'vsock-connect', udsPath, '22'];
      const child = spawn(process.execPath, words, { stdio: ['pipe', 'pipe', 'inherit'] });
      child.stdin.end('through a pipe\n');
      const ended = once(child, 'exit');
      assert.equal(await text(child.stdout), 'THROUGH A PIPE\n');
      assert.deepEqual(await ended, [0, null]);
    });
    await program.end();
  });
});

test('a place that is taken is named, and nothing is left behind', async (t) => {
  await listening(t, udsPath);
  const args = ['vsock', '--socket-path', socketPath, '--uds-path', udsPath];
  await withProgram(args, {}, async (program) => {
    const { code, stderr } = await program.ended;
    assert.equal(code, 1);
    assert.match(stderr, /\.vsock/);
    assert.match(stderr, /another process is listening there/);
    assert.ok(!existsSync(socketPath));
  });
  const taken = await listening(t);
  const listen = `tcp:127.0.0.1:${taken}=guest:22`;
  await withProgram(['vsock', '--socket', socketPath, '--listen', listen], {}, async (program) => {
    const { code, stderr } = await program.ended;
    assert.equal(code, 1);
    assert.match(
      stderr,
      new RegExp(`127\\.0\\.0\\.1:${taken}.*another program is listening there`),
    );
    assert.ok(!existsSync(socketPath));
  });
});
