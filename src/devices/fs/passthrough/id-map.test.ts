/**
 * Maps of user and group numbers, by virtiofsd's rules.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { VhostUserError } from '../../../util/index.ts';
import { IdMap } from './id-map.ts';

const LAST = 0xffff_fffe;
const NONE = 0xffff_ffff;

function refuses(namespaceRules: string[], translateRules: string[], message: RegExp): void {
  assert.throws(
    () => IdMap.parse(namespaceRules, translateRules),
    (error: unknown) => {
      assert.ok(error instanceof VhostUserError);
      assert.equal(error.code, 'ERR_VHU_OPTION');
      assert.match(error.message, message);
      return true;
    },
  );
}

describe('a map of ids', () => {
  it('without rules changes nothing, and no guest may own by the number that is none', () => {
    for (const map of [IdMap.identity, IdMap.parse([], [])]) {
      assert.equal(map.isIdentity, true);
      for (const id of [0, 1, 1000, 65_534, 0x8000_0000, LAST]) {
        assert.equal(map.toHost(id), id);
        assert.equal(map.toGuest(id), id);
      }
      assert.equal(map.toHost(NONE), -1);
    }
  });

  it('squashes everything to one id, both ways', () => {
    const map = IdMap.squash(1000);
    assert.equal(map.isIdentity, false);
    for (const id of [0, 999, 1000, LAST]) {
      assert.equal(map.toHost(id), 1000);
      assert.equal(map.toGuest(id), 1000);
    }
    assert.equal(map.toHost(NONE), -1);
    assert.throws(() => IdMap.squash(NONE), /no user or group number/);
    assert.throws(() => IdMap.squash(-1), /no user or group number/);
  });
});

describe('rules of --translate-uid', () => {
  it('guest goes one way only', () => {
    const map = IdMap.parse([], ['guest:1000:100000:10']);
    assert.equal(map.toHost(999), 999);
    assert.equal(map.toHost(1000), 100_000);
    assert.equal(map.toHost(1009), 100_009);
    assert.equal(map.toHost(1010), 1010);
    assert.equal(map.toGuest(100_000), 100_000);
  });

  it('host goes the other way only', () => {
    const map = IdMap.parse([], ['host:100000:1000:10']);
    assert.equal(map.toGuest(100_009), 1009);
    assert.equal(map.toGuest(100_010), 100_010);
    assert.equal(map.toHost(1000), 1000);
  });

  it('map goes both ways', () => {
    const map = IdMap.parse([], ['map:0:1001:1', 'map:1000:5000:3']);
    for (const [guest, host] of [
      [0, 1001],
      [1000, 5000],
      [1002, 5002],
    ] as const) {
      assert.equal(map.toHost(guest), host);
      assert.equal(map.toGuest(host), guest);
    }
    assert.equal(map.toHost(1003), 1003);
    assert.equal(map.toGuest(4999), 4999);
  });

  it('squash-guest and squash-host make one id of many, each one way', () => {
    const map = IdMap.parse([], ['squash-guest:0:1001:4294967295', 'host:1001:1000:1']);
    assert.equal(map.toHost(0), 1001);
    assert.equal(map.toHost(LAST), 1001);
    assert.equal(map.toGuest(1001), 1000); // the example of virtiofsd's README
    assert.equal(map.toGuest(1002), 1002);
    const back = IdMap.parse([], ['squash-host:10:7:5']);
    assert.deepEqual(
      [9, 10, 14, 15].map((id) => back.toGuest(id)),
      [9, 7, 7, 15],
    );
    assert.equal(back.toHost(10), 10);
  });

  it('forbid-guest takes ids from the guest, and shows the files of such owners all the same', () => {
    const map = IdMap.parse(
      [],
      [
        'forbid-guest:0:1000',
        'map:1000:1000:1',
        'forbid-guest:1001:999',
        'map:2000:2000:1',
        'forbid-guest:2001:4294965294',
      ],
    );
    const tried = [0, 999, 1000, 1001, 1999, 2000, 2001, LAST];
    assert.deepEqual(
      tried.map((id) => map.toHost(id)),
      [-1, -1, 1000, -1, -1, 2000, -1, -1],
    );
    assert.equal(map.toGuest(0), 0);
  });

  it('take any delimiter, and a type in any case', () => {
    const map = IdMap.parse([], ['Map/0/7/1', 'SQUASH-HOST,10,3,2']);
    assert.equal(map.toHost(0), 7);
    assert.equal(map.toGuest(11), 3);
  });

  it('agree with a search from the first to the last rule, for many ranges', () => {
    const rules = Array.from({ length: 50 }, (_, i) => ({
      from: i * 100 + (i % 7),
      to: 90_000 - i,
    }));
    const texts = rules.map(({ from, to }) => `guest:${String(from)}:${String(to)}:40`);
    const map = IdMap.parse([], [...texts].reverse());
    for (let id = 0; id < 5200; id++) {
      const rule = rules.find(({ from }) => id >= from && id < from + 40);
      assert.equal(map.toHost(id), rule === undefined ? id : rule.to + id - rule.from);
    }
  });

  it('that are none are refused by name', () => {
    const forms: [string, RegExp][] = [
      ['', /one of guest:/],
      ['0:1000:1', /one of guest:/],
      ['squash:0:0:1', /one of guest:/],
      ['map:0:1', /map:guest_id:host_id:count is wanted/],
      ['map:0:1:2:3', /map:guest_id:host_id:count is wanted/],
      ['forbid-guest:0:1:2', /forbid-guest:guest_id:count is wanted/],
      ['map:0:1:x', /"x" is no number/],
      ['map:0:-1:1', /"-1" is no number/],
      ['map:0:4294967296:1', /"4294967296" is no number/],
      ['map:0:1:', /"" is no number/],
      ['map:0/1/2', /is no number/],
      ['map:0:1:0', /count is 0/],
      ['guest:1:0:4294967295', /beyond the last id, 4294967294/],
      ['guest:0:4294967290:100', /beyond the last id/],
      ['squash-guest:0:4294967295:1', /beyond the last id/],
      ['forbid-guest:2001:4294967295', /beyond the last id/],
    ];
    for (const [rule, message] of forms) refuses([], [rule], message);
  });

  it('that overlap are refused, in each direction by itself', () => {
    const message = /"guest:5:0:10": its guest ids overlap those of forbid-guest:0:6/;
    refuses([], ['guest:5:0:10', 'forbid-guest:0:6'], message);
    refuses([], ['map:0:100:10', 'host:109:0:1'], /its host ids overlap those of map:0:100:10/);
    IdMap.parse([], ['guest:0:100:10', 'host:0:100:10', 'guest:10:100:10']);
  });
});

describe('rules of --uid-map', () => {
  it('map both ways, forbid other ids to the guest, and show them as 65534', () => {
    const map = IdMap.parse([':0:100000:65536:'], []);
    assert.equal(map.toHost(0), 100_000);
    assert.equal(map.toHost(65_535), 165_535);
    assert.equal(map.toHost(65_536), -1);
    assert.equal(map.toGuest(100_000), 0);
    assert.equal(map.toGuest(165_535), 65_535);
    assert.equal(map.toGuest(0), 65_534);
    assert.equal(map.toGuest(165_536), 65_534);
  });

  it('come more than once, with any delimiter', () => {
    const map = IdMap.parse([':0:1000:1:', '/1/100000/65535/'], []);
    assert.equal(map.toHost(0), 1000);
    assert.equal(map.toHost(65_535), 165_534);
    assert.equal(map.toGuest(1000), 0);
  });

  it('are behind the translation: what it makes of an id is looked up in the namespace', () => {
    const map = IdMap.parse([':0:100000:1000:'], ['map:5000:7:1', 'forbid-guest:3:1']);
    assert.equal(map.toHost(5000), 100_007);
    assert.equal(map.toGuest(100_007), 5000);
    assert.equal(map.toHost(3), -1);
    assert.equal(map.toHost(5001), -1);
    assert.equal(map.toGuest(4), 65_534);
  });

  it('that are none are refused by name', () => {
    for (const rule of ['', ':', '0:1000:1', ':0:1000:1', ':0:1000:', ':0:1000:1:2:', '00100010']) {
      refuses([rule], [], /:namespace_id:host_id:count: is wanted/);
    }
    refuses([':0:x:1:'], [], /":0:x:1:": "x" is no number/);
    refuses([':0:0:0:'], [], /count is 0/);
    refuses([':0:10:5:', ':4:100:5:'], [], /its namespace ids overlap those of :0:10:5:/);
    refuses([':0:10:5:', ':5:14:5:'], [], /its host ids overlap those of :0:10:5:/);
  });
});
