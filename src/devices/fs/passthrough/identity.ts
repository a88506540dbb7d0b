/**
 * Making files as the guest's user and with the guest's modes: what this thread may take on, and
 * what has to be mended afterwards on hosts where it may not.
 *
 * @module
 */
import {
  effectiveUid,
  isolateUmask,
  overrideFsAccess,
  restoreFsIdentity,
  setFsIdentity,
  threadUmask,
} from '../../../sys/index.ts';

/** See the module. For the thread on which it was made. */
export class Identity {
  /** Whether files are made with exactly the mode that is asked for. */
  readonly exactModes: boolean;
  /** Whether this process may make files for other users at all. */
  readonly isRoot: boolean;
  /** Whether this thread can take on a user; else files change hands after they were made. */
  readonly canSwitch: boolean;
  #switched = false;

  constructor() {
    this.exactModes = isolateUmask();
    this.isRoot = effectiveUid() === 0;
    this.canSwitch = this.isRoot && setFsIdentity(0, 0) >= 0;
  }

  /**
   * Files that this thread makes belong to these now, until `leave`. The host's own numbers; false
   * where that has to be mended afterwards, or cannot be.
   */
  enter(uid: number, gid: number): boolean {
    if (!this.canSwitch) return false;
    if (uid === 0 && gid === 0) return true;
    this.#switched = setFsIdentity(uid, gid) >= 0;
    return this.#switched;
  }

  /**
   * After `enter`: access is as root has it, until `leave`; false where that cannot be, or was so
   * before.
   */
  overrideAccess(): boolean {
    return this.#switched && overrideFsAccess() >= 0;
  }

  /** Ends `enter`. */
  leave(): void {
    if (!this.#switched) return;
    this.#switched = false;
    restoreFsIdentity();
  }

  /** Bits that a new file does not get, for the next calls; only with {@link exactModes}. */
  setUmask(mask: number): void {
    if (this.exactModes) threadUmask(mask);
  }
}
