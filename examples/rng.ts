/**
 * A virtio device of one's own: a source of random numbers for a guest.
 * `node examples/rng.ts /tmp/rng.sock`
 *
 * @module
 */
import { randomBytes } from 'node:crypto';
import { startBackend } from 'vhost-user';
import type { Device } from 'vhost-user';

const BYTES_MAX = 65_536; // of one answer, however much room the guest gives

const rng: Device = {
  name: 'rng',
  deviceId: 4, // virtio 1.3, section 5.4
  queueCount: 1,
  queueSizeMax: 256,
  features: 0n,
  dataPlane: {
    kind: 'local', // on the event loop; `worker` is for devices that do I/O
    create: () => ({
      serve(queue, budget) {
        for (let taken = 0; taken < budget; taken++) {
          const chain = queue.pop();
          if (chain === null) return taken;
          const bytes = randomBytes(Math.min(chain.writableBytes, BYTES_MAX));
          chain.copyToWritable(0, bytes);
          queue.push(chain, bytes.length);
        }
        return budget;
      },
    }),
  },
  readConfig: () => new Uint8Array(0),
  attach: () => undefined,
  close: () => undefined,
};

const backend = await startBackend(rng, {
  kind: 'listen',
  path: process.argv[2] ?? '/tmp/rng.sock',
});
process.once('SIGTERM', () => void backend.close());
