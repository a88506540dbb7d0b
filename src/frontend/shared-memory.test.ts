/**
 * Memory that a front-end shares.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mapFd, openFdCount, openMappingCount, viewMemory } from '../sys/index.ts';
import { SharedMemory } from './shared-memory.ts';

describe('SharedMemory', () => {
  it('whoever maps its fd sees the bytes of its ranges', () => {
    const memory = new SharedMemory(1 << 20, 0x4000_0000);
    const range = memory.allocate(1000, 4096);
    assert.equal(range.gpa, 0x4000_0000 + range.offset);
    new Uint8Array(memory.view(range)).set([1, 2, 3]);
    const { sizeBytes } = memory.region;
    const peer = mapFd(memory.fd, sizeBytes, 0, { writable: true });
    const seen = new Uint8Array(viewMemory(peer.address + range.offset, 3));
    assert.deepEqual([...seen], [1, 2, 3]);
    peer.unmap();
    memory.close();
  });

  it('says what is taken when there is no room', () => {
    const memory = new SharedMemory(100_000, 0);
    memory.allocate(100_000, 1);
    assert.throws(() => memory.allocate(40_000, 1), {
      code: 'ERR_VHU_FRONTEND_MEMORY',
      message: /40000 bytes wanted, of 131072 100000 are taken and the largest hole has 31072/,
    });
    memory.close();
  });

  it('leaves no fd and no mapping behind', () => {
    const before = [openFdCount(), openMappingCount()];
    const memory = new SharedMemory(65536, 0);
    memory.release(memory.allocate(4096, 4096));
    assert.equal(memory.takenBytes, 0);
    memory.close();
    memory.close();
    assert.equal(memory.fd, -1);
    assert.deepEqual([openFdCount(), openMappingCount()], before);
  });
});
