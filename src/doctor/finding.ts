/**
 * What a check of this host has found.
 *
 * @module
 */

/** How it is with one thing. `slower`: there is something in its place that costs time. */
export type Status = 'works' | 'slower' | 'missing' | 'unknown';

/** What a finding is about, in the order in which findings are shown. */
export const SECTIONS = ['program', 'kernel', 'limits', 'sockets', 'sandbox', 'vmm'] as const;

/** A value of {@link SECTIONS}. */
export type Section = (typeof SECTIONS)[number];

/** The one thing to do about a finding. */
export interface Remedy {
  /** A sentence without its full stop. */
  readonly text: string;
  /** Lines for a shell, to be pasted; empty when there is nothing that can be. */
  readonly commands: readonly string[];
}

/** One thing that was looked at. */
export interface Finding {
  /** Stable, for programs: `io_uring`; of several QEMUs, `qemu:` and the path. */
  readonly id: string;
  readonly section: Section;
  readonly title: string;
  readonly status: Status;
  /** Whether no device works without it. */
  readonly needed: boolean;
  /** What was found, in words; sentences end by a semicolon. */
  readonly detail: string;
  readonly remedy: Remedy | null;
}

/** A remedy. */
export function remedy(text: string, ...commands: readonly string[]): Remedy {
  return { text, commands };
}

/** Whether nothing that is needed is missing. */
export function isHealthy(findings: readonly Finding[]): boolean {
  return findings.every(({ needed, status }) => !needed || isThere(status));
}

function isThere(status: Status): boolean {
  return status === 'works' || status === 'slower';
}
