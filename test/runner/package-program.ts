/**
 * The program of the installed package: bundled, unlike the one that all other tests run. Each
 * device is served in its sandbox and used by the package's own front-ends, so that every file that
 * is loaded by its path has been loaded, and each command has answered.
 *
 * @module
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { peerCache } from '../peers/setup.ts';
import { checkCommand, runCommand } from './command.ts';
import type { CommandOptions } from './command.ts';
import type { Check } from './outcome.ts';

const LIMIT_MS = 240_000;

/** What every part has before it: a device is served, used and ended. */
const SERVING = `
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { BlkClient, ConsoleClient, FsClient, RngClient, VsockClient } from 'vhost-user/frontend';
const [folder, ...runtime] = process.argv.slice(2);
const place = (name) => folder + '/' + name;
async function serve(words, use, sockets = []) {
  const own = sockets.length > 0 ? [] : ['--socket-path', place('s')];
  const [file, ...before] = [...runtime, 'node_modules/.bin/vhost-user'];
  const child = spawn(file, [...before, ...words, ...own], {
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text) => (log += text));
  const ended = once(child, 'exit');
  let isOver = false;
  ended.then(() => (isOver = true));
  while (!/"event":"sandbox"/.test(log)) {
    assert.ok(!isOver, words.join(' ') + ' ended: ' + log);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.doesNotMatch(log, /sandbox: none|; not Landlock of/);
  if (!/bun$/.test(runtime[0])) assert.doesNotMatch(log, /known for Node only/);
  await use(...(sockets.length > 0 ? sockets : [place('s')]));
  child.kill('SIGTERM');
  assert.deepEqual(await ended, [0, null], log);
}
async function received(stream, length) {
  let text = '';
  for await (const chunk of stream) if ((text += chunk).length >= length) return text;
  return text;
}
writeFileSync(place('hello.txt'), 'hello');
writeFileSync(place('disk.img'), '');
truncateSync(place('disk.img'), 1 << 20);
const useDisk = async (socket) => {
  const disk = await BlkClient.connect(socket);
  await disk.write(4096, Buffer.alloc(4096, 7));
  const back = new Uint8Array(4096);
  await disk.read(4096, back);
  await disk.close();
  assert.deepEqual(back, new Uint8Array(4096).fill(7));
};
const useFolder = async (socket) => {
  const share = await FsClient.mount(socket);
  assert.equal(await share.readFile('/hello.txt', 'utf8'), 'hello');
  await share.unmount();
};
const useRandom = async (socket) => {
  const rng = await RngClient.connect(socket);
  assert.equal((await rng.read(32)).length, 32);
  await rng.close();
};
`;

const DEVICES: Readonly<Record<string, string>> = {
  'blk, a disk': `await serve(['blk', place('disk.img')], useDisk);`,
  'fs, a folder': `await serve(['fs', '--shared-dir', folder], useFolder);`,
  'fs, in memory': `
    await serve(['fs', '--memory', '--preload', place('hello.txt.tar')], useFolder);`,
  'fs, an archive': `await serve(['fs', '--archive', place('hello.txt.tar')], useFolder);`,
  'rng, random bytes': `await serve(['rng'], useRandom);`,
  'vsock, a guest that calls its host': `
    const server = createServer((socket) => socket.pipe(socket)).listen(place('v_5000'));
    await serve(['vsock', '--guest-cid', '7', '--uds-path', place('v')], async (path) => {
      const guest = await VsockClient.connect(path);
      const socket = await guest.dial(5000);
      socket.write('echo');
      assert.equal(await received(socket, 4), 'echo');
      await guest.close();
    });
    server.close();`,
  'console, both ways': `
    await serve(['console', '--unix', place('c')], async (path) => {
      const client = await ConsoleClient.connect(path);
      const port = await client.port(0);
      const end = connect(place('c'));
      end.write('typed');
      assert.equal(await received(port, 5), 'typed');
      await client.close();
      end.destroy();
    });`,
  'run, three devices of a file': `
    const devices = [
      { type: 'blk', image: place('disk.img') },
      { type: 'rng' },
      { type: 'fs', 'shared-dir': folder },
    ].map((each, i) => ({ ...each, 'socket-path': place('r' + i) }));
    writeFileSync(place('vms.yaml'), JSON.stringify({ devices })); // which is YAML, too
    await serve(['run', place('vms.yaml')], async (disk, random, share) => {
      await useDisk(disk);
      await useRandom(random);
      await useFolder(share);
    }, [place('r0'), place('r1'), place('r2')]);`,
};

/** Words of a command, and what its answer holds. */
const ANSWERS: readonly (readonly [words: string, answer: RegExp])[] = [
  ['--help', /For your system:/],
  ['blk --help', /qemu-system|vhost-user-blk/],
  ['help fs', /--shared-dir/],
  ['completion bash', /complete /],
  ['man', /\.TH /],
  ['description blk', /"type"/],
  ['run --print-schema', /"\$schema"/],
  ['doctor --json', /"id": "koffi",[^}]*"status": "works"/],
  ['qemu --blk hello.img --print --for libvirt', /<domain/],
];

/** Checks the program that is installed in `app`; sockets are made in `folder`. */
export async function checkProgram(
  app: string,
  folder: string,
  report: (check: Check) => void,
): Promise<void> {
  const options: CommandOptions = { cwd: app, limitMs: LIMIT_MS };
  writeFileSync(join(folder, 'hello.txt'), 'hello');
  await runCommand(
    ['tar', '-C', folder, '-cf', join(folder, 'hello.txt.tar'), 'hello.txt'],
    options,
  );
  for (const [name, text] of Object.entries(DEVICES)) {
    writeFileSync(join(app, 'program.js'), SERVING + text);
    const command = [process.execPath, 'program.js', folder];
    report(await checkCommand(`the installed program: ${name}`, command, options));
  }
  await checkRuntimes(app, folder, options, report);
  for (const [words, answer] of ANSWERS) {
    const name = `the installed program answers: ${words}`;
    const command = ['node_modules/.bin/vhost-user', ...words.split(' ')];
    const { output, end } = await runCommand(command, options);
    if (answer.test(output)) report({ name, status: 'passed' });
    else report({ name, status: 'failed', detail: `${end}\n${output}` });
  }
}

/** Other runtimes, in the cache of the peers; the front-ends go on running on this one. */
const RUNTIMES: readonly string[] = ['22', '24', '26', 'bun'];

/** Every device by the program on other versions of Node and on Bun; and how Deno is refused. */
async function checkRuntimes(
  app: string,
  folder: string,
  options: CommandOptions,
  report: (check: Check) => void,
): Promise<void> {
  const path = (name: string): string => join(peerCache(), 'node', name);
  const skipped = (name: string, runtime: string): Check => {
    const detail = `${path(runtime)} is missing: the set-up step fetches it from npm`;
    return { name, status: 'skipped', detail };
  };
  for (const runtime of RUNTIMES) {
    for (const [device, text] of Object.entries(DEVICES)) {
      const name = `the installed program on ${runtime === 'bun' ? 'Bun' : `Node ${runtime}`}`;
      if (!existsSync(path(runtime))) {
        report(skipped(name, runtime));
        break;
      }
      writeFileSync(join(app, 'program.js'), SERVING + text);
      const command = [process.execPath, 'program.js', folder, path(runtime)];
      report(await checkCommand(`${name}: ${device}`, command, options));
    }
  }
  const name = 'the installed program on Deno, which is refused';
  if (!existsSync(path('deno'))) report(skipped(name, 'deno'));
  else report(await checkRefusal(name, [path('deno'), 'run', '-A'], options));
}

async function checkRefusal(
  name: string,
  runtime: readonly string[],
  options: CommandOptions,
): Promise<Check> {
  const command = [...runtime, 'node_modules/.bin/vhost-user', 'rng', '--socket-path', 'refused'];
  const { code, output, end } = await runCommand(command, options);
  const isRefused = code !== 0 && /Deno \S+ cannot serve devices.*use Node or Bun/.test(output);
  return isRefused
    ? { name, status: 'passed' }
    : { name, status: 'failed', detail: `${end}\n${output}` };
}
