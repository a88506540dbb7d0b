/**
 * A reporter of node:test that writes one line of JSON for each test that ended, to fd 3, and after
 * it one for each proof that the test told.
 *
 * That file is open before the tests begin: a destination that node:test opens would show up in the
 * middle of a test that counts what is open.
 *
 * @module
 */
import { writeSync } from 'node:fs';
import { inspect } from 'node:util';
import { PROOF_PREFIX } from '../support/proof.ts';

/** One line of the report. */
export interface ReportedTest {
  readonly name: string;
  readonly status: 'passed' | 'failed' | 'skipped';
  readonly detail?: string;
}

/** What the test of the line before has proved (`tellProof`). */
export interface ReportedProof {
  readonly proof: string;
}

interface TestEvent {
  readonly type: string;
  readonly data: {
    readonly name?: string;
    readonly message?: string;
    readonly nesting?: number;
    readonly skip?: string | boolean;
    readonly todo?: string | boolean;
    readonly details?: { readonly type?: string; readonly error?: unknown };
  };
}

const REPORT_FD = 3;

/** The tests that are around a test, by nesting, while their names are known: from `test:start`. */
const around: string[] = [];

/** What node:test calls. */
async function* reportJson(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const { type, data } of source) {
    if (type === 'test:start') {
      around.length = data.nesting ?? 0;
      around.push(data.name ?? '');
      continue;
    }
    const line = lineOf(type, data);
    if (line !== undefined) writeSync(REPORT_FD, `${JSON.stringify(line)}\n`);
  }
  yield ''; // nothing for the destination
}

function lineOf(type: string, data: TestEvent['data']): ReportedTest | ReportedProof | undefined {
  // node:test gives the diagnostics of a test right after its end.
  if (type === 'test:diagnostic' && data.message?.startsWith(PROOF_PREFIX) === true) {
    return { proof: data.message.slice(PROOF_PREFIX.length) };
  }
  if (type !== 'test:pass' && type !== 'test:fail') return undefined;
  const name = [...around.slice(0, data.nesting ?? 0), data.name ?? ''].join(' > ');
  const reason = data.skip ?? data.todo;
  if (reason !== undefined && reason !== false) {
    return { name, status: 'skipped', detail: typeof reason === 'string' ? reason : '' };
  }
  if (type === 'test:pass') {
    // A suite is a heading; what is in it is counted.
    return data.details?.type === 'suite' ? undefined : { name, status: 'passed' };
  }
  const error = data.details?.error;
  // What failed inside has been reported.
  if (failureType(error) === 'subtestsFailed') return undefined;
  return { name, status: 'failed', detail: describe(error) };
}

function failureType(error: unknown): unknown {
  return error instanceof Error && 'failureType' in error ? error.failureType : undefined;
}

function describe(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  return typeof cause === 'string' ? cause : inspect(cause, { depth: 4 });
}

// node:test takes a reporter only as a default export.
export { reportJson as default };
