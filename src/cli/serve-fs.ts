/**
 * A shared folder as something to be served: from options of the command line, or from a
 * configuration file.
 *
 * @module
 */
import type { BackendAddress } from '../backend/index.ts';
import { FOLDER_FDS_MIN } from '../devices/fs/index.ts';
import { effectiveUid, fdLimit, host, raiseFdLimit, userCount } from '../sys/index.ts';
import { VhostUserError } from '../util/index.ts';
import type { FsCommandOptions } from './commands/fs.ts';
import { UsageError } from './errors.ts';
import { counted, formatBytes, oneLine } from './format.ts';
import { openFsDevice } from './fs-device.ts';
import { openFilesRemark, ownerRemark, standardTag } from './fs-settings.ts';
import type { FsChoices } from './fs-settings.ts';
import { mountLine, qemuFsLines, qemuHost } from './qemu.ts';
import { openLog, serve } from './serve.ts';
import type { Remark, ServeEntry } from './serve.ts';
import { InheritedSockets, commandSocket, resolveAddress } from './socket-address.ts';
import { remarksOn } from './virtiofsd.ts';

/** Serves one file system and returns the exit code. */
export async function serveOneFs(options: FsCommandOptions, help: string): Promise<number> {
  const address = resolveAddress(commandSocket(options), new InheritedSockets(), help);
  const entry = fsEntry('fs', options, address, remarksOn(options));
  try {
    return await serve([entry], openLog(options.logLevel, options.logFormat));
  } catch (error) {
    // An option that only the device understands, such as the rules of a map.
    if (!(error instanceof VhostUserError) || error.code !== 'ERR_VHU_OPTION') throw error;
    throw new UsageError(error.message, help);
  }
}

/** A file system to be served. */
export function fsEntry(
  name: string,
  choices: FsChoices,
  address: BackendAddress,
  remarks: readonly Remark[] = [],
): ServeEntry {
  const tag = choices.tag ?? standardTag(choices);
  return {
    name,
    address,
    remarks: [...remarks, ...hostRemarks(choices)],
    open: () => Promise.resolve(openFsDevice(choices, tag)),
    describe: () => {
      const access = isReadOnly(choices) ? 'read-only' : 'read-write';
      const queues = counted(choices.numRequestQueues ?? 1, 'request queue');
      const cache = choices.sharedDir === undefined ? '' : `, cache ${choices.cache ?? 'auto'}`;
      return `${sourceText(choices)}, ${access}${cache}, tag ${oneLine(tag)}, ${queues}`;
    },
    hint: () => Promise.resolve(attachHint(address, choices, tag)),
  };
}

/** What this host makes of the choices, where that is not what one may expect. */
function hostRemarks(choices: FsChoices): Remark[] {
  const remarks: Remark[] = [];
  const owners = ownerRemark(choices, effectiveUid(), userCount());
  if (owners !== null) remarks.push({ level: 'info', text: owners });
  const { rlimitNofile = 0 } = choices;
  if (rlimitNofile > 0) {
    raiseFdLimit();
    const { soft, hard } = fdLimit();
    const files = openFilesRemark(rlimitNofile, soft, hard, FOLDER_FDS_MIN);
    if (files !== null) remarks.push({ level: 'warn', text: files });
  }
  return remarks;
}

function isReadOnly(choices: FsChoices): boolean {
  return choices.readonly === true || choices.archive !== undefined;
}

function sourceText({ sharedDir, archive, memory }: FsChoices): string {
  if (memory === undefined) return oneLine(sharedDir ?? archive ?? '');
  return memory === true ? 'memory' : `memory, ${formatBytes(memory)}`;
}

function attachHint(address: BackendAddress, choices: FsChoices, tag: string): string[] {
  if (address.kind !== 'listen') return [];
  const { os, arch } = host();
  const lines = qemuFsLines(qemuHost(os, arch), {
    socketPath: address.path,
    tag,
    requestQueueCount: choices.numRequestQueues ?? 1,
  });
  return [
    ...['', 'Attach it to a guest:', `  ${lines.join(' \\\n    ')}`, ''],
    ...['and mount it there:', `  ${mountLine(tag)}`, ''],
  ];
}
