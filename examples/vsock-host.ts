/**
 * A web server for a guest that has no network, and a look at the guest's own ssh server:
 * `node examples/vsock-host.ts /tmp/vm.vsock`, where that is the `--uds-path` of a guest's vsock.
 * In the guest: `printf 'GET / HTTP/1.0\r\n\r\n' | socat - VSOCK-CONNECT:2:80`
 *
 * @module
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { VsockHost } from 'vhost-user/vsock';

const guest = new VsockHost(process.argv[2] ?? '/tmp/vm.vsock');

// Port 80 of the host, as the guest sees it: each connection is a net.Socket.
const web = createServer((request, response) => {
  response.end(`you asked the host for ${request.url ?? ''}\n`);
});
const server = await guest.listen(80, (socket) => void web.emit('connection', socket));
process.once('SIGTERM', () => server.close());

// Port 22 of the guest, once it has booted.
const socket = await guest.connect(22, { waitMs: 600_000 });
const [banner] = (await once(socket, 'data')) as [Buffer];
console.log(`the guest's ssh server: ${banner.toString().trim()}`);
socket.end();
