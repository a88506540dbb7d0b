/**
 * virtio-console as bytes: virtio 1.3, section 5.3, little-endian.
 *
 * @module
 */

/** The device id (section 5.3.1). */
export const VIRTIO_ID_CONSOLE = 3;

/** Feature bits (section 5.3.3), as masks. */
export const VIRTIO_CONSOLE_F = { SIZE: 0x1n, MULTIPORT: 0x2n, EMERG_WRITE: 0x4n } as const;

/** Events of the control queues (section 5.3.6.2). */
export const VIRTIO_CONSOLE = {
  DEVICE_READY: 0,
  DEVICE_ADD: 1,
  DEVICE_REMOVE: 2,
  PORT_READY: 3,
  CONSOLE_PORT: 4,
  RESIZE: 5,
  PORT_OPEN: 6,
  PORT_NAME: 7,
} as const;

/** `struct virtio_console_control` (section 5.3.6.2). | id 4 | event 2 | value 2 | */
export const CONTROL = { id: 0, event: 4, value: 6, SIZE: 8 } as const;

/** Two numbers of 16 bits behind the header of RESIZE; which is which see `ResizeOrder`. */
export const RESIZE_BYTES = 4;

/**
 * `struct virtio_console_config` (section 5.3.4). | cols 2 | rows 2 | max_nr_ports 4 | emerg_wr 4 |
 */
export const CONFIG = { cols: 0, rows: 2, maxNrPorts: 4, emergWr: 8, SIZE: 12 } as const;

/** The two queues of the control messages (section 5.3.2). */
export const CONTROL_QUEUE = { receive: 2, transmit: 3 } as const;

/** The queue by which the driver of a port receives (section 5.3.2); it transmits by the next. */
export function receiveQueueOf(port: number): number {
  return port === 0 ? 0 : 2 * port + 2;
}

/** The port of a queue of data. */
export function portOf(queueIndex: number): number {
  return queueIndex < CONTROL_QUEUE.receive ? 0 : (queueIndex >> 1) - 1;
}

/** How many queues a device of so many ports has: a pair for each, and the control queues. */
export function queueCountOf(portCount: number): number {
  return 2 * portCount + 2;
}
