/**
 * The sandbox of this host: a second door of `sys`, since it has to be entered before the rest of
 * the program is loaded, and twice as fast.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import { host } from '../host.ts';
import { enterDarwin } from './darwin.ts';
import { enterFreebsd } from './freebsd.ts';
import { enterLinux } from './linux.ts';
import { enterOpenbsd } from './openbsd.ts';
import type { Sandbox, SandboxPlan } from './types.ts';

export { programFiles } from './program-files.ts';
export { NO_NEEDS, mergeNeeds } from './types.ts';
export type {
  PathAccess,
  PathNeed,
  RefusalAction,
  Sandbox,
  SandboxNeeds,
  SandboxPlan,
} from './types.ts';

/**
 * Gives up all rights of this process that the plan does not name. There is no way back. Call it
 * before any other thread is started and before any device is opened; on Linux it may execute the
 * program again, and what it returns then is returned to that one. On FreeBSD, and partly on
 * OpenBSD, it is shut when it is sealed.
 *
 * @throws VhostUserError `ERR_VHU_SANDBOX` when it is `required` and a part of it is missing.
 */
export function enterSandbox(plan: SandboxPlan): Sandbox {
  const { os } = host();
  if (plan.files !== 'best' && os !== 'linux') {
    const text = `--sandbox ${plan.files} is of Linux: --sandbox auto takes what ${os} has`;
    throw new VhostUserError('ERR_VHU_SANDBOX', text);
  }
  const sandbox = enterOf(os)(plan);
  if (plan.mode === 'required' && (sandbox.missing.length > 0 || sandbox.parts.length === 0)) {
    throw new VhostUserError(
      'ERR_VHU_SANDBOX',
      `the sandbox is required, and not all of it is there: ${sandbox.missing.join('; ')}`,
    );
  }
  return sandbox;
}

function enterOf(os: string): (plan: SandboxPlan) => Sandbox {
  switch (os) {
    case 'linux':
      return enterLinux;
    case 'openbsd':
      return enterOpenbsd;
    case 'freebsd':
      return enterFreebsd;
    case 'darwin':
      return enterDarwin;
    default:
      return () => ({ parts: [], missing: [`on ${os}`], seal: () => undefined });
  }
}
