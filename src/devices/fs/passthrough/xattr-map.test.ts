/**
 * Maps of attribute names: all examples of virtiofsd's documentation, and what is no map.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LINUX_E } from '../../../fuse/index.ts';
import { VhostUserError } from '../../../util/index.ts';
import { XattrMap } from './xattr-map.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** The host's name for a guest's, or a negative errno. */
function toHost(map: XattrMap, name: string, room = 600): string | number {
  const out = new Uint8Array(room);
  const result = map.toHost(bytes(name), out);
  return result < 0 ? result : new TextDecoder().decode(out.subarray(0, result));
}

/** The guest's name for a host's; empty when it is hidden. */
function toGuest(map: XattrMap, name: string): string {
  const out = new Uint8Array(600);
  return new TextDecoder().decode(out.subarray(0, map.toGuest(bytes(name), out)));
}

const EPERM = -LINUX_E.PERM;

describe('a map of attribute names', () => {
  it('that is none changes nothing', () => {
    for (const name of ['user.a', 'trusted.b', 'security.capability', 'system.posix_acl_access']) {
      assert.equal(toHost(XattrMap.none, name), name);
      assert.equal(toGuest(XattrMap.none, name), name);
    }
  });

  it('prefixes everything, and hides what the host has without the prefix (example 1)', () => {
    for (const text of [':prefix:all::user.virtiofs.::bad:all:::', ':map::user.virtiofs.:']) {
      const map = XattrMap.parse(text);
      assert.equal(toHost(map, 'trusted.x'), 'user.virtiofs.trusted.x');
      assert.equal(toHost(map, 'user.virtiofs.x'), 'user.virtiofs.user.virtiofs.x');
      assert.equal(toGuest(map, 'user.virtiofs.trusted.x'), 'trusted.x');
      assert.equal(toGuest(map, 'user.other'), '');
      assert.equal(toGuest(map, 'user.virtiofs.'), ''); // nothing would be left of it
    }
  });

  it('prefixes trusted names and lets others through (example 2)', () => {
    const long = `"/prefix/all/trusted./user.virtiofs./
                   /bad/server//trusted./
                   /bad/client/user.virtiofs.//
                   /ok/all///"`.slice(1, -1);
    for (const text of [long, '/map/trusted./user.virtiofs./']) {
      const map = XattrMap.parse(text);
      assert.equal(toHost(map, 'trusted.x'), 'user.virtiofs.trusted.x');
      assert.equal(toHost(map, 'user.virtiofs.trusted.x'), EPERM);
      assert.equal(toHost(map, 'user.x'), 'user.x');
      assert.equal(toGuest(map, 'user.virtiofs.trusted.x'), 'trusted.x');
      assert.equal(toGuest(map, 'trusted.x'), '');
      assert.equal(toGuest(map, 'user.x'), 'user.x');
    }
  });

  it('hides security names and lets others through (example 3)', () => {
    const map = XattrMap.parse('/bad/all/security./security./\n /ok/all///');
    assert.equal(toHost(map, 'security.selinux'), EPERM);
    assert.equal(toGuest(map, 'security.selinux'), '');
    assert.equal(toHost(map, 'user.x'), 'user.x');
    assert.equal(toGuest(map, 'user.x'), 'user.x');
  });

  it('says of a name that there is no such kind', () => {
    const map = XattrMap.parse('/unsupported/all/security.selinux/security.selinux//ok/all///');
    assert.equal(toHost(map, 'security.selinux'), -LINUX_E.OPNOTSUPP);
    assert.equal(toGuest(map, 'security.selinux'), '');
    assert.equal(toHost(map, 'security.capability'), 'security.capability');
  });

  it('gives SELinux of the guest a place of its own', () => {
    const map = XattrMap.parse(':map:security.selinux:trusted.virtiofs.:');
    assert.equal(toHost(map, 'security.selinux'), 'trusted.virtiofs.security.selinux');
    assert.equal(toHost(map, 'trusted.virtiofs.security.selinux'), EPERM);
    assert.equal(toGuest(map, 'security.selinux'), '');
    assert.equal(toGuest(map, 'trusted.virtiofs.security.selinux'), 'security.selinux');
  });

  it('has each single rule of the table in the documentation', () => {
    const client = XattrMap.parse(':prefix:client:trusted.:user.virtiofs.:');
    assert.equal(toHost(client, 'trusted.x'), 'user.virtiofs.trusted.x');
    assert.equal(toGuest(client, 'user.virtiofs.trusted.x'), ''); // no rule: as with a bad one
    const server = XattrMap.parse(':prefix:server::user.virtiofs.:');
    assert.equal(toGuest(server, 'user.virtiofs.trusted.x'), 'trusted.x');
    assert.equal(toHost(server, 'trusted.x'), EPERM);
    const both = XattrMap.parse(':prefix:all:trusted.:user.virtiofs.:');
    assert.equal(toHost(both, 'trusted.x'), 'user.virtiofs.trusted.x');
    assert.equal(toGuest(both, 'user.virtiofs.trusted.x'), 'trusted.x');
    assert.equal(toHost(XattrMap.parse(':ok:client:user.::'), 'user.x'), 'user.x');
    assert.equal(toHost(XattrMap.parse(':ok:client:user.::'), 'trusted.x'), EPERM);
    assert.equal(toGuest(XattrMap.parse(':ok:server::security.:'), 'security.x'), 'security.x');
    assert.equal(toGuest(XattrMap.parse(':bad:server::security.:'), 'security.x'), '');
    const all = XattrMap.parse(':ok:all:::');
    assert.equal(toHost(all, 'anything'), 'anything');
    assert.equal(toGuest(all, 'anything'), 'anything');
  });

  it('takes the first rule that matches', () => {
    const map = XattrMap.parse(':ok:client:user.keep::|bad|client|user.||:prefix:client::user.v.:');
    assert.equal(toHost(map, 'user.keepsake'), 'user.keepsake');
    assert.equal(toHost(map, 'user.other'), EPERM);
    assert.equal(toHost(map, 'trusted.x'), 'user.v.trusted.x');
    assert.equal(toHost(map, 'use'), 'user.v.use');
  });

  it('keeps bytes that are no text', () => {
    const map = XattrMap.parse(':map::user.ä.:');
    const out = new Uint8Array(20);
    const name = Uint8Array.of(0xff, 0xfe, 0x2f);
    assert.equal(map.toHost(name, out), 11);
    assert.deepEqual([...out.subarray(0, 11)], [...bytes('user.ä.'), ...name].slice(0, 11));
    const back = new Uint8Array(3);
    assert.equal(map.toGuest(out.subarray(0, 11), back), 3);
    assert.deepEqual(back, name);
  });

  it('knows which names are others on the host', () => {
    const all = XattrMap.parse(':map::user.virtiofs.:');
    const trusted = XattrMap.parse(':map:trusted.:user.virtiofs.:');
    const none = XattrMap.parse('/bad/all/security./security./ /ok/all///');
    const name = 'security.capability';
    assert.deepEqual(
      [all, trusted, none, XattrMap.none].map((map) => map.renames(name)),
      [true, false, false, false],
    );
  });

  it('says so when there is no room', () => {
    const map = XattrMap.parse(':map::user.virtiofs.:');
    assert.equal(toHost(map, 'user.x', 20), 'user.virtiofs.user.x');
    assert.equal(toHost(map, 'user.x', 19), -LINUX_E.RANGE);
    assert.equal(toHost(map, 'user.x', 13), -LINUX_E.RANGE);
    assert.equal(toHost(XattrMap.none, 'user.x', 5), -LINUX_E.RANGE);
    const small = new Uint8Array(5);
    assert.equal(map.toGuest(bytes('user.virtiofs.user.x'), small), 6);
    assert.deepEqual(small, new Uint8Array(5));
  });

  it('that is none is refused, and the rule named', () => {
    const texts: [string, RegExp][] = [
      ['', /has no rule/],
      [' \n ', /has no rule/],
      [':prefix:client:hi', /rule 1: it is not complete: :type:scope:key:prepend: is wanted/],
      [':prefix:all:trusted.:user.vm.', /rule 1: it is not complete/],
      [':ok:all::: :map:x:y', /rule 2: it is not complete: :map:key:prepend: is wanted/],
      [':map:trusted.:u.::map:trusted.:u.:', /rule 1: a map rule has to be the last one/],
      [':map::u.::ok:all:::', /rule 1: a map rule has to be the last one/],
      [':TOMATOPIRATE:all:trusted.:user.:', /"TOMATOPIRATE" is no type/],
      ['/prefix/helloworld///', /"helloworld" is no scope/],
      [`:map::${'x'.repeat(256)}:`, /rule 1: names have at most 255 bytes/],
      [':map::a\0b:', /rule 1: names have no NUL/],
    ];
    for (const [text, message] of texts) {
      assert.throws(
        () => XattrMap.parse(text),
        (error: unknown) => {
          assert.ok(error instanceof VhostUserError);
          assert.equal(error.code, 'ERR_VHU_OPTION');
          assert.match(error.message, message);
          return true;
        },
      );
    }
  });
});
