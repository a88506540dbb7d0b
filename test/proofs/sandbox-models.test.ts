/**
 * The sandboxes of OpenBSD, FreeBSD and macOS on models of those kernels: each rule of a model,
 * devices that serve a front-end inside, and ways out that are shut to them.
 *
 * @module
 */
import '../support/posix-front-end.ts';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, createConnection } from 'node:net';
import type { Server } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import {
  BlkClient,
  ConsoleClient,
  FsClient,
  RngClient,
  VsockClient,
} from '../../src/frontend/index.ts';
import {
  PLAYED_HOSTS,
  builtFile,
  compileModel,
  modelEnvironment,
  whyNoModels,
} from '../hosts/model.ts';
import type { PlayedHost } from '../hosts/model.ts';
import { SANDBOX_RULES } from '../hosts/rules-sandbox.ts';
import { RunningProgram } from '../support/program.ts';
import { tellProof } from '../support/proof.ts';

const SANDBOX: Readonly<Record<PlayedHost, string>> = {
  openbsd: 'pledge, unveil',
  freebsd: 'Capsicum',
  darwin: 'Seatbelt',
};
const BREAKER = builtFile('test/hosts/model-breaker.ts');

let folder = '';
let listening: Server;
const libraries = new Map<PlayedHost, string>();

/** A device, and a session that uses it. */
interface Device {
  readonly args: () => readonly string[];
  readonly use: (socket: string) => Promise<void>;
}

const DEVICES: Readonly<Record<string, Device>> = {
  blk: {
    args: () => ['blk', join(folder, 'disk.img')],
    use: async (socket) => {
      const disk = await BlkClient.connect(socket);
      await disk.write(0, new Uint8Array(512).fill(7));
      await disk.flush();
      const back = new Uint8Array(512);
      await disk.read(0, back);
      await disk.close();
      assert.equal(back[511], 7);
    },
  },
  fs: {
    args: () => ['fs', join(folder, 'share')],
    use: async (socket) => {
      const fs = await FsClient.mount(socket);
      await fs.mkdir('/new');
      await fs.writeFile('/new/file', 'hello');
      await fs.rename('/new/file', '/new/other');
      assert.equal(String(await fs.readFile('/new/other')), 'hello');
      await fs.rm('/new', { recursive: true });
      await fs.unmount();
    },
  },
  console: {
    args: () => ['console', '--pty'],
    use: async (socket) => {
      const client = await ConsoleClient.connect(socket);
      const port = await client.port(0);
      await new Promise((resolve) => port.write('login: ', resolve));
      await client.close();
    },
  },
  vsock: {
    args: () => ['vsock', '--listen', `unix:${join(folder, 'run/host')}=guest:1234`],
    use: async (socket) => {
      const guest = await VsockClient.connect(socket);
      guest.listen(1234, (connection) => connection.pipe(connection));
      const host = createConnection(join(folder, 'run/host'));
      host.write('hello');
      const [answer] = await once(host);
      host.destroy();
      await guest.close();
      assert.equal(String(answer), 'hello');
    },
  },
  rng: {
    args: () => ['rng'],
    use: async (socket) => {
      const rng = await RngClient.connect(socket);
      assert.equal((await rng.read(32)).length, 32);
      await rng.close();
    },
  },
};

async function once(socket: ReturnType<typeof createConnection>): Promise<Buffer[]> {
  return await new Promise((resolve, reject) => {
    socket.once('data', (data: Buffer) => resolve([data])).once('error', reject);
  });
}

function environment(
  os: PlayedHost,
  env: Readonly<Record<string, string>> = {},
): NodeJS.ProcessEnv {
  const outside = join(folder, 'outside');
  return modelEnvironment({
    os,
    library: libraries.get(os) ?? '',
    preload: true,
    env: { VHU_BREAKER_OUTSIDE: outside, ...env },
  });
}

/** Serves a device on a model, with a socket of its own, until `use` is done. */
async function serve(
  os: PlayedHost,
  args: readonly string[],
  use: (socket: string, program: RunningProgram) => Promise<void>,
  env: Readonly<Record<string, string>> = {},
): Promise<RunningProgram> {
  const socket = join(folder, 'run', `${os}.sock`);
  rmSync(socket, { force: true });
  const program = new RunningProgram([...args, '--socket-path', socket], {
    file: BREAKER,
    env: environment(os, env),
  });
  try {
    await program.says(/"event":"(sandbox|listening)"/);
    await use(socket, program);
  } finally {
    program.child.kill('SIGTERM');
    await program.ended;
  }
  assert.equal((await program.ended).code, 0, program.stderr);
  return program;
}

async function breakOut(program: RunningProgram): Promise<Record<string, string>> {
  program.child.kill('SIGUSR2');
  const [, report = ''] = await program.says(/^BREAKER (.*)\n/m);
  return JSON.parse(report) as Record<string, string>;
}

/** What comes of breaking a rule in a process of its own. */
function tryRule(os: PlayedHost, name: string, without: string): string {
  const rules = JSON.stringify(builtFile('test/hosts/rules-sandbox.ts'));
  const code = `const { tryRule } = await import(${rules}); tryRule(${JSON.stringify(name)});`;
  const { stdout, stderr, signal } = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', code],
    { env: environment(os, { VHU_MODEL_WITHOUT: without }), encoding: 'utf8', timeout: 60_000 },
  );
  return stdout === '' ? (signal === 'SIGABRT' ? signal : `${String(signal)} ${stderr}`) : stdout;
}

describe(
  'the sandboxes of other systems, on models of their kernels',
  { skip: whyNoModels() },
  () => {
    before(() => {
      // Not below /tmp, which stays open on OpenBSD: shared memory is a file there.
      folder = mkdtempSync('/var/tmp/vhu-sbx-');
      for (const os of PLAYED_HOSTS) libraries.set(os, compileModel(folder, os));
      for (const name of ['share', 'run', 'outside']) mkdirSync(join(folder, name));
      writeFileSync(join(folder, 'disk.img'), '');
      truncateSync(join(folder, 'disk.img'), 1 << 20);
      listening = createServer().listen(join(folder, 'outside/listening'));
    });
    after(() => {
      listening.close();
      rmSync(folder, { recursive: true });
    });

    it('leave room on the smallest stacks that Node gives to threads of its own', () => {
      for (const os of PLAYED_HOSTS) {
        const options = { env: environment(os), encoding: 'utf8' } as const;
        const { status, stderr } = spawnSync(process.execPath, ['-e', ''], options);
        // It goes on without such a thread, and says so: pthread_create: Invalid argument.
        assert.equal(stderr, '', os);
        assert.equal(status, 0, os);
      }
    });

    it('have rules that are enforced, and no longer when they are switched off', (context) => {
      for (const { os, name, expected } of SANDBOX_RULES) {
        assert.equal(tryRule(os, name, 'none'), expected, `${os}: ${name}`);
        assert.notEqual(tryRule(os, name, name), expected, `${os}: without ${name}`);
      }
      const count = String(SANDBOX_RULES.length);
      tellProof(
        context,
        `sandbox models: ${count} rules of 3 kernels, each punished and switched off`,
      );
    });

    it('let every device serve a front-end, and shut every way out', async (context) => {
      let shut = 0;
      for (const os of PLAYED_HOSTS) {
        for (const [name, { args, use }] of Object.entries(DEVICES)) {
          const sandboxed = [...args(), '--sandbox', 'required'];
          await serve(os, sandboxed, async (socket, program) => {
            await program.says(/"event":"sandbox"/);
            assert.match(program.stderr, new RegExp(`sandbox: ${SANDBOX[os]}"`), `${os} ${name}`);
            writeFileSync(join(folder, 'outside/there'), 'secret');
            const report = await breakOut(program);
            for (const [way, result] of Object.entries(report)) {
              assert.match(result, /^shut: /, `${os} ${name}: ${way}`);
              shut++;
            }
            assert.ok(existsSync(join(folder, 'outside/there')));
            await use(socket);
            await use(socket); // a front-end that comes later
          });
        }
      }
      const devices = String(Object.keys(DEVICES).length);
      tellProof(
        context,
        `sandbox models: ${devices} devices served on 3 kernels, all ${String(shut)} ways out shut`,
      );
    });

    it('are what shuts these ways: without one they are open', async () => {
      for (const os of PLAYED_HOSTS) {
        rmSync(join(folder, 'outside/renamed'), { force: true });
        writeFileSync(join(folder, 'outside/there'), 'secret');
        await serve(os, ['rng', '--sandbox', 'none'], async (_, program) => {
          const report = await breakOut(program);
          const open = Object.entries(report).filter(([, result]) => result === 'ok');
          // What was removed cannot be renamed.
          assert.equal(open.length, Object.keys(report).length - 1, JSON.stringify(report));
        });
        rmSync(join(folder, 'outside/bound'), { force: true });
      }
    });

    it('say on FreeBSD what a device needs that capability mode has not', async () => {
      const socket = join(folder, 'run/no.sock');
      const args = ['vsock', '--uds-path', join(folder, 'run/v'), '--socket-path', socket];
      const required = new RunningProgram([...args, '--sandbox', 'required'], {
        env: environment('freebsd'),
      });
      const { code, stderr } = await required.ended;
      assert.notEqual(code, 0);
      assert.match(stderr, /required.*Capsicum: Unix sockets are connected to by their paths/);
      const auto = [...args.slice(0, 3), '--sandbox', 'auto'];
      const program = await serve('freebsd', auto, async (_, running) => {
        await running.says(/"event":"sandbox"/);
      });
      assert.match(program.stderr, /sandbox: none; not Capsicum: Unix sockets are connected/);
    });
  },
);
