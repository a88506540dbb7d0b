/**
 * The sandbox of this host: a second door of `sys`, since it has to be entered before the rest of
 * the program is loaded, and twice as fast.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import { host } from '../host.ts';
import type { Sandbox, SandboxPlan } from './types.ts';

export { NO_NEEDS, mergeNeeds } from './types.ts';
export type {
  PathAccess,
  PathNeed,
  RefusalAction,
  Sandbox,
  SandboxNeeds,
  SandboxPlan,
} from './types.ts';

/** No host loads the sandbox of another one. */
const enter = await enterOf(host().os);

/**
 * Gives up all rights of this process that the plan does not name. There is no way back. Call it
 * before any other thread is started and before any device is opened; on Linux it may execute the
 * program again, and what it returns then is returned to that one. On FreeBSD, and partly on
 * OpenBSD, it is shut when it is sealed.
 *
 * @throws VhostUserError `ERR_VHU_SANDBOX` when it is `required` and a part of it is missing.
 */
export function enterSandbox(plan: SandboxPlan): Sandbox {
  const sandbox = enter(plan);
  if (plan.mode === 'required' && (sandbox.missing.length > 0 || sandbox.parts.length === 0)) {
    throw new VhostUserError(
      'ERR_VHU_SANDBOX',
      `the sandbox is required, and not all of it is there: ${sandbox.missing.join('; ')}`,
    );
  }
  return sandbox;
}

async function enterOf(os: string): Promise<(plan: SandboxPlan) => Sandbox> {
  switch (os) {
    case 'linux':
      return (await import('./linux.ts')).enterLinux;
    case 'openbsd':
      return (await import('./openbsd.ts')).enterOpenbsd;
    case 'freebsd':
      return (await import('./freebsd.ts')).enterFreebsd;
    case 'darwin':
      return (await import('./darwin.ts')).enterDarwin;
    default:
      return () => ({ parts: [], missing: [`on ${os}`], seal: () => undefined });
  }
}
