/**
 * Texts of the form `first,key=value,key`, as QEMU, crosvm and our own command line have them: a
 * comma inside of a value is written twice.
 *
 * @module
 */

/** A part of a text: its key, and its value; null when the key stands alone. */
export interface OptionPart {
  readonly key: string;
  readonly value: string | null;
}

/**
 * Takes a text apart. A first part without `=` is the value of `impliedKey`, as with QEMU's
 * `-machine q35`; every further one is a key that stands alone.
 */
export function parseOptionText(text: string, impliedKey: string): OptionPart[] {
  return splitAtCommas(text).map((part, i) => {
    const at = part.indexOf('=');
    if (at >= 0) return { key: part.slice(0, at), value: part.slice(at + 1) };
    return i === 0 ? { key: impliedKey, value: part } : { key: part, value: null };
  });
}

/** The text that the parts are; `impliedKey`, when it comes first, is left out. */
export function formatOptionText(parts: readonly OptionPart[], impliedKey: string): string {
  return parts
    .map(({ key, value }, i) => {
      if (value === null) return key;
      return i === 0 && key === impliedKey ? commaTwice(value) : `${key}=${commaTwice(value)}`;
    })
    .join(',');
}

/** The last value of a key, which is the one that QEMU takes; undefined when there is none. */
export function lastValue(parts: readonly OptionPart[], key: string): string | undefined {
  const part = parts.findLast((each) => each.key === key);
  return part === undefined ? undefined : (part.value ?? 'on');
}

/** A value inside of a text: a comma is written twice. */
export function commaTwice(value: string): string {
  return value.replaceAll(',', ',,');
}

/** From the left, as QEMU reads it: `a,,,b` is `a,` and `b`. A comma at the end begins nothing. */
function splitAtCommas(text: string): string[] {
  const parts: string[] = [];
  let part = '';
  for (let at = 0; at < text.length; at++) {
    const letter = text.charAt(at);
    if (letter !== ',') {
      part += letter;
    } else if (text.charAt(at + 1) === ',') {
      part += ',';
      at++;
    } else {
      parts.push(part);
      part = '';
    }
  }
  return part === '' ? parts : [...parts, part];
}
