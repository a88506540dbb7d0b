/**
 * Names of extended attributes, from the guest's to the host's and back: the language of
 * virtiofsd's `--xattrmap`.
 *
 * A map is a series of rules `:type:scope:key:prepend:`, with any delimiter, of which the first
 * that matches a name counts. `client` rules match names of the guest by their beginning, `key`;
 * `server` rules match names in the host's lists by theirs, `prepend`; `all` is both.
 *
 * @module
 */
import { LINUX_E } from '../../../fuse/index.ts';
import { VhostUserError } from '../../../util/index.ts';

const TYPES: readonly string[] = ['prefix', 'ok', 'bad', 'unsupported'];
const SCOPES: readonly string[] = ['client', 'server', 'all'];
const RULE_FORM = ':type:scope:key:prepend:';
const MAP_FORM = ':map:key:prepend:';

/** The most bytes of a name (XATTR_NAME_MAX). */
const NAME_BYTES_MAX = 255;

type RuleType = 'prefix' | 'ok' | 'bad' | 'unsupported';

interface Rule {
  readonly type: RuleType;
  readonly client: boolean;
  readonly server: boolean;
  readonly key: Uint8Array;
  readonly prepend: Uint8Array;
}

/** See the module. Fixed once it is made; a look at it allocates nothing. */
export class XattrMap {
  /** No map: every name is the same on both sides. */
  static readonly none: XattrMap = new XattrMap([], true);

  readonly #client: readonly Rule[];
  readonly #server: readonly Rule[];
  readonly #isNone: boolean;

  private constructor(rules: readonly Rule[], isNone = false) {
    this.#client = rules.filter((rule) => rule.client);
    this.#server = rules.filter((rule) => rule.server);
    this.#isNone = isNone;
  }

  /**
   * A map by its text. Names that no rule matches are as with a `bad` one.
   * @throws VhostUserError `ERR_VHU_OPTION` naming the rule by its number.
   */
  static parse(text: string): XattrMap {
    const rules: Rule[] = [];
    let rest = text.trim();
    for (let number = 1; rest !== ''; number++) {
      const fields = fieldsOf(rest, number);
      const [type = '', second = '', third = '', fourth = ''] = fields;
      rest = rest.slice(fields.reduce((sum, field) => sum + field.length + 1, 1)).trimStart();
      if (type === 'map') {
        if (rest !== '') throw mapError(number, 'a map rule has to be the last one');
        rules.push(...mapRules(number, second, third));
      } else {
        rules.push(plainRule(number, type, second, third, fourth));
      }
    }
    if (rules.length === 0) throw new VhostUserError('ERR_VHU_OPTION', 'xattrmap has no rule');
    return new XattrMap(rules);
  }

  /** Whether the host knows a name of the guest's by another one. */
  renames(name: string): boolean {
    const bytes = new TextEncoder().encode(name);
    const out = new Uint8Array(2 * NAME_BYTES_MAX);
    const length = this.toHost(bytes, out);
    return length > 0 && new TextDecoder().decode(out.subarray(0, length)) !== name;
  }

  /**
   * Writes the host's name for a guest's into `out`, and returns its bytes; or a negative Linux
   * errno: EPERM for a name that is forbidden (a GETXATTR of it is answered with ENODATA, as if
   * there were none), EOPNOTSUPP for one that there is not, ERANGE when `out` is too small.
   */
  toHost(guestName: Uint8Array, out: Uint8Array): number {
    if (this.#isNone) return copy(guestName, 0, out, 0, guestName.length);
    for (const rule of this.#client) {
      if (!startsWith(guestName, rule.key)) continue;
      if (rule.type === 'bad') return -LINUX_E.PERM;
      if (rule.type === 'unsupported') return -LINUX_E.OPNOTSUPP;
      if (rule.type === 'ok') return copy(guestName, 0, out, 0, guestName.length);
      const before = copy(rule.prepend, 0, out, 0, rule.prepend.length);
      if (before < 0) return before;
      const bytes = copy(guestName, 0, out, before, guestName.length);
      return bytes < 0 ? bytes : before + bytes;
    }
    return -LINUX_E.PERM;
  }

  /**
   * Writes what the guest may know of a name in the host's list into `out`, and returns its bytes;
   * 0 for a name that is hidden. When `out` is too small, nothing is written, and the bytes are
   * returned all the same.
   */
  toGuest(hostName: Uint8Array, out: Uint8Array): number {
    let from = 0;
    if (!this.#isNone) {
      from = this.#hiddenBytes(hostName);
      if (from < 0) return 0;
    }
    const bytes = hostName.length - from;
    copy(hostName, from, out, 0, bytes);
    return bytes;
  }

  /** How many bytes at the beginning of a host's name are not the guest's; -1: it is hidden. */
  #hiddenBytes(hostName: Uint8Array): number {
    for (const rule of this.#server) {
      if (!startsWith(hostName, rule.prepend)) continue;
      if (rule.type === 'bad' || rule.type === 'unsupported') return -1;
      return rule.type === 'prefix' ? rule.prepend.length : 0;
    }
    return -1;
  }
}

/** The fields of the first rule of a text; the delimiter is its first character. */
function fieldsOf(text: string, number: number): string[] {
  const parts = text.slice(1).split(text.slice(0, 1), 5);
  const wanted = parts[0] === 'map' ? 3 : 4;
  const form = parts[0] === 'map' ? MAP_FORM : RULE_FORM;
  // One more part than fields: what follows the last delimiter, which has to be there.
  if (parts.length <= wanted) throw mapError(number, `it is not complete: ${form} is wanted`);
  return parts.slice(0, wanted);
}

function plainRule(
  number: number,
  type: string,
  scope: string,
  key: string,
  prepend: string,
): Rule {
  if (!isType(type)) {
    throw mapError(number, `"${type}" is no type: ${TYPES.join(', ')} and map are`);
  }
  if (!SCOPES.includes(scope)) {
    throw mapError(number, `"${scope}" is no scope: ${SCOPES.join(', ')} are`);
  }
  return {
    type,
    client: scope !== 'server',
    server: scope !== 'client',
    key: nameBytes(number, key),
    prepend: nameBytes(number, prepend),
  };
}

/**
 * What `:map:key:prepend:` is short for: the guest's names that begin with `key` have `prepend`
 * before them on the host; where they would clash, the host's are hidden and the guest's refused.
 */
function mapRules(number: number, key: string, prepend: string): Rule[] {
  const mapped = plainRule(number, 'prefix', 'all', key, prepend);
  if (key === '') return [mapped, plainRule(number, 'bad', 'all', '', '')];
  return [
    mapped,
    plainRule(number, 'bad', 'all', prepend, key),
    plainRule(number, 'ok', 'all', '', ''),
  ];
}

function isType(type: string): type is RuleType {
  return TYPES.includes(type);
}

function nameBytes(number: number, text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  if (bytes.includes(0)) throw mapError(number, 'names have no NUL');
  if (bytes.length <= NAME_BYTES_MAX) return bytes;
  throw mapError(number, `names have at most ${String(NAME_BYTES_MAX)} bytes`);
}

function startsWith(name: Uint8Array, prefix: Uint8Array): boolean {
  if (prefix.length > name.length) return false;
  for (let i = 0; i < prefix.length; i++) if (name[i] !== prefix[i]) return false;
  return true;
}

/** Copies bytes by hand, for there are few; returns how many, or -ERANGE. */
function copy(
  from: Uint8Array,
  fromOffset: number,
  into: Uint8Array,
  intoOffset: number,
  count: number,
): number {
  if (intoOffset + count > into.length) return -LINUX_E.RANGE;
  for (let i = 0; i < count; i++) into[intoOffset + i] = from[fromOffset + i] ?? 0;
  return count;
}

function mapError(number: number, why: string): VhostUserError {
  return new VhostUserError('ERR_VHU_OPTION', `xattrmap, rule ${String(number)}: ${why}`);
}
