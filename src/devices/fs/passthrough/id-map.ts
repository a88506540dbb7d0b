/**
 * Numbers of users and groups, from the guest's to the host's and back, by virtiofsd's rules.
 *
 * @module
 */
import { VhostUserError } from '../../../util/index.ts';

/**
 * The number that is no user and no group: `chown` and `setresuid` take it for "as it was", so it
 * must never come out of a map, and is no owner that a guest may ask for.
 */
const NO_ID = 0xffff_ffff;

/** What Linux shows for an id that a user namespace does not map (kernel.overflowuid). */
const OVERFLOW_ID = 65534;

/** What {@link IdMap.toHost} returns for an id that the guest may not use. */
const FORBIDDEN = -1;

/** An id without a rule stays itself: see {@link RangeTable.find}. */
const UNCHANGED = -2;

const LAST = `the last id, ${String(NO_ID - 1)}`;
const NAMESPACE_FORM = ':namespace_id:host_id:count:';
const TRANSLATE_FORMS = [
  'guest:guest_id:host_id:count',
  'host:host_id:guest_id:count',
  'map:guest_id:host_id:count',
  'squash-guest:guest_id:host_id:count',
  'squash-host:host_id:guest_id:count',
  'forbid-guest:guest_id:count',
];

/** What a range of ids becomes: `target`, and onwards by `step` for each id (1, or 0 to squash). */
interface Range {
  readonly rule: string;
  readonly first: number;
  readonly count: number;
  readonly target: number;
  readonly step: 0 | 1;
}

/** Ranges that do not overlap, sorted by their first ids. */
class RangeTable {
  readonly #firsts: Float64Array;
  readonly #ends: Float64Array;
  readonly #targets: Float64Array;
  readonly #steps: Uint8Array;

  constructor(ranges: readonly Range[]) {
    const sorted = [...ranges].sort((a, b) => a.first - b.first);
    this.#firsts = Float64Array.from(sorted, (range) => range.first);
    this.#ends = Float64Array.from(sorted, (range) => range.first + range.count);
    this.#targets = Float64Array.from(sorted, (range) => range.target);
    this.#steps = Uint8Array.from(sorted, (range) => range.step);
  }

  /** What an id becomes; `unmapped`, or the id itself for `UNCHANGED`, when no range has it. */
  find(id: number, unmapped: number): number {
    let low = 0;
    let high = this.#firsts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#firsts[middle] ?? 0) <= id) low = middle + 1;
      else high = middle;
    }
    const at = low - 1; // the last range that begins at the id or before it
    if (at < 0 || id >= (this.#ends[at] ?? 0)) return unmapped === UNCHANGED ? id : unmapped;
    return (this.#targets[at] ?? 0) + (this.#steps[at] ?? 0) * (id - (this.#firsts[at] ?? 0));
  }
}

/**
 * A map of user or of group numbers. Each direction stands by itself: what goes one way need not
 * come back. A map is fixed once it is made, and a look at it allocates nothing.
 */
export class IdMap {
  /** Every id is itself. */
  static readonly identity: IdMap = IdMap.parse([], []);

  /** Nothing is changed, so that callers may leave the map out. */
  readonly isIdentity: boolean;
  readonly #guestToNamespace: RangeTable;
  readonly #namespaceToHost: RangeTable;
  readonly #hostToNamespace: RangeTable;
  readonly #namespaceToGuest: RangeTable;
  /** What becomes of an id that the namespace does not have. */
  readonly #unmappedHost: number;
  readonly #unmappedGuest: number;

  private constructor(rules: ParsedRules) {
    const { guestToHost, hostToGuest, namespaceToHost, hostToNamespace } = rules;
    const hasNamespace = namespaceToHost.length > 0;
    this.isIdentity = !hasNamespace && guestToHost.length === 0 && hostToGuest.length === 0;
    this.#guestToNamespace = new RangeTable(guestToHost);
    this.#namespaceToGuest = new RangeTable(hostToGuest);
    this.#namespaceToHost = new RangeTable(namespaceToHost);
    this.#hostToNamespace = new RangeTable(hostToNamespace);
    this.#unmappedHost = hasNamespace ? FORBIDDEN : UNCHANGED;
    this.#unmappedGuest = hasNamespace ? OVERFLOW_ID : UNCHANGED;
  }

  /**
   * A map by the rules of virtiofsd's `--uid-map` (`:namespace_id:host_id:count:`) and
   * `--translate-uid` (`TYPE:from:to:count`), or the same for groups.
   *
   * virtiofsd's first kind sets up a user namespace, which hosts other than Linux do not have.
   * Here it is a translation with the same effect on ids: those outside of the rules may not be
   * used by the guest, and files of theirs are shown as owned by 65534. The second kind comes
   * between that and the guest, and leaves other ids as they are.
   * @throws VhostUserError `ERR_VHU_OPTION` naming the rule.
   */
  static parse(namespaceRules: readonly string[], translateRules: readonly string[] = []): IdMap {
    const rules = emptyRules();
    for (const rule of namespaceRules) addNamespaceRule(rules, rule);
    for (const rule of translateRules) addTranslateRule(rules, rule);
    checkOverlaps(rules.namespaceToHost, 'namespace ids');
    checkOverlaps(rules.hostToNamespace, 'host ids');
    checkOverlaps(rules.guestToHost, 'guest ids');
    checkOverlaps(rules.hostToGuest, 'host ids');
    return new IdMap(rules);
  }

  /** Every id becomes `id`, both ways. */
  static squash(id: number): IdMap {
    const rules = emptyRules();
    const all: Range = { rule: 'squash', first: 0, count: NO_ID, target: id, step: 0 };
    if (!isId(id)) throw ruleError('squash', `${String(id)} is no user or group number`);
    rules.guestToHost.push(all);
    rules.hostToGuest.push(all);
    return new IdMap(rules);
  }

  /** The host's number of a guest's id, or -1: it may not be used (EPERM). */
  toHost(guestId: number): number {
    if (guestId === NO_ID) return FORBIDDEN;
    if (this.isIdentity) return guestId;
    const id = this.#guestToNamespace.find(guestId, UNCHANGED);
    return id < 0 ? FORBIDDEN : this.#namespaceToHost.find(id, this.#unmappedHost);
  }

  /** What the guest sees of a host's id. */
  toGuest(hostId: number): number {
    if (this.isIdentity) return hostId;
    const id = this.#hostToNamespace.find(hostId, this.#unmappedGuest);
    return this.#namespaceToGuest.find(id, UNCHANGED);
  }
}

interface ParsedRules {
  readonly guestToHost: Range[];
  readonly hostToGuest: Range[];
  readonly namespaceToHost: Range[];
  readonly hostToNamespace: Range[];
}

function emptyRules(): ParsedRules {
  return { guestToHost: [], hostToGuest: [], namespaceToHost: [], hostToNamespace: [] };
}

/** `:namespace_id:host_id:count:`, with any delimiter that is no digit. */
function addNamespaceRule(rules: ParsedRules, rule: string): void {
  const delimiter = rule.slice(0, 1);
  const parts = rule.split(delimiter);
  if (delimiter === '' || /[0-9]/.test(delimiter) || parts.length !== 5 || parts[4] !== '') {
    throw ruleError(rule, `${NAMESPACE_FORM} is wanted`);
  }
  const [namespaceId = 0, hostId = 0, count = 0] = parts.slice(1, 4).map((part) => id(rule, part));
  rules.namespaceToHost.push(range(rule, namespaceId, count, hostId, 1));
  rules.hostToNamespace.push(range(rule, hostId, count, namespaceId, 1));
}

/** `TYPE:from:to:count`; the delimiter is what follows the type. */
function addTranslateRule(rules: ParsedRules, rule: string): void {
  const match = /^([A-Za-z_-]+)([^A-Za-z0-9_-])(.*)$/.exec(rule);
  const [, name = '', delimiter = '', rest = ''] = match ?? [];
  const type = name.toLowerCase();
  const form = TRANSLATE_FORMS.find((text) => text.startsWith(`${type}:`));
  if (match === null || form === undefined) {
    throw ruleError(rule, `one of ${TRANSLATE_FORMS.join(', ')} is wanted`);
  }
  const parts = rest.split(delimiter).map((part) => id(rule, part));
  if (parts.length !== form.split(':').length - 1) throw ruleError(rule, `${form} is wanted`);
  const [from = 0, to = 0, count = 0] = parts;
  if (type === 'guest' || type === 'map') rules.guestToHost.push(range(rule, from, count, to, 1));
  if (type === 'map') rules.hostToGuest.push(range(rule, to, count, from, 1));
  if (type === 'host') rules.hostToGuest.push(range(rule, from, count, to, 1));
  if (type === 'squash-guest') rules.guestToHost.push(range(rule, from, count, to, 0));
  if (type === 'squash-host') rules.hostToGuest.push(range(rule, from, count, to, 0));
  if (type === 'forbid-guest') rules.guestToHost.push(range(rule, from, to, FORBIDDEN, 0));
}

function range(rule: string, first: number, count: number, target: number, step: 0 | 1): Range {
  if (count === 0) throw ruleError(rule, 'its count is 0');
  if (first + count > NO_ID) throw ruleError(rule, `${String(first)} + count is beyond ${LAST}`);
  if (target !== FORBIDDEN && target + step * (count - 1) >= NO_ID) {
    throw ruleError(rule, `${String(target)}${step === 1 ? ' + count' : ''} is beyond ${LAST}`);
  }
  return { rule, first, count, target, step };
}

function id(rule: string, text: string): number {
  const value = /^[0-9]{1,10}$/.test(text) ? Number(text) : NaN;
  if (value <= NO_ID) return value;
  throw ruleError(rule, `"${text}" is no number from 0 to ${String(NO_ID)}`);
}

function isId(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < NO_ID;
}

/** Two rules for one id would leave open which of them counts. */
function checkOverlaps(ranges: readonly Range[], what: string): void {
  const sorted = [...ranges].sort((a, b) => a.first - b.first);
  for (const [at, next] of sorted.entries()) {
    const before = sorted[at - 1];
    if (before === undefined || before.first + before.count <= next.first) continue;
    throw ruleError(next.rule, `its ${what} overlap those of ${before.rule}`);
  }
}

function ruleError(rule: string, why: string): VhostUserError {
  return new VhostUserError('ERR_VHU_OPTION', `the map of ids "${rule}": ${why}`);
}
