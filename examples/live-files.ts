/**
 * A file system of one's own, in which a file is a function: `node examples/live-files.ts
 * /tmp/live.sock`, and in the guest `mount -t virtiofs live /mnt; cat /mnt/now`.
 *
 * @module
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { freemem, hostname, uptime } from 'node:os';
import { openFs, startBackend } from 'vhost-user';
import type { FileSystem } from 'vhost-user';

type Content = string | Uint8Array;
type Node = { readonly [name: string]: Node } | (() => Content | Promise<Content>);

const root: Node = {
  now: () => `${new Date().toISOString()}\n`,
  random: () => randomBytes(1024),
  hosts: () => readFile('/etc/hosts'), // a promise; what it throws, the guest gets
  host: {
    name: () => `${hostname()}\n`,
    uptime: () => `${uptime()}\n`,
    memory: () => JSON.stringify({ freeBytes: freemem(), process: process.memoryUsage() }),
  },
};

const files: FileSystem<Node> = {
  root,
  validMs: 0, // everything is always new
  stat: (node) => ({ kind: typeof node === 'function' ? 'file' : 'directory' }),
  list: (node) => Object.entries(node),
  readFile: (node) => (typeof node === 'function' ? node() : ''),
};

const live = openFs({ tag: 'live', source: { kind: 'file-system', fileSystem: files } });
const path = process.argv[2] ?? '/tmp/live.sock';
const backend = await startBackend(live, { kind: 'listen', path });
process.once('SIGTERM', () => void backend.close());
