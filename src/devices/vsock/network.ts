/**
 * The guests of one process that reach each other by CID.
 *
 * @module
 */
import { VhostUserError } from '../../util/index.ts';
import type { SiblingCall } from './plan.ts';

/** What the network knows of a guest. */
export interface NetworkMember {
  readonly guestCid: number;
  readonly groups: readonly string[];
  /** @internal Another guest calls this one; takes over the fd of the call. */
  called(call: SiblingCall): void;
}

/**
 * Guests whose devices were opened with the same network, and that share a group, connect to each
 * other by CID.
 *
 * ```ts
 * const network = new VsockNetwork();
 * const first = openVsock({ guestCid: 3, groups: ['lab'] }, network);
 * const second = openVsock({ guestCid: 4, groups: ['lab'] }, network);
 * ```
 */
export class VsockNetwork {
  readonly #members = new Map<number, NetworkMember>();

  /**
   * Adds a guest.
   * @throws VhostUserError `ERR_VHU_OPTION` when its CID is another one's already.
   */
  join(member: NetworkMember): void {
    if (this.#members.has(member.guestCid)) {
      throw new VhostUserError(
        'ERR_VHU_OPTION',
        `guest-cid ${String(member.guestCid)} is there twice: each guest needs a CID of its own`,
      );
    }
    this.#members.set(member.guestCid, member);
  }

  /** Takes a guest away; one that is not there is none the worse. */
  leave(member: NetworkMember): void {
    if (this.#members.get(member.guestCid) === member) this.#members.delete(member.guestCid);
  }

  /** The guest of this CID, when it shares a group with `from`; else null. */
  sibling(from: NetworkMember, cid: number): NetworkMember | null {
    const member = this.#members.get(cid);
    if (member === undefined || member.guestCid === from.guestCid) return null;
    return member.groups.some((group) => from.groups.includes(group)) ? member : null;
  }
}
