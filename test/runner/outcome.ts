/**
 * What a run of the tests has found: checks, tiers, and how they are told to people.
 *
 * @module
 */
import { PROOF_PREFIX } from '../support/proof.ts';

/** One thing that was checked: a test, or a step of a tier. */
export interface Check {
  /** The file or tool and the name of the test, as people look for it. */
  readonly name: string;
  readonly status: 'passed' | 'failed' | 'skipped';
  /** Why it was skipped, what it printed when it failed, or what people want to know of it. */
  readonly detail?: string;
  /** What it has proved, each as a phrase with its counts; only of one that passed. */
  readonly proofs?: readonly string[];
}

/** How many checks had which end. */
export interface Count {
  passed: number;
  failed: number;
  skipped: number;
}

/** A part of the run that has a name and a duration of its own. */
export interface Tier {
  readonly name: string;
  /** What it is about, for `--help`. */
  readonly about: string;
  /** Does the checks and hands over each one when it is done. */
  run(report: (check: Check) => void): Promise<void>;
}

/** How long a file of tests took. */
export interface FileTime {
  readonly tier: string;
  readonly file: string;
  readonly ms: number;
}

/** The files that took the longest, for people: where a run that takes too long is to be mended. */
export function longestLines(times: readonly FileTime[], count: number): string[] {
  const sorted = [...times].sort((a, b) => b.ms - a.ms).slice(0, count);
  return sorted.map(({ tier, file, ms }) => `${seconds(ms).padStart(9)}  ${tier}: ${file}`);
}

/** How many of the checks had which end. */
export function countOf(checks: readonly Check[]): Count {
  const count: Count = { passed: 0, failed: 0, skipped: 0 };
  for (const { status } of checks) count[status]++;
  return count;
}

/** The lines that name what was proved, each once, in the order in which it was told. */
export function proofLines(checks: readonly Check[]): string[] {
  const all = checks.flatMap(({ status, proofs = [] }) => (status === 'passed' ? proofs : []));
  return [...new Set(all)].map((proof) => `${PROOF_PREFIX}${proof}`);
}

/** The closing line of a run. */
export function closingLine(count: Count): string {
  return `${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`;
}

/** A text with each line moved to the right. */
export function indent(text: string, by: string = '    '): string {
  return text.trimEnd().replaceAll(/^(?=.)/gm, by);
}

/** A duration in seconds, for people. */
export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
