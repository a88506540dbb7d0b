/**
 * Which nodes a client knows, and that what it forgets adds up.
 *
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { NodeTable } from './nodes.ts';
import type { FsNode } from './nodes.ts';

interface Forgotten {
  readonly nodeId: number;
  readonly lookups: number;
}

function tableOf(idleMax: number): { nodes: NodeTable; batches: Forgotten[][] } {
  const batches: Forgotten[][] = [];
  return { nodes: new NodeTable(idleMax, 3, (list) => batches.push([...list])), batches };
}

describe('NodeTable', () => {
  it('forgets the node that was used longest ago, with all of its lookups', async () => {
    const { nodes, batches } = tableOf(2);
    for (const id of [10, 11, 10, 12]) nodes.note(id);
    await Promise.resolve();
    assert.deepEqual(batches, [[{ nodeId: 11, lookups: 1 }]]);
    assert.equal(nodes.size, 2);
    nodes.trim();
    assert.deepEqual(batches.slice(1), [
      [
        { nodeId: 10, lookups: 2 },
        { nodeId: 12, lookups: 1 },
      ],
    ]);
  });

  it('never forgets a node that is used, nor the root', async () => {
    const { nodes, batches } = tableOf(0);
    const used = nodes.learn(10);
    nodes.pin(nodes.root);
    nodes.release(nodes.root);
    assert.equal(nodes.learn(1), nodes.root);
    nodes.note(11);
    nodes.trim();
    await Promise.resolve();
    assert.deepEqual(batches, [[{ nodeId: 11, lookups: 1 }]]);
    nodes.release(used);
    await Promise.resolve();
    assert.deepEqual(batches[1], [{ nodeId: 10, lookups: 1 }]);
  });

  it('a node that is released more often than pinned is a mistake of ours', () => {
    const { nodes } = tableOf(5);
    const node = nodes.learn(10);
    nodes.release(node);
    assert.throws(() => nodes.release(node), /released as often as it is pinned/);
  });

  it('a server that counts lookups and forgets ends at zero, whatever was used meanwhile', () => {
    const step = fc.tuple(
      fc.constantFrom('learn', 'pin', 'release'),
      fc.integer({ min: 2, max: 9 }),
    );
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 200 }),
        fc.integer({ max: 4, min: 0 }),
        (steps, max) => {
          const server = new Map<number, number>();
          const nodes = new NodeTable(max, 3, (list) => {
            assert.ok(list.length <= 3);
            for (const { nodeId, lookups } of list) {
              const left = (server.get(nodeId) ?? 0) - lookups;
              assert.ok(left >= 0, 'no more is forgotten than was looked up');
              server.set(nodeId, left);
            }
          });
          const pinned: FsNode[] = [];
          for (const [what, id] of steps) {
            const some = pinned[id % Math.max(1, pinned.length)];
            if (what === 'learn') {
              server.set(id, (server.get(id) ?? 0) + 1);
              pinned.push(nodes.learn(id));
            } else if (some !== undefined && what === 'pin') {
              nodes.pin(some);
              pinned.push(some);
            } else if (some !== undefined) {
              pinned.splice(pinned.indexOf(some), 1);
              nodes.release(some);
            }
            for (const { id: held } of pinned) nodes.pin(nodes.learn(held));
            for (const node of pinned) {
              server.set(node.id, (server.get(node.id) ?? 0) + 1);
              nodes.release(node);
              nodes.release(node);
            }
            assert.ok(nodes.size <= max + new Set(pinned).size);
          }
          for (const node of pinned) nodes.release(node);
          nodes.trim();
          assert.deepEqual(
            [...server.values()].filter((count) => count !== 0),
            [],
          );
        },
      ),
    );
  });
});
