/**
 * Our devices on the command line of crosvm: `src/crosvm/cmdline.rs` and `VhostUserFrontendOption`
 * of `src/crosvm/config.rs` have the syntax (read at commit f1e797a68dad, August 2026).
 *
 * @module
 */
import type { Attachment } from './attachment.ts';

/** By the type of our devices; crosvm's names are those of its `DeviceType`. */
const TYPES: Readonly<Record<Attachment['type'], string>> = {
  blk: 'block',
  fs: 'fs',
  vsock: 'vsock',
  rng: 'rng',
  console: 'console',
};

/** What has to be known. */
export const CROSVM_REMARKS: readonly string[] = [
  'crosvm shares the memory of its guests with the devices by itself',
];

/** The words after `crosvm run`, an option with its value each. */
export function crosvmOptions(
  attachments: readonly Attachment[],
  userWords: readonly string[],
): string[][] {
  const devices = attachments.map((attachment) => {
    const { type, socketPath, queueSize } = attachment;
    const longest = queueSize === undefined ? '' : `,max-queue-size=${queueSize}`;
    return ['--vhost-user', `type=${TYPES[type]},socket=${quoted(socketPath)}${longest}`];
  });
  // The kernel comes last, without an option.
  return userWords.length > 0 ? [...devices, [...userWords]] : devices;
}

/** Quotation marks keep commas, and a backslash keeps a quotation mark. */
function quoted(value: string): string {
  return /[",[\]\\]/.test(value) ? `"${value.replaceAll(/["\\]/g, '\\$&')}"` : value;
}
