/**
 * Findings of `vhost-user doctor` as text for a terminal. States are words, so nothing depends on
 * colours or on characters beyond ASCII.
 *
 * @module
 */
import { isHealthy } from '../doctor/index.ts';
import type { Diagnosis, Finding, Section, Status } from '../doctor/index.ts';
import { wrap } from './format.ts';

/** How text is laid out. */
export interface TextStyle {
  readonly columns: number;
  readonly colours: boolean;
}

const HEADINGS: Readonly<Record<Section, string>> = {
  program: 'This program',
  kernel: 'The kernel',
  limits: 'Limits',
  sockets: 'Sockets',
  sandbox: 'Sandbox',
  vmm: 'Virtual machine monitors',
};

const RESET = '\x1b[0m';
const BOLD = '\x1b[1m';
const COLOURS: Readonly<Record<Status, string>> = {
  works: '\x1b[32m',
  slower: '\x1b[33m',
  missing: '\x1b[31m',
  unknown: '\x1b[35m',
};
const STATUS_COLUMNS = 9;
const TITLE_COLUMNS = 16;
const MARGIN = 2;
const DETAIL_AT = MARGIN + STATUS_COLUMNS + TITLE_COLUMNS;
/** On a narrower terminal lines are as long as this, and the terminal breaks them. */
const COLUMNS_MIN = 60;
const COLUMNS_MAX = 100;

/** All of it, with a heading for each section and what matters at the end. */
export function diagnosisText(diagnosis: Diagnosis, program: string, style: TextStyle): string {
  const width = Math.min(Math.max(style.columns, COLUMNS_MIN), COLUMNS_MAX);
  const paint = (text: string, colour: string): string =>
    style.colours ? `${colour}${text}${RESET}` : text;
  const lines = wrap(headline(diagnosis, program), width).map((line) => paint(line, BOLD));
  let section: Section | null = null;
  for (const finding of diagnosis.findings) {
    if (finding.section !== section) {
      section = finding.section;
      lines.push('', paint(HEADINGS[section], BOLD));
    }
    lines.push(...findingLines(finding, width, paint));
  }
  const [verdict, colour] = verdictOf(diagnosis.findings);
  lines.push('', ...wrap(verdict, width).map((line) => paint(line, colour)));
  return `${lines.join('\n')}\n`;
}

/** What runs where: `vhost-user 0.1.0, Node 24.21.0, Linux 6.18 x64, Debian 12`. */
export function headline({ host }: Diagnosis, program: string): string {
  const system = `${host.name} ${host.release} ${host.arch}`;
  const parts = [program, `Node ${host.node}`, system, host.distribution];
  if (host.isContainer) parts.push('in a container');
  return parts.filter((part) => part !== '').join(', ');
}

function findingLines(
  finding: Finding,
  width: number,
  paint: (text: string, colour: string) => string,
): string[] {
  const { status, title, detail, remedy } = finding;
  const indent = ' '.repeat(DETAIL_AT);
  const [first = '', ...rest] = wrap(detail, width - DETAIL_AT);
  const state = paint(status.padEnd(STATUS_COLUMNS), COLOURS[status]);
  const name = title.padEnd(TITLE_COLUMNS - 1);
  const lines = [`${' '.repeat(MARGIN)}${state}${name} ${first}`];
  lines.push(...rest.map((line) => indent + line));
  if (remedy === null) return lines;
  const { commands, text } = remedy;
  const todo = wrap(`${text}${commands.length > 0 ? ':' : '.'}`, width - DETAIL_AT - 3);
  lines.push(...todo.map((line, i) => `${indent}${i === 0 ? '-> ' : '   '}${line}`));
  // Commands are for pasting: they are not broken, and not indented far.
  lines.push(...commands.map((command) => paint(`${indent}   ${command}`, BOLD)));
  return lines;
}

/** The sentence at the end, and its colour. */
export function verdictOf(findings: readonly Finding[]): [text: string, colour: string] {
  const named = (wanted: (finding: Finding) => boolean): string =>
    findings
      .filter(wanted)
      .map(({ title }) => title)
      .join(', ');
  const isShort = (finding: Finding): boolean => finding.status !== 'works';
  if (!isHealthy(findings)) {
    const lacks = (each: Finding): boolean =>
      each.needed && isShort(each) && each.status !== 'slower';
    const isMissing = findings.some((each) => lacks(each) && each.status === 'missing');
    const [how, colour] = isMissing
      ? ['not working', COLOURS.missing]
      : ['not known to work', COLOURS.unknown];
    return [`Needed and ${how}: ${named(lacks)}. What to do is said above.`, colour];
  }
  const better = named(isShort);
  if (better === '') return ['All works.', COLOURS.works];
  return [`All that is needed works. Could be better: ${better}.`, COLOURS.works];
}
