/**
 * The parts of a Markdown page that tests look at: blocks of code with the remark above them,
 * links, and the anchors of headings.
 *
 * @module
 */

/** A fenced block of code. */
export interface CodeBlock {
  /** What stands behind the fence: `sh`, `ts`, `yaml`. */
  readonly language: string;
  readonly text: string;
  /** The HTML comment directly above the block, without its marks; empty when there is none. */
  readonly remark: string;
  readonly line: number;
}

/** A link with where it leads. */
export interface Link {
  readonly target: string;
  readonly line: number;
}

/** The blocks of code of a page, in their order. */
export function codeBlocks(page: string): CodeBlock[] {
  const lines = page.split('\n');
  const blocks: CodeBlock[] = [];
  for (let i = 0; i < lines.length; i++) {
    const fence = /^( *)(`{3,})(\w*)$/.exec(lines[i] ?? '');
    if (fence === null) continue;
    const [, margin = '', ticks = '', language = ''] = fence;
    const start = i + 1;
    while (++i < lines.length && lines[i]?.trim() !== ticks);
    const body = lines.slice(start, i).map((line) => line.slice(margin.length));
    blocks.push({
      language,
      text: `${body.join('\n')}\n`,
      remark: remarkAbove(lines, start - 2),
      line: start,
    });
  }
  return blocks;
}

function remarkAbove(lines: readonly string[], from: number): string {
  let at = from;
  while (at >= 0 && lines[at]?.trim() === '') at--;
  const end = at;
  if (!(lines[end] ?? '').trimEnd().endsWith('-->')) return '';
  while (at >= 0 && !(lines[at] ?? '').includes('<!--')) at--;
  const text = lines.slice(at, end + 1).join(' ');
  return text
    .replaceAll(/<!--|-->/g, '')
    .replaceAll(/\s+/g, ' ')
    .trim();
}

/** A page with its blocks of code blanked, line for line. */
function prose(page: string): string[] {
  let inside = false;
  return page.split('\n').map((line) => {
    const isFence = /^ *`{3,}/.test(line);
    if (isFence) inside = !inside;
    return inside || isFence ? '' : line;
  });
}

/** The links and pictures of a page. */
export function links(page: string): Link[] {
  return prose(page).flatMap((line, i) =>
    [...line.replaceAll(/`[^`]*`/g, '').matchAll(/\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"/g)].map(
      ([, target, attribute]) => ({ target: target ?? attribute ?? '', line: i + 1 }),
    ),
  );
}

/** The anchors that a page's headings have where such pages are shown. */
export function anchors(page: string): string[] {
  return prose(page)
    .filter((line) => /^#{1,6} /.test(line))
    .map((line) =>
      line
        .replace(/^#+ /, '')
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}_ -]/gu, '')
        .replaceAll(' ', '-'),
    );
}
