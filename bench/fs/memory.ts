/**
 * What the files that a guest knows cost each server: our own front-end looks up a million files of
 * one folder, and forgets none of them. `npm run build:all && node build/bench/fs/memory.js
 * [FILES]`.
 *
 * @module
 */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { FsBench } from '../../src/frontend/index.ts';
import { treeResidentBytes } from '../proc.ts';
import { Server } from '../server.ts';
import type { ServerPlan } from '../server.ts';
import { checkSharedWithPeer, ourEntry, peerCache, positive, withFolder } from '../site.ts';
import { ourFsPlan, peerFsPlan } from './servers.ts';

const FILES = 1_000_000;
const DEPTH = 16;
const MIB = 2 ** 20;

/** A server's memory before and after, in bytes. */
interface Footprint {
  readonly name: string;
  readonly beforeBytes: number;
  readonly afterBytes: number;
}

async function measure(plan: ServerPlan, count: number): Promise<Footprint> {
  const server = await Server.start(plan);
  try {
    const bench = await FsBench.open({ socketPath: plan.socketPath, depthMax: DEPTH });
    try {
      const beforeBytes = treeResidentBytes(server.pid);
      const { errors } = bench.run({
        ...{ op: 'lookup', path: 'many', count, depth: DEPTH, operations: count },
      });
      if (errors > 0) throw new Error(`${plan.name}: ${errors} lookups failed`);
      const afterBytes = treeResidentBytes(server.pid);
      return { name: plan.name, beforeBytes, afterBytes };
    } finally {
      await bench.close();
    }
  } finally {
    await server.stop();
  }
}

await withFolder(async (folder) => {
  const count = positive(process.argv[2], 'FILES') ?? FILES;
  const peerRoot = `${peerCache()}/forky`;
  checkSharedWithPeer(peerRoot, folder);
  const shared = `${folder}/share`;
  mkdirSync(`${shared}/many`, { recursive: true });
  for (let i = 0; i < count; i++) closeSync(openSync(`${shared}/many/f${i}`, 'w'));
  const site = { folder, shared, peerRoot };
  const ours = { entry: ourEntry(), extraArgs: [], nodeArgs: [], posix: false };
  for (const plan of [ourFsPlan('auto', site, ours), peerFsPlan('auto', site)]) {
    const { name, beforeBytes, afterBytes } = await measure(plan, count);
    const mib = (bytes: number): string => (bytes / MIB).toFixed(0);
    process.stdout.write(
      `${name}: ${mib(beforeBytes)} MiB, then ${mib(afterBytes)} MiB with ${count} files known: ` +
        `${((afterBytes - beforeBytes) / count).toFixed(0)} bytes each\n`,
    );
  }
});
