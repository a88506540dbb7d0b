/**
 * Prints the first sector of a vhost-user block device: `node examples/read-disk.ts
 * /tmp/disk.sock`.
 *
 * @module
 */
import { BlkClient } from 'vhost-user';

const BYTES_PER_LINE = 16;

const socketPath = process.argv[2];
if (socketPath === undefined) throw new Error('usage: read-disk.ts SOCKET');

const disk = await BlkClient.connect(socketPath);
try {
  const sector = new Uint8Array(disk.blockBytes);
  await disk.read(0, sector);
  for (let at = 0; at < sector.length; at += BYTES_PER_LINE) {
    const line = Buffer.from(sector.subarray(at, at + BYTES_PER_LINE)).toString('hex');
    console.log(`${at.toString(16).padStart(4, '0')}  ${line}`);
  }
} finally {
  await disk.close();
}
