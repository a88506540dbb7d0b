/**
 * The sandbox of a serving command: entered before anything of a device is loaded, and shut for
 * good when all devices are there.
 *
 * @module
 */
import { enterSandbox, mergeNeeds, programFiles } from '../sys/sandbox/index.ts';
import type { Sandbox, SandboxNeeds } from '../sys/sandbox/index.ts';
import type { SandboxOptions } from './options.ts';
import { programNeeds } from './sandbox-needs.ts';
import type { Remark } from './serve.ts';

/** A process has one. Null: it is not wanted, or was not entered yet. */
let current: Sandbox | null = null;

/**
 * Enters it, unless the options have it otherwise. On Linux the program may begin anew by this.
 *
 * @throws VhostUserError `ERR_VHU_SANDBOX` when it is required and cannot be had
 */
export function enterDeviceSandbox(
  options: SandboxOptions,
  devices: readonly SandboxNeeds[],
): void {
  const { sandbox = 'auto', seccomp = 'error' } = options;
  if (sandbox === 'none') return;
  current = enterSandbox({
    needs: mergeNeeds([programNeeds(), ...devices]),
    mode: sandbox === 'required' ? 'required' : 'auto',
    files: sandbox === 'namespace' || sandbox === 'landlock' ? sandbox : 'best',
    onRefusal: seccomp,
    program: programFiles([import.meta.url, import.meta.resolve('koffi')]),
  });
}

/** Shuts what was needed for the start; what there is to be said about the sandbox then. */
export function sealDeviceSandbox(): Remark | null {
  if (current === null) return null;
  current.seal();
  const { parts, missing, noNamespace } = current;
  const text = parts.length === 0 ? 'none' : parts.join(', ');
  const without = missing.map((each) => `; not ${each}`).join('');
  const instead = noNamespace === undefined ? '' : `; no mount namespace: ${noNamespace}`;
  return { level: 'info', text: `sandbox: ${text}${without}${instead}` };
}
