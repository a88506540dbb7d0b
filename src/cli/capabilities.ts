/**
 * What --print-capabilities and the description files say, as QEMU's vhost-user.json has it.
 *
 * @module
 */

/** A device of this program, as management software knows it. */
export interface Capabilities {
  /** A VHostUserBackendType. */
  readonly type: string;
  readonly features: readonly string[];
}

/** By the name of the command. */
export const CAPABILITIES: Readonly<Record<string, Capabilities>> = {
  blk: { type: 'block', features: ['read-only', 'blk-file'] },
  // Libvirt gives an option to each setting then, and not a list to -o.
  fs: { type: 'fs', features: ['separate-options'] },
  vsock: { type: 'vsock', features: [] },
  rng: { type: 'rng', features: [] },
  console: { type: 'console', features: [] },
};

/**
 * The answer to --print-capabilities, or null when it is not asked for. The convention is that all
 * other arguments are ignored, so this looks before anything else does.
 */
export function capabilitiesAnswer(args: readonly string[]): string | null {
  const found = CAPABILITIES[args[0] ?? ''];
  if (found === undefined || !args.includes('--print-capabilities')) return null;
  return `${JSON.stringify({ type: found.type, features: found.features })}\n`;
}
