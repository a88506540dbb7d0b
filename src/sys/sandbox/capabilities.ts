/**
 * Capabilities (capabilities(7)) of this process.
 *
 * @module
 */
import { SystemError } from '../errno.ts';
import { NativeBlock } from '../native.ts';
import { linuxCall } from './linux-call.ts';

/** linux/capability.h: by number. */
const CAP = {
  CHOWN: 0,
  DAC_OVERRIDE: 1,
  FOWNER: 3,
  FSETID: 4,
  SETGID: 6,
  SETUID: 7,
  IPC_LOCK: 14,
  SYS_ADMIN: 21,
  MKNOD: 27,
  SETFCAP: 31,
} as const;

type Name = keyof typeof CAP;

/** `struct __user_cap_header_struct` 8, two `struct __user_cap_data_struct` 12 each. */
const CAPS = { data: 8, permitted: 4, inheritable: 8, halfBytes: 12, SIZE: 32 } as const;
const CAPABILITY_VERSION_3 = 0x2008_0522;
const PR_CAPBSET_DROP = 24; // linux/prctl.h
const CAPABILITIES_MAX = 64;

/**
 * What a folder takes that only its owner could do otherwise. IPC_LOCK: kernels before 5.12 count
 * rings of io_uring as locked memory, of which users may have little.
 */
const TO_READ: readonly Name[] = ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'IPC_LOCK'];
/** And what acting as a guest's users takes, special files, and attributes of programs. */
const TO_OWN: readonly Name[] = ['FSETID', 'SETGID', 'SETUID', 'MKNOD', 'SETFCAP'];

/** Whether this thread may mount. */
export function mayMount(): boolean {
  const block = ownCapabilities();
  const effective = block.view.getUint32(CAPS.data, true);
  block.free();
  return (effective & (1 << CAP.SYS_ADMIN)) !== 0;
}

/** Whether capabilities can be set here: sets those that there are. 0, or a negative errno. */
export function trySettingCapabilities(): number {
  const block = ownCapabilities();
  const result = linuxCall('capset', block.address, block.address + CAPS.data);
  block.free();
  return result;
}

/**
 * Gives up, for this thread and for what it executes, all that a shared folder does not take.
 *
 * @param ownsFiles the folder may be written to
 */
export function dropCapabilities(ownsFiles: boolean): void {
  const names = ownsFiles ? [...TO_READ, ...TO_OWN] : TO_READ;
  const kept: readonly number[] = names.map((name) => CAP[name]);
  for (let each = 0; each < CAPABILITIES_MAX; each++) {
    // Who may not drop them from the bounding set has no_new_privs, which has the same effect.
    if (!kept.includes(each)) linuxCall('prctl', PR_CAPBSET_DROP, each);
  }
  const mask = kept.reduce((bits, each) => (bits | (1 << each)) >>> 0, 0);
  const block = ownCapabilities();
  for (const half of [0, 1]) {
    for (const field of [0, CAPS.permitted, CAPS.inheritable]) {
      const at = CAPS.data + half * CAPS.halfBytes + field;
      const rest = half === 0 ? block.view.getUint32(at, true) & mask : 0; // all are below 32
      block.view.setUint32(at, rest >>> 0, true);
    }
  }
  const result = linuxCall('capset', block.address, block.address + CAPS.data);
  block.free();
  if (result < 0) throw new SystemError('capset()', -result);
}

/** The header and the data of capget(2); the caller's to free. */
function ownCapabilities(): NativeBlock {
  const block = new NativeBlock(CAPS.SIZE);
  block.view.setUint32(0, CAPABILITY_VERSION_3, true); // the process 0 is this thread
  linuxCall('capget', block.address, block.address + CAPS.data);
  return block;
}
