/**
 * Tests of the log: text and JSON, colours, levels, and the overlay on a terminal.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLog } from './log.ts';
import type { Log, LogOptions } from './log.ts';

function logTo(options: Partial<LogOptions>): { readonly log: Log; readonly text: () => string } {
  let all = '';
  const sink = (text: string): void => {
    all += text;
  };
  const standard: LogOptions = { level: 'info', format: 'auto', isTerminal: false, sink, env: {} };
  return { log: createLog({ ...standard, ...options }), text: () => all };
}

test('a line elsewhere than on a terminal is a JSON object', async () => {
  const { log, text } = logTo({});
  const before = Date.now();
  log.write('info', 'listening on /tmp/a.sock', { device: 'blk', event: 'listening' });
  log.write('debug', 'not shown');
  await log.flush();
  log.write('error', 'once it is loaded');
  const lines = text()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Partial<Record<string, unknown>>);
  assert.equal(lines.length, 2);
  const [first = {}, second = {}] = lines;
  assert.equal(first.level, 'info');
  assert.equal(first.event, 'listening');
  assert.equal(first.device, 'blk');
  assert.equal(first.msg, 'listening on /tmp/a.sock');
  assert.equal(first.pid, process.pid);
  assert.ok(Math.abs(Date.parse(String(first.time)) - before) < 10_000);
  assert.equal(second.level, 'error');
  assert.ok(!Number.isNaN(Date.parse(String(second.time))));
});

test('JSON has no advice and no status line', async () => {
  const { log, text } = logTo({});
  log.prepare();
  log.hint(['Attach it:']);
  log.setOverlay({ erase: () => 'X', draw: () => 'X' });
  log.refresh();
  await log.flush();
  assert.equal(text(), '');
  assert.equal(log.onTerminal, false);
  assert.equal(log.shows('debug'), false);
});

test('text on a terminal has the time of day, a level, and colours for what is wrong', async () => {
  const { log, text } = logTo({ isTerminal: true });
  log.prepare();
  log.write('warn', 'the front-end is gone', { device: 'blk' });
  await log.flush();
  const pattern =
    /^\x1b\[2m\d\d:\d\d:\d\d\.\d{3}\x1b\[0m \x1b\[33mwarn {2}blk: the front-end is gone\x1b\[0m\n$/;
  assert.match(text(), pattern);
});

test('NO_COLOR and a dumb terminal switch colours off, an empty NO_COLOR does not', () => {
  for (const [env, colours] of [
    [{ NO_COLOR: '1' }, false],
    [{ TERM: 'dumb' }, false],
    [{ NO_COLOR: '' }, true],
  ] as const) {
    const { log, text } = logTo({ isTerminal: true, env });
    log.write('error', 'no such file');
    assert.equal(text().includes('\x1b['), colours, JSON.stringify(env));
  }
});

test('text that is asked for elsewhere has a date and no colours', () => {
  const { log, text } = logTo({ format: 'text' });
  log.write('info', 'two\nlines');
  log.hint(['advice is for terminals']);
  assert.match(text(), /^\d{4}-\d\d-\d\dT[\d:.]+Z info {2}two\\x0alines\n$/);
});

test('a level hides what is below it', () => {
  const { log, text } = logTo({ format: 'text', level: 'warn' });
  log.write('info', 'hidden');
  log.write('warn', 'shown');
  assert.doesNotMatch(text(), /hidden/);
  assert.match(text(), /shown/);
});

test('a line of the log is printed above the overlay', () => {
  const { log, text } = logTo({ isTerminal: true, env: { NO_COLOR: '1' } });
  log.setOverlay({ erase: () => '<erase>', draw: () => '<draw>' });
  log.refresh();
  log.write('info', 'hello');
  log.hint(['advice']);
  log.setOverlay(null);
  log.write('info', 'bye');
  assert.match(
    text(),
    /^<erase><draw><erase>\S+ info {2}hello\n<draw><erase>advice\n<draw><erase>\S+ info {2}bye\n$/,
  );
});
