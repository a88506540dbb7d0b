/**
 * Names between the guest's bytes and a file system's strings. Every name of Linux survives: a byte
 * that is no UTF-8 becomes a lone surrogate, U+DC00 + byte, as Python's `surrogateescape` has it.
 *
 * @module
 */

const ESCAPE = 0xdc00;
const REPLACEMENT = '\ufffd';
const SURROGATE = /[\ud800-\udfff]/;
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Bytes of the guest as a string. */
export function nameText(bytes: Uint8Array): string {
  return textAt(bytes, 0, bytes.length);
}

/** The same for a part of an array. */
export function textAt(bytes: Uint8Array, at: number, length: number): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset + at, length);
  const text = buffer.toString('utf8');
  return text.includes(REPLACEMENT) ? escaped(buffer) : text;
}

/** The string's bytes; a surrogate that stands for no byte becomes a question mark in a rhombus. */
export function nameBytes(text: string): Uint8Array {
  if (!SURROGATE.test(text)) return Buffer.from(text);
  const parts: Uint8Array[] = [];
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    const isByte = code >= ESCAPE + 0x80 && code <= ESCAPE + 0xff;
    parts.push(isByte ? Buffer.of(code - ESCAPE) : Buffer.from(character));
  }
  return Buffer.concat(parts);
}

/** Bytes of a sequence that begins with a byte, as UTF-8 has them; 1 for what begins none. */
function sequenceBytes(first: number): number {
  if (first >= 0xf0) return 4;
  if (first >= 0xe0) return 3;
  return first >= 0xc2 ? 2 : 1;
}

function escaped(bytes: Buffer): string {
  let text = '';
  for (let at = 0; at < bytes.length;) {
    const length = sequenceBytes(bytes[at] ?? 0);
    try {
      text += decoder.decode(bytes.subarray(at, at + length));
      at += length;
    } catch {
      text += String.fromCharCode(ESCAPE + (bytes[at] ?? 0));
      at++;
    }
  }
  return text;
}
