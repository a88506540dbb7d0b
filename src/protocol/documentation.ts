/**
 * The reference page of all messages, made from the table that the codec uses.
 *
 * @module
 */
import { PROTOCOL_FEATURE_BITS } from './features.ts';
import { BACKEND_MESSAGES, FRONTEND_MESSAGES, GPU_MESSAGES } from './messages.ts';
import type { FdRule, MessageRow } from './messages.ts';
import { PAYLOAD } from './payload.ts';
import type { PayloadKind, PayloadLayout } from './payload.ts';

/** `docs/protocol.md`. */
export function renderProtocolPage(): string {
  return [
    '# The vhost-user protocol, as this package speaks it',
    '',
    'Made from the tables in `src/protocol`; a test keeps this page equal to them. The text that',
    'counts is [the specification](https://www.qemu.org/docs/master/interop/vhost-user.html).',
    '',
    '## Requests of the front-end',
    '',
    ...messageTable(FRONTEND_MESSAGES, 'REPLY_ACK'),
    '',
    '## Requests of the back-end',
    '',
    ...messageTable(BACKEND_MESSAGES, 'REPLY_ACK'),
    '',
    '## Requests on the GPU socket',
    '',
    ...messageTable(GPU_MESSAGES, ''),
    '',
    '## Payloads',
    '',
    ...table(
      ['Payload', 'Bytes', 'Fields (offset, type)'],
      Object.entries(PAYLOAD).map(([kind, layout]) => [kind, sizeText(layout), fieldText(layout)]),
    ),
    '',
    '## Protocol features',
    '',
    ...table(
      ['Bit', 'Name'],
      Object.entries(PROTOCOL_FEATURE_BITS).map(([name, bit]) => [String(bit), name]),
    ),
    '',
  ].join('\n');
}

/** @param noReply what answers a message without a reply of its own */
function messageTable(rows: readonly MessageRow[], noReply: string): string[] {
  return table(
    ['Id', 'Name', 'Payload', 'Fds', 'Reply', 'Fds in reply', 'Needs', 'Since'],
    rows.map((row) => [
      String(row.id),
      row.name,
      row.request,
      fdText(row.requestFds),
      row.reply ?? noReply,
      fdText(row.replyFds),
      row.gate ?? '',
      row.since ?? '',
    ]),
  );
}

/** A table with its columns padded, as the formatter of this repository wants it. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((title, i) =>
    Math.max(3, title.length, ...rows.map((row) => (row[i] ?? '').length)),
  );
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)];
}

function fdText(rule: FdRule): string {
  if (rule === 'per-region') return 'one a region';
  const [min, max] = rule;
  if (max === 0) return '';
  return min === max ? String(min) : `${String(min)} or ${String(max)}`;
}

function sizeText(layout: PayloadLayout): string {
  const { sizeBytes, acceptedFromBytes, tail } = layout;
  const fixed = acceptedFromBytes === undefined ? '' : `${String(acceptedFromBytes)} to `;
  if (tail === undefined) return `${fixed}${String(sizeBytes)}`;
  if (tail.kind === 'u64s') return String(sizeBytes + 8 * tail.count);
  if (tail.kind === 'records') return `${String(sizeBytes)} + n × ${String(tail.sizeBytes)}`;
  return tail.lengthBytes === undefined
    ? `${String(sizeBytes)} + n`
    : String(sizeBytes + tail.lengthBytes);
}

function fieldText(layout: PayloadLayout): string {
  const fields = layout.fields.map(([name, at, type]) => `${name} (${String(at)}, ${type})`);
  const { tail } = layout;
  if (tail !== undefined) fields.push(`${tail.name} (${String(layout.sizeBytes)}, ${tail.kind})`);
  return fields.join(', ');
}

/** The kinds of payload that no message uses; for a test: there are none. */
export function unusedPayloads(): PayloadKind[] {
  const rows = [...FRONTEND_MESSAGES, ...BACKEND_MESSAGES, ...GPU_MESSAGES];
  const used = new Set(rows.flatMap((row) => [row.request, row.reply]));
  return (Object.keys(PAYLOAD) as PayloadKind[]).filter((kind) => !used.has(kind));
}
