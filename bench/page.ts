/**
 * Puts figures into pages of the documentation, each between two markers.
 *
 * @module
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import type { MachineFacts } from './machine.ts';
import { optionError } from './plan.ts';

/** Where the figures of all benchmarks are. */
export const PERFORMANCE_PAGE = 'docs/performance.md';

/** Writes a page of the repository anew, formatted. */
export async function updatePage(page: string, change: (text: string) => string): Promise<void> {
  // The sources are one folder up, two from what was compiled.
  const root = new URL(import.meta.url.endsWith('.ts') ? '../' : '../../', import.meta.url);
  const path = fileURLToPath(new URL(page, root));
  const text = change(readFileSync(path, 'utf8'));
  const style = (await resolveConfig(path)) ?? {};
  writeFileSync(path, await format(text, { ...style, filepath: path }));
}

/** The lines of a report as they stand in a page: when and where it was, and the table. */
export function figureLines(machine: MachineFacts, lines: readonly string[]): string[] {
  const { date, cpuCount } = machine;
  const head = `Run of ${date.slice(0, 10)}, on a virtual machine with ${String(cpuCount)} CPUs:`;
  return [head, '', '```text', ...lines, '```'];
}

/**
 * The text of a page with other lines between the markers of a name.
 * @throws VhostUserError `ERR_VHU_BENCH_OPTION` when the markers are not there.
 */
export function between(text: string, name: string, lines: readonly string[]): string {
  const [begin, end] = [`<!-- ${name}: begin -->`, `<!-- ${name}: end -->`];
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) throw optionError(`no ${begin} with an end in the page`);
  return `${text.slice(0, from)}${begin}\n\n${lines.join('\n')}\n\n${text.slice(to)}`;
}
