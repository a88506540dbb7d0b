/**
 * AF_VSOCK for programs of the host, on every host: `connect` and `listen` on the ports of a guest
 * whose vsock is served with `--uds-path`, by `vhost-user vsock` or by any other program that has
 * the hybrid convention (Firecracker, cloud-hypervisor, vhost-device-vsock). What comes of them is
 * a `net.Socket` or a `net.Server`.
 *
 * @module
 */
export type { GuestPorts, GuestSocket } from './connect.ts';
export { VsockError } from './errors.ts';
export type { VsockErrorCode, VsockErrorPlace } from './errors.ts';
export { VSOCK_PORT_MAX, VsockHost } from './host.ts';
export type { VsockConnectOptions } from './host.ts';
export type { VsockListenOptions } from './listen.ts';
