/**
 * The layers of `src/` from the bottom to the top, and what a file there may import.
 *
 * @module
 */
import { dirname, join, normalize } from 'node:path/posix';

/** Layers by rank: an import goes to a lower rank, or stays in its own layer. */
const RANKS: readonly (readonly string[])[] = [
  ['util'],
  ['abi'],
  ['sys'],
  ['memory', 'fuse'],
  ['virtqueue'],
  ['protocol'],
  ['backend', 'frontend', 'vsock'],
  ['devices'],
  ['testing'],
  ['index.ts'],
  ['qemu'],
  ['tools', 'doctor'],
  ['cli'],
];

/** Every layer's folder, from the bottom to the top. */
export const LAYERS: readonly string[] = RANKS.flat().filter((layer) => layer !== 'index.ts');

/** The layer of a file, as `src/sys/fd.ts` is in `sys`; the library's door is its own layer. */
export function layerOf(file: string): string {
  return file.split('/')[1] ?? '';
}

/** The unit that has one door: a layer, and in `devices` each device. */
function unitOf(file: string): string {
  const parts = file.split('/');
  return parts[1] === 'devices' ? parts.slice(0, 3).join('/') : parts.slice(0, 2).join('/');
}

function rankOf(layer: string): number {
  return RANKS.findIndex((layers) => layers.includes(layer));
}

/** Doors beside `index.ts`: of what has to be there before the rest of its layer is loaded. */
const SECOND_DOORS: readonly string[] = ['src/sys/sandbox/index.ts'];

/** Where a relative import of a file leads. */
export function resolveImport(file: string, specifier: string): string {
  return normalize(join(dirname(file), specifier));
}

/**
 * Why a file in `src/` may not import another one, or undefined when it may. A test may look up, at
 * the test kit and at what it tests, but it too uses doors.
 */
export function importFault(file: string, target: string): string | undefined {
  if (!target.startsWith('src/')) return 'a source file imports something outside src/';
  const isTest = /\.(test|fuzz|bench)\.ts$/.test(file);
  const from = layerOf(file);
  const to = layerOf(target);
  if (rankOf(to) === -1) return `there is no layer called ${to}`;
  if (unitOf(file) === unitOf(target)) return undefined;
  if (!isTest && from === to && from !== 'devices') return `${from} has no such unit`;
  if (!isTest && from !== to && rankOf(to) >= rankOf(from)) {
    return `${to} is not below ${from}`;
  }
  if (SECOND_DOORS.includes(target)) return undefined;
  if (to !== 'index.ts' && target !== `${unitOf(target)}/index.ts`) {
    return `${to} is entered by its door, index.ts`;
  }
  return undefined;
}
