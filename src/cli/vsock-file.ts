/**
 * The configuration file of vhost-device-vsock (`--config`): YAML with a list of `vms`. Faults name
 * their line. Relative paths begin where the program was started, as there.
 *
 * @module
 */
import { LineCounter, isMap, isPair, isScalar, isSeq, parseDocument } from 'yaml';
import type { Document, Pair, YAMLMap } from 'yaml';
import { Faults } from './config-faults.ts';
import type { Path } from './config-faults.ts';
import { readConfigText } from './config-source.ts';
import { pairFaults, vsockFaults } from './vsock-settings.ts';
import { VmReader } from './vsock-vms.ts';
import type { VsockVm } from './vsock-vms.ts';
import { TextFault } from './vsock-text.ts';

/**
 * Reads and checks a file.
 * @throws VhostUserError `ERR_VHU_CONFIG_FILE` when it cannot be read, or holds no text;
 *   UsageError naming every fault
 */
export function loadVms(path: string): VsockVm[] {
  return parseVms(readConfigText(path), path);
}

/** Checks a text; `path` names it in faults. */
export function parseVms(source: string, path: string): VsockVm[] {
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false });
  const faults = new Faults(path, document, lines);
  for (const error of document.errors) {
    faults.addAt(error.pos[0], error.message.split('\n')[0] ?? error.message);
  }
  faults.throwIfAny();
  const maps = vmMaps(document, faults);
  const vms = maps.map((map, i) => readVm(map, ['vms', i], faults));
  faults.throwIfAny();
  const good = vms.filter((vm) => vm !== null);
  good.forEach(({ choices, socket }, i) => {
    for (const { key, text } of vsockFaults(choices, socket.socketPath)) {
      faults.add(['vms', i], text, keyIn(maps[i], key));
    }
  });
  for (const { second, key, text } of pairFaults(good)) {
    faults.add(['vms', second], text, keyIn(maps[second], key));
  }
  faults.throwIfAny();
  return good;
}

/** A key as the file spells it. */
function keyIn(map: YAMLMap | undefined, key: string): string {
  const keys = map?.items.map((pair) => String(pair.key)) ?? [];
  const found = keys.find(
    (each) => each.replaceAll('_', '-').replace('socket-path', 'socket') === key,
  );
  return found ?? key;
}

function vmMaps(document: Document.Parsed, faults: Faults): YAMLMap[] {
  const { contents } = document;
  const vms = isMap(contents) ? contents.get('vms', true) : undefined;
  if (!isMap(contents) || !isSeq(vms) || vms.items.length === 0) {
    faults.add(
      isMap(contents) && contents.has('vms') ? ['vms'] : [],
      "needs a list 'vms' of guests",
    );
    throw faults.error();
  }
  for (const pair of contents.items) {
    const key = String(pair.key);
    if (key !== 'vms') faults.add([], 'no such setting; there is vms', key);
  }
  return vms.items.flatMap((item, i) => {
    if (isMap(item)) return [item];
    faults.add(['vms', i], 'must be a map of settings');
    return [];
  });
}

function readVm(map: YAMLMap, path: Path, faults: Faults): VsockVm | null {
  const reader = new VmReader();
  let isGood = true;
  for (const pair of map.items) {
    const key = isPair(pair) ? String(pair.key) : '';
    try {
      for (const text of textsOf(pair)) reader.read(key, text);
    } catch (error) {
      if (!(error instanceof TextFault)) throw error;
      faults.add(path, error.message, key);
      isGood = false;
    }
  }
  if (!isGood) return null;
  try {
    return reader.finish();
  } catch (error) {
    if (!(error instanceof TextFault)) throw error;
    faults.add(path, error.message);
    return null;
  }
}

/** A value as texts: a list of ports or groups is one text, a list of forwards is several. */
function textsOf({ key, value }: Pair): string[] {
  if (isScalar(value)) return [String(value.value).trim()];
  if (isSeq(value) && value.items.every(isScalar)) {
    const texts = value.items.map((item) => String(item.value).trim());
    return ['forward', 'listen'].includes(String(key)) ? texts : [texts.join('+')];
  }
  throw new TextFault(`${String(key)}: a text, a number, or a list of them is needed`);
}
