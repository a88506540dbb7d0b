/**
 * virtio-console as bytes, as a driver needs it: virtio 1.3, section 5.3.
 *
 * @module
 */

/** Feature bits (section 5.3.3), as masks. */
export const CONSOLE_FEATURE = { SIZE: 0x1n, MULTIPORT: 0x2n, EMERG_WRITE: 0x4n } as const;

/** Events of the control queues (section 5.3.6.2). */
export const CONSOLE_EVENT = {
  DEVICE_READY: 0,
  DEVICE_ADD: 1,
  DEVICE_REMOVE: 2,
  PORT_READY: 3,
  CONSOLE_PORT: 4,
  RESIZE: 5,
  PORT_OPEN: 6,
  PORT_NAME: 7,
} as const;

/** `struct virtio_console_control`. | id 4 | event 2 | value 2 | */
export const CONSOLE_CONTROL = { id: 0, event: 4, value: 6, SIZE: 8 } as const;

/** `struct virtio_console_config`. | cols 2 | rows 2 | max_nr_ports 4 | emerg_wr 4 | */
export const CONSOLE_CONFIG = { cols: 0, rows: 2, maxNrPorts: 4, emergWr: 8, SIZE: 12 } as const;

/** The queues of control messages (section 5.3.2). */
export const CONSOLE_CONTROL_QUEUE = { receive: 2, transmit: 3 } as const;

/** The queue by which a port's driver receives; it transmits by the next one. */
export function consoleReceiveQueue(port: number): number {
  return port === 0 ? 0 : 2 * port + 2;
}
