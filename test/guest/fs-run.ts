/**
 * One guest that builds, clones, unpacks and keeps data bases in a shared folder, in one setting;
 * the folder is then compared from the host's side with what the guest says.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { TestProgram } from '../peers/process.ts';
import { descriptorKinds, fsReference, startFsServer, stopServer } from '../peers/servers.ts';
import type { FsServerOptions } from '../peers/servers.ts';
import type { Peers, Qemu } from '../peers/setup.ts';
import { verifyManifest, writeMany, writeProject } from './fs-host.ts';
import * as scripts from './fs-scripts.ts';
import { runGuestOrThrow } from './qemu.ts';

const TIMEOUT_MS = 1_500_000; // some 3 minutes on an idle machine

/** One way to put a VMM and our device together, and how much is then done. */
export interface FsSetting {
  readonly name: string;
  readonly qemu: (peers: Peers) => Qemu;
  readonly memory: 'memfd' | 'shm';
  readonly cache: 'never' | 'auto' | 'always';
  readonly writeback?: boolean;
  readonly host?: 'posix';
  readonly pipes?: boolean;
  /** Everything is done, and much of it; without it less, and no project is built. */
  readonly heavy?: boolean;
  /** Names in a folder that the host fills, and in one that the guest fills. */
  readonly hostNames: number;
  readonly guestNames: number;
}

/** Runs the guest of a setting and compares; the test ends with a server that ended well. */
export async function useFolder(
  context: TestContext,
  peers: Peers,
  setting: FsSetting,
): Promise<void> {
  const folder = mkdtempSync('/tmp/vhost-user-fs-guest-'); // what QEMU 11 sees is /tmp
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const share = join(folder, 'share');
  mkdirSync(share);
  const programSum = writeProject(join(share, 'test/project'));
  const { hostNames, guestNames } = setting;
  writeMany(join(share, 'many-host'), hostNames);

  const socketPath = join(folder, 'fs.sock');
  const server = await startFsServer(serverOptions(peers, setting, share, socketPath));
  context.after(() => server.stop('SIGKILL'));
  const idle = descriptorKinds(server.pid);
  let busy = idle;
  const guest = await runGuestOrThrow({
    peers,
    qemu: setting.qemu(peers),
    folder,
    tools: true,
    memoryMb: 1_024,
    shares: [{ socketPath, tag: scripts.TAG }],
    script: guestScript(setting, programSum),
    memory: setting.memory,
    pipes: setting.pipes === true,
    timeoutMs: TIMEOUT_MS,
    onLine: (line) => {
      if (line === '@mounted=yes') busy = descriptorKinds(server.pid);
    },
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}\nThe server:\n${server.output}`, { cause: error });
  });
  for (const [name, text] of guest.values) {
    if (name.startsWith('took.')) context.diagnostic(`${name.slice(5)}: ${text} s`);
  }
  context.diagnostic(`${guest.seconds.toFixed(1)} s in all`);

  if (!fsReference) expectNotifiers(idle, busy, setting.pipes === true);
  await endServer(server);
  context.diagnostic(`${verifyManifest(share)} entries compared`);
  const left = readdirSync(join(share, 'many-host'));
  assert.equal(left.length, hostNames - Math.ceil(hostNames / 50));
  const made = readdirSync(join(share, 'many-guest'));
  assert.equal(made.length, guestNames / 2);
  assert.ok(made.every((name) => Number(name.slice(6)) % 2 === 1));
}

/** What our server, or the reference, can do in a setting. */
function abilitiesOf(setting: FsSetting): scripts.Abilities {
  const linux = fsReference || setting.host !== 'posix';
  return {
    mmap: setting.cache !== 'never',
    xattr: linux,
    killpriv: !(fsReference && setting.cache === 'never'), // virtiofsd has it off by default
    busy: !fsReference, // virtiofsd has ATOMIC_O_TRUNC
    linux,
  };
}

function guestScript(setting: FsSetting, programSum: number): string {
  const able = abilitiesOf(setting);
  const heavy = setting.heavy === true;
  return [
    scripts.start(),
    scripts.posix(able),
    scripts.git(),
    ...(heavy ? [scripts.buildProject(programSum)] : []),
    scripts.tar(heavy ? 'linux' : 'asm-generic'),
    scripts.fsx(heavy ? 20_000 : 2_000, able),
    scripts.sqlite(heavy ? 100 : 20, able),
    scripts.listMany(setting.hostNames),
    scripts.makeMany(setting.guestNames),
    scripts.manifest(setting.writeback),
  ].join('');
}

function serverOptions(
  peers: Peers,
  setting: FsSetting,
  sharedDir: string,
  socketPath: string,
): FsServerOptions {
  return {
    peers,
    sharedDir,
    socketPath,
    tag: scripts.TAG,
    cache: setting.cache,
    writeback: setting.writeback === true,
    xattr: abilitiesOf(setting).xattr,
    ...(setting.host && { host: setting.host }),
  };
}

/** virtiofsd ends with its VMM; ours goes on until it is told to end. */
async function endServer(server: TestProgram): Promise<void> {
  if (fsReference) await server.ended;
  else await stopServer(server);
}

/** QEMU's kicks and calls came as what the setting says: two queues, so two of each. */
function expectNotifiers(
  idle: ReadonlyMap<string, number>,
  busy: ReadonlyMap<string, number>,
  pipes: boolean,
): void {
  const more = (kind: string): number => (busy.get(kind) ?? 0) - (idle.get(kind) ?? 0);
  const [used, unused] = pipes ? ['pipe', 'eventfd'] : ['eventfd', 'pipe'];
  assert.ok(more(used) >= 4, `${more(used)} more of ${used}, ${more(unused)} more of ${unused}`);
}
