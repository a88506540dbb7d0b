/**
 * The word that somebody may have meant.
 *
 * @module
 */

/** Letters that may be wrong, too many or too few. */
const EDITS_MAX = 2;

/** The first one that is hardly another than a word that is none of them; null for none. */
export function nearWord(word: string, known: readonly string[]): string | null {
  return known.find((each) => distance(each, word) <= EDITS_MAX) ?? null;
}

/** The edits (Levenshtein) from one word to another. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      const best = Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + same);
      next.push(best);
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
