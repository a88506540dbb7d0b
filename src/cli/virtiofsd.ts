/**
 * The command lines that virtiofsd takes, as ours: older spellings, which libvirt and scripts go on
 * using, become the options of today; and what means nothing here is said, never passed over.
 *
 * @module
 */
import { UsageError } from './errors.ts';
import { ACL_MODES } from './fs-settings.ts';
import type { Remark } from './serve.ts';

/** The name under which this program takes virtiofsd's place, by a link to it. */
export const VIRTIOFSD = 'virtiofsd';

const HELP = 'vhost-user fs --help';

/** What `-o` calls it, and what it is called by itself. Values go along. */
const WITH_VALUE: Readonly<Record<string, string>> = {
  source: '--shared-dir',
  cache: '--cache',
  loglevel: '--log-level',
  sandbox: '--sandbox',
  modcaps: '--modcaps',
  xattrmap: '--xattrmap',
};

/** Flags of `-o`, each with the words that mean the same; a flag that is the default has none. */
const FLAGS: Readonly<Record<string, readonly string[]>> = {
  xattr: ['--xattr'],
  no_xattr: [],
  readdirplus: [],
  no_readdirplus: ['--no-readdirplus'],
  writeback: ['--writeback'],
  no_writeback: [],
  allow_direct_io: ['--allow-direct-io'],
  no_allow_direct_io: [],
  announce_submounts: ['--announce-submounts'],
  killpriv_v2: ['--killpriv-v2'],
  no_killpriv_v2: ['--no-killpriv-v2'],
  posix_acl: ['--posix-acl=always'],
  no_posix_acl: ['--posix-acl=never'],
  no_security_label: [],
  posix_lock: ['--shared-locks'],
  no_posix_lock: [],
  flock: ['--shared-locks'],
  no_flock: [],
};

/** Values of `-o` that have another name today. */
const OLD_VALUES: Readonly<Record<string, string>> = {
  'cache=none': 'never',
  'loglevel=err': 'error',
};

/** Options of virtiofsd that would promise something that is not kept. */
const REFUSED: Readonly<Record<string, string>> = {
  '--security-label': 'labels of SELinux cannot be set when a file is made',
  '--migration-mode': 'a running device cannot be migrated',
  '--migration-on-error': 'a running device cannot be migrated',
  '--migration-verify-handles': 'a running device cannot be migrated',
  '--migration-confirm-paths': 'a running device cannot be migrated',
};

/**
 * The words of a command line with older spellings replaced.
 *
 * @param takesValue whether the word after an option belongs to it
 * @throws UsageError for an unknown option of `-o`, and for what cannot be done here
 */
export function fromVirtiofsd(
  words: readonly string[],
  takesValue: (option: string) => boolean,
): string[] {
  const result: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? '';
    if (word === '--') return [...result, ...words.slice(i)];
    if (word === '-o' || (word.startsWith('-o') && !word.startsWith('-o='))) {
      const list = word === '-o' ? words[++i] : word.slice(2);
      result.push(...fromList(list));
    } else if (word === '--posix-acl') {
      // Its value may be left out.
      const mode = ACL_MODES.find((each) => each === words[i + 1]);
      if (mode !== undefined) i++;
      result.push(`${word}=${mode ?? 'always'}`);
    } else if (takesValue(word)) {
      const value = words[++i];
      result.push(word, ...(value === undefined ? [] : [valueOf(word, value)]));
    } else {
      result.push(...fromWord(word));
    }
  }
  return result;
}

function fromWord(word: string): string[] {
  const at = word.indexOf('=');
  const option = at < 0 ? word : word.slice(0, at);
  const value = at < 0 ? '' : word.slice(at + 1);
  const reason = REFUSED[option];
  if (reason !== undefined) throw new UsageError(`${option} is not for this program: ${reason}`);
  switch (word) {
    case '-d':
      return ['--log-level=debug'];
    case '-f': // in the foreground, where this program always is
      return [];
    case '--read-only': // as it is called for a disk
      return ['--readonly'];
    default:
      if (option === '--socket') return [`--socket-path${word.slice(option.length)}`];
      return [at < 0 ? word : `${option}=${valueOf(option, value)}`];
  }
}

/** Values of today that are called otherwise here. */
function valueOf(option: string, value: string): string {
  if (option === '--log-level' && value === 'trace') return 'debug';
  if (option === '--log-level' && value === 'off') return 'error';
  if (option === '--inode-file-handles' && value === 'fallback') return 'prefer';
  return value;
}

/** `source=/srv,cache=auto,xattr`; a comma within a value is written twice. */
function fromList(list: string | undefined): string[] {
  if (list === undefined || list === '') throw new UsageError('-o needs a list of options', HELP);
  const items = list
    .replaceAll(',,', '\0')
    .split(',')
    .map((item) => item.replaceAll('\0', ','))
    .filter((item) => item !== '');
  return items.flatMap((item) => {
    const at = item.indexOf('=');
    const name = at < 0 ? item : item.slice(0, at);
    const option = WITH_VALUE[name];
    if (at >= 0 && option !== undefined) {
      return [`${option}=${OLD_VALUES[item] ?? item.slice(at + 1)}`];
    }
    const flag = at < 0 ? FLAGS[name] : undefined;
    if (flag !== undefined) return flag;
    if (name === 'security_label') return fromWord('--security-label');
    throw new UsageError(`-o ${item}: there is no such option`, HELP);
  });
}

/** What the options say that has no meaning, or another one, here. */
export interface WithoutMeaning {
  readonly threadPoolSize?: number | undefined;
  readonly inodeFileHandles?: string | undefined;
  readonly sandbox?: string | undefined;
  readonly modcaps?: string | undefined;
  readonly syslog?: boolean | undefined;
}

/** What has to be said about options that are taken, and do not do what they do in virtiofsd. */
export function remarksOn(options: WithoutMeaning): Remark[] {
  const remarks: Remark[] = [];
  const say = (level: Remark['level'], text: string): void => void remarks.push({ level, text });
  const { threadPoolSize = 0, inodeFileHandles, sandbox, modcaps, syslog } = options;
  if (threadPoolSize > 0) {
    say(
      'info',
      `--thread-pool-size ${threadPoolSize} is not needed: one thread serves all queues, and ` +
        'what would keep it waiting is done elsewhere',
    );
  }
  if (inodeFileHandles === 'mandatory') {
    say(
      'warn',
      '--inode-file-handles=mandatory: there are no file handles here; descriptors are kept ' +
        'below a bound by closing those that were used least recently',
    );
  }
  if (sandbox === 'chroot') {
    say('info', '--sandbox chroot: this program has a sandbox of its own in its place');
  }
  if (modcaps !== undefined) {
    const text = 'a mount namespace leaves what a folder takes, and Landlock what there is';
    say('warn', `--modcaps ${modcaps}: ${text}; setpriv(1) takes more of them away`);
  }
  if (syslog === true) {
    say('warn', '--syslog: the log goes to standard error; pipe it into logger(1)');
  }
  return remarks;
}
