/**
 * The page of all messages is made from the code's own table; this keeps it so.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { renderProtocolPage } from '../src/protocol/index.ts';
import { readText } from './support/repository.ts';

it('docs/protocol.md is what the tables say', () => {
  assert.equal(
    readText('docs/protocol.md'),
    renderProtocolPage(),
    'stale: npm run build:all && node build/scripts/protocol-docs.js',
  );
});
