/**
 * Which sandbox a shared folder gets on this host, by entering it.
 *
 * @module
 */
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ask } from '../qemu/index.ts';
import type { Answer } from '../qemu/index.ts';
import { remedy } from './finding.ts';
import type { Finding, Remedy } from './finding.ts';
import type { HostFacts } from './host.ts';
import { asRoot } from './install.ts';
import type { Sys } from './program.ts';
import type { SandboxTrial } from './sandbox-trial.ts';

const TRIAL_LIMIT_MS = 20_000;

/**
 * What unshare(1) gives a user who is not root. `mapped`: the right to mount, and ids for a guest's
 * users; `single`: the right to mount, and one id; `none`: nothing.
 */
export type UserNamespace = 'mapped' | 'single' | 'none';

/** The finding; none on hosts where nothing is known of folders that is not of all devices. */
export async function sharedFolderFinding(sys: Sys | null, host: HostFacts): Promise<Finding[]> {
  if (host.os !== 'linux' || sys === null || sys.tryLandlock().kind === 'absent') return [];
  const trial = await trySandbox([]);
  if (typeof trial === 'string') return [untold(trial)];
  const isUsers = trial.noNamespace !== null && !host.isRoot;
  return [judgeSharedFolder(trial, host, isUsers ? await tryUserNamespace() : 'none')];
}

/** The trial, within another program; why there was none, as a phrase. */
async function trySandbox(within: readonly string[]): Promise<SandboxTrial | string> {
  const extension = extname(import.meta.url);
  const entry = fileURLToPath(new URL(`./sandbox-trial${extension}`, import.meta.url));
  const [file, ...words] = [...within, process.execPath, entry];
  return parseTrial(await ask(file, words, TRIAL_LIMIT_MS));
}

/** What the trial has printed, or why that says nothing. */
export function parseTrial({ stdout, fault }: Answer): SandboxTrial | string {
  if (fault !== null) return fault;
  try {
    return JSON.parse(stdout) as SandboxTrial;
  } catch {
    return `printed no answer: ${stdout.slice(0, 60)}`;
  }
}

async function tryUserNamespace(): Promise<UserNamespace> {
  const isIn = (trial: SandboxTrial | string): boolean =>
    typeof trial !== 'string' && trial.noNamespace === null && trial.missing.length === 0;
  if (isIn(await trySandbox(['unshare', '-r', '--map-auto']))) return 'mapped';
  return isIn(await trySandbox(['unshare', '-r'])) ? 'single' : 'none';
}

const COMMON = {
  id: 'shared-folder',
  section: 'sandbox',
  title: 'Shared folders',
  needed: false,
} as const;

/** The trial itself failed. */
export function untold(fault: string): Finding {
  const detail = `the trial ${fault}`;
  const todo = remedy("Start 'vhost-user fs': its log says which sandbox it got");
  return { ...COMMON, status: 'unknown', detail, remedy: todo };
}

/** What there is to be said of the sandbox that a folder got. */
export function judgeSharedFolder(
  { parts, missing, noNamespace }: SandboxTrial,
  host: HostFacts,
  users: UserNamespace,
): Finding {
  const got = parts.length === 0 ? 'nothing' : parts.join(', ');
  const lacking = missing.map((each) => `; not ${each}`).join('');
  const detail = `by ${got}${lacking}`;
  if (missing.length > 0 || parts.length === 0) {
    const todo = remedy('Do what is said of the sandbox above');
    return { ...COMMON, status: 'missing', detail, remedy: todo };
  }
  if (noNamespace === null) return { ...COMMON, status: 'works', detail, remedy: null };
  const why = host.isRoot ? noNamespace : `${noNamespace}; ${USER_NAMESPACES[users]}`;
  return {
    ...COMMON,
    status: 'works',
    detail: `${detail}; a mount namespace would shut more: ${why}`,
    remedy: toMount(noNamespace, host, users),
  };
}

const USER_NAMESPACES: Readonly<Record<UserNamespace, string>> = {
  mapped: 'a user namespace gives that',
  single: 'a user namespace gives that, but no ids for users of the guest (/etc/subuid)',
  none: 'nor do user namespaces give that here',
};

const COMMAND = 'vhost-user fs FOLDER ...';

/** The one thing to do to get a mount namespace. */
function toMount(reason: string, host: HostFacts, users: UserNamespace): Remedy {
  if (users === 'mapped') {
    const text = "Start it in a user namespace, where the guest's users are subordinate ids";
    return remedy(text, `unshare -r --map-auto -- ${COMMAND}`);
  }
  if (host.isContainer) {
    const text = 'If this container may have the right to mount, give it that';
    return remedy(text, 'docker run --cap-add SYS_ADMIN --security-opt apparmor=unconfined ...');
  }
  if (!host.isRoot) return remedy('Start it as root', asRoot(host, COMMAND));
  if (reason.includes('CAP_SYS_ADMIN')) {
    return remedy(
      'Let the service that starts it keep CAP_SYS_ADMIN; it is dropped in the sandbox',
    );
  }
  if (reason.includes('ENOSYS')) return remedy('Use Linux 5.12 or later');
  return remedy(
    'Start it outside of whatever keeps it from mounting (a filter, a security module)',
  );
}
