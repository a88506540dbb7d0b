/**
 * Tests of errors as text, and of exit codes.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VhostUserError } from '../util/index.ts';
import { EXIT, UsageError, errorText, exitCodeOf } from './errors.ts';

const ADVICE = 'This is a bug of vhost-user: please report it, with what --log-level debug says.';

test('wrong usage says where to read more, and exits with 2', () => {
  const error = new UsageError('which image?', 'vhost-user blk --help');
  const text = errorText('vhost-user', error, false);
  assert.equal(text, "vhost-user: which image?\nTry 'vhost-user blk --help'.\n");
  assert.equal(exitCodeOf(error), EXIT.USAGE);
});

test('an error of the operator or of the host is its message alone, and exits with 1', () => {
  const ours = new VhostUserError('ERR_VHU_IMAGE', 'disk.img: no such file');
  assert.equal(errorText('vhost-user', ours, false), 'vhost-user: disk.img: no such file\n');
  const nodes = Object.assign(new Error('EACCES: permission denied'), { syscall: 'open' });
  assert.equal(errorText('vhost-user', nodes, false), 'vhost-user: EACCES: permission denied\n');
  assert.equal(exitCodeOf(ours), EXIT.FAILED);
});

test('a mistake of ours is called one', () => {
  assert.equal(
    errorText('vhost-user', new TypeError('x is undefined'), false),
    `vhost-user: x is undefined\n${ADVICE}\n`,
  );
  assert.equal(errorText('vhost-user', 'a text', false), `vhost-user: a text\n${ADVICE}\n`);
});

test('a stack is shown for debugging only', () => {
  const error = new VhostUserError('ERR_VHU_IMAGE', 'no such file');
  assert.doesNotMatch(errorText('vhost-user', error, false), /\n\s+at /);
  assert.match(errorText('vhost-user', error, true), /\n\s+at /);
});
