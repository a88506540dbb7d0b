/**
 * Owner and mode as text: the values of other programs, and hostile ones.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { S_IF } from '../../../fuse/index.ts';
import { OverrideStat, formatOverrideStat, parseOverrideStat } from './override-stat.ts';

/** What a value says, as numbers; undefined when it is refused. */
function parse(text: string): number[] | undefined {
  const bytes = new TextEncoder().encode(text);
  const out = new OverrideStat();
  if (!parseOverrideStat(bytes, bytes.length, out)) return undefined;
  return [out.uid, out.gid, out.mode, out.type, out.major, out.minor];
}

function format(fields: Partial<OverrideStat>, room = 64): string | undefined {
  const into = new Uint8Array(room);
  const length = formatOverrideStat(Object.assign(new OverrideStat(), fields), into);
  return length < 0 ? undefined : new TextDecoder().decode(into.subarray(0, length));
}

describe('owner and mode in an attribute', () => {
  it('are read as containers/storage, fuse-overlayfs and libkrun write them', () => {
    const values: [string, number[]][] = [
      ['0:0:0755', [0, 0, 0o755, 0, 0, 0]],
      ['1000:100:755', [1000, 100, 0o755, 0, 0, 0]],
      ['0:0:0100755', [0, 0, 0o755, S_IF.REG, 0, 0]],
      ['0:0:040700', [0, 0, 0o700, S_IF.DIR, 0, 0]],
      ['4294967294:4294967294:07777:file', [0xffff_fffe, 0xffff_fffe, 0o7777, S_IF.REG, 0, 0]],
      ['0:0:0755:dir', [0, 0, 0o755, S_IF.DIR, 0, 0]],
      ['0:0:0777:symlink', [0, 0, 0o777, S_IF.LNK, 0, 0]],
      ['0:0:0600:pipe', [0, 0, 0o600, S_IF.IFO, 0, 0]],
      ['0:0:0600:socket', [0, 0, 0o600, S_IF.SOCK, 0, 0]],
      ['0:6:0660:block-8-17', [0, 6, 0o660, S_IF.BLK, 8, 17]],
      ['0:0:0666:char-1-3', [0, 0, 0o666, S_IF.CHR, 1, 3]],
      ['0:0:0666:char-4095-1048575', [0, 0, 0o666, S_IF.CHR, 4095, 1_048_575]],
      ['0:0:0666:char-1-3:later', [0, 0, 0o666, S_IF.CHR, 1, 3]],
      ['0:0:0100644:file', [0, 0, 0o644, S_IF.REG, 0, 0]],
    ];
    for (const [text, wanted] of values) assert.deepEqual(parse(text), wanted, text);
  });

  it('are refused when they are not wholly understood', () => {
    const values = [
      '',
      ':',
      '0',
      '0:0',
      '0:0:',
      ':0:0755',
      '0::0755',
      '0:0:0789',
      '0:0:0755\n',
      '0:0:0755\0',
      ' 0:0:0755',
      '+1:0:0755',
      '-1:0:0755',
      '0x10:0:0755',
      '1e3:0:0755',
      '4294967295:0:0755',
      '0:4294967295:0755',
      '99999999999999999999:0:0755',
      '0:0:0200000',
      '0:0:0170644', // a kind of file that there is not
      '0:0:0755:',
      '0:0:0755:door',
      '0:0:0755:files',
      '0:0:0755:block',
      '0:0:0755:block-8',
      '0:0:0755:block-8-',
      '0:0:0755:block-4096-0',
      '0:0:0755:block-0-1048576',
      '0:0:0755:block-8--1',
      '0:0:0100755:dir', // the mode says one thing, the type another
      `${'0'.repeat(60)}:0:0755`,
    ];
    for (const text of values) assert.equal(parse(text), undefined, JSON.stringify(text));
  });

  it('end where the value ends, not where the buffer does', () => {
    const bytes = new TextEncoder().encode('0:0:07550:0');
    const out = new OverrideStat();
    assert.equal(parseOverrideStat(bytes, 8, out), true);
    assert.equal(out.mode, 0o755);
    assert.equal(parseOverrideStat(bytes, 4, out), false);
    assert.equal(parseOverrideStat(bytes, 12, out), false);
  });

  it('leave nothing of the value before', () => {
    const out = new OverrideStat();
    const device = new TextEncoder().encode('1:2:0666:char-1-3');
    const plain = new TextEncoder().encode('3:4:0640');
    assert.equal(parseOverrideStat(device, device.length, out), true);
    assert.equal(parseOverrideStat(plain, plain.length, out), true);
    const { uid, gid, mode, type, major, minor } = out;
    assert.deepEqual([uid, gid, mode, type, major, minor], [3, 4, 0o640, 0, 0, 0]);
  });

  it('are written so that each reader finds what it needs', () => {
    assert.equal(format({ uid: 0, gid: 0, mode: 0o755 }), '0:0:0755');
    assert.equal(format({ uid: 1000, gid: 10, mode: 0 }), '1000:10:0000');
    assert.equal(format({ mode: 0o4755, type: S_IF.REG }), '0:0:4755:file');
    const device = { gid: 6, mode: 0o660, type: S_IF.BLK, major: 8, minor: 17 };
    assert.equal(format(device), '0:6:0660:block-8-17');
  });

  it('come back as they were written', () => {
    const types = [0, S_IF.REG, S_IF.DIR, S_IF.LNK, S_IF.IFO, S_IF.SOCK, S_IF.BLK, S_IF.CHR];
    for (const type of types) {
      const isDevice = type === S_IF.BLK || type === S_IF.CHR;
      const [major, minor] = isDevice ? [4095, 1_048_575] : [0, 0];
      const stat = { uid: 0xffff_fffe, gid: 0xffff_fffe, mode: 0o7777, type, major, minor };
      const text = format(stat) ?? '';
      assert.deepEqual(parse(text), Object.values(stat), text);
    }
  });

  it('are not written when a number is none, or there is no room', () => {
    assert.equal(format({ mode: -1 }), undefined);
    assert.equal(format({ mode: 0o10000 }), undefined);
    assert.equal(format({ mode: 0, uid: 0xffff_ffff }), undefined);
    assert.equal(format({ mode: 0, gid: -1 }), undefined);
    assert.equal(format({ mode: 0, uid: 1.5 }), undefined);
    assert.equal(format({ mode: 0, type: 0o170000 }), undefined);
    assert.equal(format({ mode: 0, type: S_IF.CHR, major: 4096 }), undefined);
    assert.equal(format({ mode: 0o755 }, 7), undefined);
    assert.equal(format({ mode: 0o755 }, 8), '0:0:0755');
  });
});
