/**
 * Where releases of the specification differ.
 *
 * @module
 */
import { PROTOCOL_FEATURE_BITS } from './features.ts';
import { BACKEND_MESSAGES, FRONTEND_MESSAGES } from './messages.ts';
import type { MessageRow } from './messages.ts';

/** A release of QEMU, whose documentation the specification is. */
export type ProfileName = '10.2' | '11.0' | '11.1' | 'master';

/** What a release knows. */
export interface Profile {
  readonly name: ProfileName;
  /** All protocol features that it defines. */
  readonly protocolFeatures: bigint;
  readonly frontendMessages: readonly MessageRow[];
  readonly backendMessages: readonly MessageRow[];
  /**
   * What starts a ring. Up to 10.2 the first event on the kick fd; since 11.0 SET_VRING_KICK
   * itself. A back-end that looks at the ring on SET_VRING_KICK serves front-ends of both.
   */
  readonly ringStart: 'first-kick' | 'set-vring-kick';
}

const ORDER: readonly ProfileName[] = ['10.2', '11.0', '11.1', 'master'];
/** Protocol features by the release that brought them; all others are older. */
const FEATURE_SINCE: Readonly<Record<string, ProfileName>> = {
  GET_VRING_BASE_INFLIGHT: '11.0',
  GPA_ADDRESSES: '11.1',
  SHMEM_MAP: '11.1',
  GET_VRING_BASE_SKIP_DRAIN: 'master',
};

/** The newest release that there was when this was written. */
export const DEFAULT_PROFILE: ProfileName = '11.1';

/** What the specification of a release says. */
export function profile(name: ProfileName): Profile {
  const knows = (since: ProfileName | null | undefined): boolean =>
    ORDER.indexOf(since ?? '10.2') <= ORDER.indexOf(name);
  const features = Object.entries(PROTOCOL_FEATURE_BITS).filter(([feature]) =>
    knows(FEATURE_SINCE[feature]),
  );
  return {
    name,
    protocolFeatures: features.reduce((mask, [, bit]) => mask | (1n << BigInt(bit)), 0n),
    frontendMessages: FRONTEND_MESSAGES.filter((row) => knows(row.since)),
    backendMessages: BACKEND_MESSAGES.filter((row) => knows(row.since)),
    ringStart: name === '10.2' ? 'first-kick' : 'set-vring-kick',
  };
}
