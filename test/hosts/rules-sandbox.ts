/**
 * The rules of the sandboxes of other systems, as the models enforce them. There is no way back
 * from a sandbox, so each is tried in a process of its own; see
 * `test/proofs/sandbox-models.test.ts`.
 *
 * @module
 */
import { closeSync, mkdtempSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { O } from '../../src/sys/index.ts';
import { abi } from '../../src/sys/host.ts';
import * as files from '../../src/sys/libc-files.ts';
import * as libc from '../../src/sys/libc.ts';
import { darwinCalls, freebsdCalls, openbsdCalls } from '../../src/sys/sandbox/bsd-calls.ts';
import { CAP, encodeRights } from '../../src/sys/sandbox/freebsd.ts';
import type { PlayedHost } from './errno.ts';
import { at, bindTo, block, cString } from './rules-support.ts';

/** A rule of a sandbox. */
export interface SandboxRule {
  /** As the model knows it; VHU_MODEL_WITHOUT switches it off. */
  readonly name: string;
  readonly os: PlayedHost;
  /** Where it is written down. */
  readonly source: string;
  /** What trying it comes to: what {@link SandboxRule.run} returns, or the signal that ends it. */
  readonly expected: string;
  /** Breaks it; what came of it. */
  readonly run: () => string;
}

const { AT_FDCWD } = abi.files;
const { O_RDONLY, O_WRONLY } = O;
const SBPL_DENIED = '(version 1)\n(deny default)\n(allow file-read-metadata)\n';
/** errno.h of FreeBSD, which no table of ours has. */
const ENOTCAPABLE = 93;
const ECAPMODE = 94;

/** `ok`, or the number of the error as this host has it. */
function outcome(result: number): string {
  return result >= 0 ? 'ok' : String(libc.errno());
}
function openAt(dir: number, path: string, flags: number = O_RDONLY): string {
  return outcome(files.openat('int', dir, cString(path), flags, 0));
}
/** A folder with a file in it. */
function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'vhu-rule-'));
  writeFileSync(join(path, 'there'), 'x');
  return path;
}
function limit(fd: number, first: number): string {
  encodeRights({ first, second: 0 }, block.view);
  return outcome(freebsdCalls().capRightsLimit(fd, at(0)));
}

const OPENBSD: readonly Omit<SandboxRule, 'os'>[] = [
  {
    name: 'unveil-enoent',
    source: 'unveil(2): ENOENT is returned for paths for which no unveil permissions qualify',
    expected: '2',
    run: () => {
      openbsdCalls().unveil('/tmp', 'r');
      return openAt(AT_FDCWD, '/etc/passwd');
    },
  },
  {
    name: 'unveil-eacces',
    source: 'unveil(2): EACCES when the permissions do not match the attempted operation',
    expected: '13',
    run: () => {
      const path = folder();
      openbsdCalls().unveil(path, 'r');
      return openAt(AT_FDCWD, join(path, 'there'), O_WRONLY);
    },
  },
  {
    name: 'unveil-lock',
    source: 'unveil(2): EPERM when it was called after locking',
    expected: '1',
    run: () => {
      const { unveil } = openbsdCalls();
      unveil('/tmp', 'r');
      unveil(null, null);
      return outcome(unveil('/etc', 'r'));
    },
  },
  {
    name: 'pledge-kill',
    source: 'pledge(2): killed with an uncatchable SIGABRT; sys/kern/kern_pledge.c pledge_fail',
    expected: 'SIGABRT',
    run: () => {
      openbsdCalls().pledge('stdio prot_exec', null);
      return openAt(AT_FDCWD, '/etc/passwd');
    },
  },
  {
    name: 'pledge-error',
    source: 'pledge(2): `error`: rather than killing the process, ENOSYS',
    expected: '78',
    run: () => {
      openbsdCalls().pledge('stdio prot_exec error', null);
      return openAt(AT_FDCWD, '/etc/passwd');
    },
  },
  {
    name: 'pledge-fewer',
    source: 'pledge(2): EPERM for an attempt to increase permissions',
    expected: '1',
    run: () => {
      const { pledge } = openbsdCalls();
      pledge('stdio prot_exec', null);
      return outcome(pledge('stdio prot_exec rpath', null));
    },
  },
  {
    name: 'pledge-words',
    source: 'pledge(2): EINVAL for invalid keywords',
    expected: '22',
    run: () => outcome(openbsdCalls().pledge('stdio files', null)),
  },
];

const FREEBSD: readonly Omit<SandboxRule, 'os'>[] = [
  {
    name: 'cap-open',
    source: 'cap_enter(2); sys/kern/vfs_lookup.c namei_setup: ECAPMODE for AT_FDCWD',
    expected: String(ECAPMODE),
    run: () => {
      freebsdCalls().capEnter();
      return openAt(AT_FDCWD, '/etc/passwd');
    },
  },
  {
    name: 'cap-beneath',
    source: 'capsicum(4), open(2): ENOTCAPABLE for `..` and absolute paths out of the folder',
    expected: `ok ${ENOTCAPABLE} ${ENOTCAPABLE}`,
    run: () => {
      const dir = openSync(folder(), 'r');
      freebsdCalls().capEnter();
      const paths = ['there', '../', '/etc/passwd'];
      return paths.map((path) => openAt(dir, path)).join(' ');
    },
  },
  {
    name: 'cap-network',
    source: 'sys/kern/uipc_syscalls.c kern_bindat: ECAPMODE for AT_FDCWD',
    expected: String(ECAPMODE),
    run: () => {
      const path = folder();
      freebsdCalls().capEnter();
      return String(bindTo(join(path, 's')));
    },
  },
  {
    name: 'cap-rights',
    source: 'rights(4), CAP_LOOKUP and CAP_WRITE; cap_rights_limit(2)',
    expected: `${ENOTCAPABLE} ENOTCAPABLE`,
    run: () => {
      const path = folder();
      const [dir, file] = [openSync(path, 'r'), openSync(join(path, 'there'), 'r+')];
      limit(dir, CAP.READ);
      limit(file, CAP.READ);
      const looked = openAt(dir, 'there');
      const written = libc.pwrite(file, at(0), 1, 0) < 0 && libc.errno() === ENOTCAPABLE;
      return `${looked} ${written ? 'ENOTCAPABLE' : 'ok'}`;
    },
  },
  {
    name: 'cap-fewer',
    source: 'cap_rights_limit(2): ENOTCAPABLE for rights that the descriptor has not',
    expected: String(ENOTCAPABLE),
    run: () => {
      const file = openSync('/dev/null', 'r');
      limit(file, CAP.READ);
      return limit(file, CAP.READ + CAP.WRITE);
    },
  },
];

function sandboxInit(profile: string): string {
  const { sandboxInit: init, strlen } = darwinCalls();
  if (init(profile, 0, at(0)) === 0) return 'ok';
  const address = Number(block.view.getBigUint64(0, true));
  return Buffer.from(libc.rawView(address, strlen(address))).toString();
}

const DARWIN: readonly Omit<SandboxRule, 'os'>[] = [
  {
    name: 'sbpl-parse',
    source: 'sandbox_init(3): -1, and a text in *errorbuf, when the profile cannot be parsed',
    expected: '<input string>: unbound variable:  file-raed* ',
    run: () => sandboxInit('(version 1)\n(allow file-raed* (literal "/"))'),
  },
  {
    name: 'sbpl-deny',
    source: 'sandbox(7), sandbox_init(3): what the profile denies fails with EPERM',
    expected: '1 1',
    run: () => {
      const path = folder();
      sandboxInit(SBPL_DENIED);
      return `${openAt(AT_FDCWD, '/etc/passwd')} ${bindTo(join(path, 's'))}`;
    },
  },
];

/** All of them. */
export const SANDBOX_RULES: readonly SandboxRule[] = [
  ...OPENBSD.map((rule) => ({ ...rule, os: 'openbsd' as const })),
  ...FREEBSD.map((rule) => ({ ...rule, os: 'freebsd' as const })),
  ...DARWIN.map((rule) => ({ ...rule, os: 'darwin' as const })),
];

/** Tries one in this process, which ends by it: what came of it goes to standard output. */
export function tryRule(name: string): void {
  closeSync(openSync('/dev/null', 'r')); // what Node loads for it is loaded
  const rule = SANDBOX_RULES.find((each) => each.name === name);
  writeSync(1, rule?.run() ?? 'no such rule');
  process.kill(process.pid, 'SIGKILL');
}
