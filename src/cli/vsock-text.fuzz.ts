/**
 * Forwards, listeners and guests of any text: each is read or answered in words, never by another
 * error; and what was read is written as a text that means the same.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { TextFault, forwardText, listenText, parseForward, parseListen } from './vsock-text.ts';
import { VM_KEYS, parseVm } from './vsock-vms.ts';

/** Texts that are nearly right, and some that are not at all. */
const piece = fc.oneof(
  fc.constantFrom('guest', 'tcp', 'unix', 'vsock', 'unix-seqpacket', 'vsock-seqpacket', '*'),
  fc.constantFrom(':', '::', '=', ',', ',,', '[', ']', '+', ' ', '_', '-'),
  fc.constantFrom('127.0.0.1', '[::1]', 'localhost', '/tmp/x', '22', '0', '4294967295', '1e3'),
  fc.constantFrom(...VM_KEYS),
  fc.string({ maxLength: 4 }),
);
const anyText = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(''));

const port = fc.integer({ min: 0, max: 0xffff_fffe });
const address = fc.tuple(
  fc.constantFrom('127.0.0.1', '[::1]', 'localhost'),
  fc.integer({ min: 1, max: 65_535 }),
);
const place = fc.oneof(
  address.map(([host, tcp]) => `tcp:${host}:${tcp}`),
  fc.stringMatching(/^[a-z0-9/=:. ]{1,20}$/).map((path) => `unix:${path}`),
);

/** What a reader makes of a text; null when it says what is wrong with it. */
function read<Value>(reader: (text: string) => Value, text: string): Value | null {
  try {
    return reader(text);
  } catch (error) {
    assert.ok(error instanceof TextFault, `${JSON.stringify(text)}: ${String(error)}`);
    assert.notEqual(error.message, '');
    return null;
  }
}

describe('texts of a vsock', () => {
  it('are read, or answered in words, whatever they are', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const forward = read(parseForward, text);
        if (forward !== null) assert.deepEqual(parseForward(forwardText(forward)), forward);
        const listen = read(parseListen, text);
        if (listen !== null) assert.deepEqual(parseListen(listenText(listen)), listen);
        read(parseVm, text);
      }),
      { numRuns: 5000 },
    );
  });

  it('are written as they were read when they are right', () => {
    fc.assert(
      fc.property(port, place, (guestPort, text) => {
        const forward = `guest:${guestPort}=${text}`;
        assert.equal(forwardText(parseForward(forward)), forward);
        const listen = `${text}=guest:${guestPort}`;
        assert.equal(listenText(parseListen(listen)), listen);
      }),
      { numRuns: 2000 },
    );
  });
});
