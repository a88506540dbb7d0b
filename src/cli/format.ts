/**
 * Numbers and words for people.
 *
 * @module
 */

const BINARY = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;
const DECIMAL = ['', 'k', 'M', 'G', 'T'] as const;

/** A size as storage is sold in memory's units: `512 bytes`, `1.5 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < BINARY.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? String(value) : short(value)} ${BINARY[unit] ?? ''}`;
}

/** A count a second: `0`, `950`, `12.3k`, `1.2M`. */
export function formatCount(perSecond: number): string {
  const [text, unit] = scaled(perSecond);
  return `${text}${unit}`;
}

/** Bytes a second in the units that disks and networks have: `48.2 MB/s`. */
export function formatRate(bytesPerSecond: number): string {
  const [text, unit] = scaled(bytesPerSecond);
  return `${text} ${unit}B/s`;
}

/** `1 queue`, `2 queues`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** The text with control characters made visible, so that it stays on one line. */
export function oneLine(text: string): string {
  return text.replace(/[\x00-\x1f\x7f]/g, (char) => {
    return `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
}

function scaled(value: number): [string, string] {
  let rest = value;
  let unit = 0;
  // 999.5 would be shown as 1000.
  while (rest >= 999.5 && unit < DECIMAL.length - 1) {
    rest /= 1000;
    unit++;
  }
  return [unit === 0 ? String(Math.round(rest)) : short(rest), DECIMAL[unit] ?? ''];
}

/** Three digits at the most: 1.23 is 1.2, 12.3 stays, 123.4 is 123. */
function short(value: number): string {
  return value < 99.95 ? value.toFixed(1) : value.toFixed(0);
}

/** Lines of a text, broken between words; a word that is too long has a line of its own. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
