/**
 * A program of the host that echoes what a guest sends, to be killed by its test.
 * Usage: `node vsock-host-program.js UDS_PATH PORT`.
 *
 * @module
 */
import { servePort } from './vsock-host.ts';

const [udsPath, port] = process.argv.slice(2);
if (udsPath === undefined || port === undefined) throw new Error('usage: UDS_PATH PORT');
await servePort(udsPath, Number(port), (error) => process.stderr.write(`${error.message}\n`));
process.stdout.write('listening\n');
