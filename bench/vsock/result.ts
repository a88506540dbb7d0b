/**
 * What was measured of vsock, as plain data that a file can hold.
 *
 * @module
 */
import type { DuelEffort } from '../duel.ts';
import { duelResultOf } from '../duel-report.ts';
import type { DuelReport, DuelRowResult, DuelSetting } from '../duel-report.ts';
import { rowKey } from './plan.ts';
import type { VsockRow } from './plan.ts';

export { SIDES } from '../duel.ts';
export type { DuelRun as VsockRun, Side } from '../duel.ts';

/** A line's runs, in the order in which they alternated. */
export type VsockRowResult = DuelRowResult<VsockRow>;

/** How much is measured. */
export interface VsockEffort extends DuelEffort {
  /** Boots of a guest; each measures one side. */
  readonly guestRounds: number;
}

/** How it was measured. */
export type VsockSetting = DuelSetting<VsockEffort>;
/** All that was measured, up to the failure if there was one. */
export type VsockReport = DuelReport<VsockRow, VsockEffort>;

/** The runs of a line so far; made when there are none. */
export function resultOf(report: VsockReport, row: VsockRow): VsockRowResult {
  return duelResultOf(report, row, rowKey);
}
