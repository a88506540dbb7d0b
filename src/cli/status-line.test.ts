/**
 * Tests of the status line.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StatusLine } from './status-line.ts';
import type { StatusSource, Totals } from './status-line.ts';

class Source implements StatusSource {
  readonly name = 'blk';
  readonly address = '/tmp/disk.sock';
  connected = false;
  peerPid: number | null = null;
  sums: Totals = { requests: 0, bytesRead: 0, bytesWritten: 0 };

  totals(): Totals {
    return this.sums;
  }
}

test('an idle line says who is waited for, and where', () => {
  const line = new StatusLine([new Source()], () => 80, false, 0);
  assert.equal(line.draw(), 'blk /tmp/disk.sock: waiting for a front-end');
  assert.equal(line.tick(1000), false, 'nothing has changed, so nothing is printed');
});

test('a connected line has the rates since the last tick', () => {
  const source = new Source();
  const line = new StatusLine([source], () => 80, false, 0);
  line.draw();
  source.connected = true;
  source.peerPid = 4711;
  source.sums = { requests: 24_600, bytesRead: 96_400_000, bytesWritten: 2_000_000 };
  assert.equal(line.tick(2000), true);
  assert.equal(line.draw(), 'blk: pid 4711, 12.3k IOPS, read 48.2 MB/s, write 1.0 MB/s');
  line.tick(3000);
  assert.equal(line.draw(), 'blk: pid 4711, 0 IOPS, read 0 B/s, write 0 B/s');
});

test('a front-end without a known process is shown as connected', () => {
  const source = new Source();
  source.connected = true;
  const line = new StatusLine([source], () => 80, false, 0);
  assert.match(line.draw(), /^blk: connected, 0 IOPS/);
});

test('it never fills the last column, whatever the width', () => {
  const source = new Source();
  for (const connected of [false, true]) {
    source.connected = connected;
    for (let columns = 0; columns <= 120; columns++) {
      const text = new StatusLine([source], () => columns, false, 0).draw();
      assert.ok(text.length <= Math.max(columns - 1, 0), `${text} in ${columns} columns`);
      if (columns >= 9) assert.match(text, /^(blk|waiting|connected|0)/);
    }
  }
});

test('several devices are summed up', () => {
  const sources = [new Source(), new Source(), new Source()];
  const line = new StatusLine(sources, () => 80, false, 0);
  assert.equal(line.draw(), '3 devices: waiting for a front-end');
  for (const source of sources.slice(1)) {
    source.connected = true;
    source.sums = { requests: 500, bytesRead: 1_000_000, bytesWritten: 0 };
  }
  line.tick(1000);
  assert.equal(line.draw(), '3 devices: 2 of 3 connected, 1.0k IOPS, read 2.0 MB/s, write 0 B/s');
});

test('it erases what it has drawn, once', () => {
  const line = new StatusLine([new Source()], () => 80, true, 0);
  assert.equal(line.erase(), '');
  assert.match(line.draw(), /^\x1b\[2m.*\x1b\[0m$/);
  assert.equal(line.erase(), '\r\x1b[K');
  assert.equal(line.erase(), '');
});
