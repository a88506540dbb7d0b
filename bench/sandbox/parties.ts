/**
 * The servers that are compared, each with a client of our own front-end, which polls; one file a
 * device would be three times the same.
 *
 * @module
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { errorMessage } from '../../src/util/index.ts';
import type { DuelClient } from '../duel.ts';
import { PollingClient } from '../load.ts';
import { allCells } from '../plan.ts';
import { processError } from '../process.ts';
import { Server, ourPlan } from '../server.ts';
import type { ServerPlan } from '../server.ts';
import { ourEntry } from '../site.ts';
import { FsLoadClient } from '../fs/load.ts';
import { hostCells } from '../fs/plan.ts';
import { ourFsPlan } from '../fs/servers.ts';
import { openVsockClient } from '../vsock/load.ts';
import { rowName, vsockRows } from '../vsock/plan.ts';
import type { VsockRow } from '../vsock/plan.ts';
import { ourVsockPlan } from '../vsock/servers.ts';

/** Devices that are measured. */
export const DEVICES = ['blk', 'fs', 'vsock'] as const;
/** One of them. */
export type Device = (typeof DEVICES)[number];

/** What a run came to. */
export interface RunResult {
  readonly operations: number;
  readonly seconds: number;
  /** Microseconds of an operation, the middle one; null or 0 when the client has none. */
  readonly p50Us: number | null;
}

interface Closable {
  close(): Promise<void>;
}

/** One line of the table, and how a client does it. */
export interface Row {
  readonly name: string;
  /** Clients of rows with the same key are one client: it stays connected. */
  readonly clientKey: string;
  /** Connects. */
  readonly open: (plan: ServerPlan) => Promise<unknown>;
  readonly run: (client: unknown, seconds: number) => Promise<RunResult>;
}

/** Where it all is. */
export interface SandboxSite {
  readonly folder: string;
  readonly image: string;
  readonly shared: string;
}

/** Our server as it is started in this or that sandbox; `name` tells its sockets from others'. */
export function planOf(
  device: Device,
  site: SandboxSite,
  name: string,
  sandbox: 'auto' | 'none',
): ServerPlan {
  const folder = `${site.folder}/${name}`;
  mkdirSync(folder, { recursive: true });
  const options = { entry: ourEntry(), nodeArgs: [], extraArgs: ['--sandbox', sandbox] };
  const place = { ...site, folder, peerRoot: '' };
  switch (device) {
    case 'blk':
      return ourPlan('native', place, options);
    case 'fs':
      return ourFsPlan('auto', place, { ...options, posix: false });
    case 'vsock':
      return ourVsockPlan(place, { ...options, posix: false });
  }
}

/** Starts a server, and makes sure that it is where the comparison wants it. */
export async function startServer(plan: ServerPlan, sandbox: 'auto' | 'none'): Promise<Server> {
  const server = await Server.start(plan);
  const filters = Number(/^Seccomp:\s*(\d)/m.exec(statusOf(server.pid))?.[1]);
  if (filters > 0 === (sandbox === 'auto')) return server;
  await server.stop();
  throw processError(`${plan.name} with --sandbox ${sandbox}: seccomp is ${String(filters)}`);
}

function statusOf(pid: number): string {
  return readFileSync(`/proc/${String(pid)}/status`, 'utf8');
}

/** What is measured of a device. */
export function rowsOf(device: Device): Row[] {
  if (device === 'blk') return blkRows();
  return device === 'fs' ? fsRows() : vsockRowsOfHost();
}

function blkRows(): Row[] {
  const cells = allCells().filter(({ mode, client }) => mode === 'native' && client === 'polling');
  return cells.map(({ op, blockBytes, depth }) => ({
    name: `${op}${sizeText(blockBytes)}, depth ${String(depth)}`,
    clientKey: '',
    open: ({ socketPath }) => PollingClient.open(socketPath),
    run: async (client, seconds) => {
      const load = { op, blockBytes, depth };
      const result = await (client as PollingClient).run(load, seconds);
      const { requests, seconds: taken, latencyUs } = result;
      return { operations: requests, seconds: taken, p50Us: latencyUs?.p50 ?? null };
    },
  }));
}

function fsRows(): Row[] {
  const cells = hostCells().filter(({ cache }) => cache === 'auto');
  return cells.map(({ name, op, order, blockBytes, depth }) => ({
    name: `${name}${sizeText(blockBytes)}, depth ${String(depth)}`,
    clientKey: '',
    open: ({ socketPath }) => FsLoadClient.open(socketPath),
    run: async (client, seconds) => {
      const fs = client as FsLoadClient;
      const load = { op, order, blockBytes, depth };
      await fs.prepare(load);
      const result = await fs.run(load, seconds);
      await fs.finish(load);
      return result;
    },
  }));
}

function vsockRowsOfHost(): Row[] {
  return vsockRows()
    .filter(({ place }) => place === 'host')
    .map((row) => ({
      name: `${rowName(row)}${sizeText(row.blockBytes)}`,
      clientKey: String(row.bufferBytes),
      open: (plan) => {
        const { socketPath, udsPath } = plan as ReturnType<typeof ourVsockPlan>;
        return openVsockClient(socketPath, udsPath, row.bufferBytes);
      },
      run: (client, seconds) => (client as DuelClient<VsockRow>).run(row, seconds),
    }));
}

/** 0 where bytes are not the point. */
function sizeText(bytes: number): string {
  return bytes === 0 ? '' : `, ${String(bytes / 1024)} KiB`;
}

/** A server with the client that it has just now. */
export class Party {
  readonly server: Server;
  #client: { readonly key: string; readonly of: Closable } | null = null;

  constructor(server: Server) {
    this.server = server;
  }

  /** One run of a row. */
  async run(row: Row, seconds: number): Promise<RunResult> {
    try {
      let client = this.#client;
      if (client?.key !== row.clientKey) {
        await this.#closeClient();
        client = { key: row.clientKey, of: (await row.open(this.server.plan)) as Closable };
        this.#client = client;
      }
      return await row.run(client.of, seconds);
    } catch (error) {
      throw processError(`${row.name}: ${errorMessage(error)}\n${this.server.logTail}`);
    }
  }

  async close(): Promise<void> {
    await this.#closeClient();
    await this.server.stop();
  }

  async #closeClient(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    await client?.of.close();
  }
}
