/**
 * The reference page.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  BACKEND_MESSAGES,
  FRONTEND_MESSAGES,
  GPU_MESSAGES,
  PAYLOAD,
  PROTOCOL_FEATURE_BITS,
  renderProtocolPage,
  unusedPayloads,
} from './index.ts';

/** The rows of the table under a heading, as cells. */
function rowsUnder(heading: string): string[][] {
  const section = renderProtocolPage()
    .split(/^## /m)
    .find((each) => each.startsWith(heading));
  assert.ok(section, heading);
  const lines = section.split('\n').filter((line) => line.startsWith('|'));
  return lines.slice(2).map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim()),
  );
}

describe('the page of the protocol', () => {
  it('has every message, payload and protocol feature', () => {
    for (const [heading, messages] of [
      ['Requests of the front-end', FRONTEND_MESSAGES],
      ['Requests of the back-end', BACKEND_MESSAGES],
      ['Requests on the GPU socket', GPU_MESSAGES],
    ] as const) {
      assert.deepEqual(
        rowsUnder(heading).map((cells) => cells.slice(0, 2)),
        messages.map(({ id, name }) => [String(id), name]),
      );
    }
    assert.deepEqual(
      rowsUnder('Payloads').map(([kind]) => kind),
      Object.keys(PAYLOAD),
    );
    assert.deepEqual(
      rowsUnder('Protocol features').map(([bit, name]) => [name, Number(bit)]),
      Object.entries(PROTOCOL_FEATURE_BITS),
    );
  });

  it('says sizes and fds as a reader of the wire needs them', () => {
    const sizes = new Map(rowsUnder('Payloads').map(([kind, bytes]) => [kind, bytes]));
    assert.equal(sizes.get('inflight'), '20 to 24');
    assert.equal(sizes.get('memoryTable'), '8 + n × 32');
    assert.equal(sizes.get('shmemConfig'), '2056');
    assert.equal(sizes.get('sharedObject'), '16');
    assert.equal(sizes.get('config'), '12 + n');
    const rows = new Map(rowsUnder('Requests of the front-end').map((row) => [row[1], row]));
    assert.equal(rows.get('SET_MEM_TABLE')?.[3], 'one a region');
    assert.equal(rows.get('SET_VRING_KICK')?.[3], '0 or 1');
    assert.equal(rows.get('SET_VRING_KICK')?.[4], 'REPLY_ACK');
    assert.equal(rows.get('ADD_MEM_REG')?.[3], '1');
    assert.equal(rows.get('GET_SHMEM_CONFIG')?.[7], '11.1');
  });

  it('has columns that line up, as the formatter of the repository wants them', () => {
    for (const table of renderProtocolPage().split(/\n(?!\|)/)) {
      const widths = table
        .split('\n')
        .filter((line) => line.startsWith('|'))
        .map((line) => line.length);
      assert.ok(new Set(widths).size <= 1, table);
    }
  });

  it('documents no payload that no message has', () => {
    assert.deepEqual(unusedPayloads(), []);
  });
});
