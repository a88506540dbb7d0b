/**
 * Text tables for a terminal.
 *
 * @module
 */

/** One column: its title, and the side on which its cells stand. */
export interface Column {
  readonly title: string;
  readonly align: 'left' | 'right';
}

const GAP = '  ';

/** Lines of a table; a row with fewer cells than columns is filled with empty ones. */
export function formatTable(columns: readonly Column[], rows: readonly string[][]): string[] {
  const titles = columns.map((column) => column.title);
  const widths = columns.map((_, at) => {
    return [titles, ...rows].reduce((widest, row) => Math.max(widest, (row[at] ?? '').length), 0);
  });
  const line = (cells: readonly string[]): string => {
    const padded = columns.map(({ align }, at) => {
      const [text, width] = [cells[at] ?? '', widths[at] as number];
      return align === 'left' ? text.padEnd(width) : text.padStart(width);
    });
    return padded.join(GAP).trimEnd();
  };
  return [line(titles), widths.map((width) => '-'.repeat(width)).join(GAP), ...rows.map(line)];
}

/** A number with so many decimals, or a dash when it is none. */
export function fixed(value: number | null | undefined, decimals: number): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return '-';
  return value.toFixed(decimals);
}

/** Bytes in words: `4 KiB`. */
export function bytesText(bytes: number): string {
  if (bytes >= 2 ** 20) return `${fixed(bytes / 2 ** 20, bytes % 2 ** 20 === 0 ? 0 : 1)} MiB`;
  return bytes >= 1024 ? `${fixed(bytes / 1024, bytes % 1024 === 0 ? 0 : 1)} KiB` : `${bytes} B`;
}
