/**
 * From what an operator asks for to a virtio-fs device.
 *
 * @module
 */
import { VhostUserError } from '../util/index.ts';
import type { FsChoices } from './fs-settings.ts';
import type { ServableDevice } from './serve.ts';

/** Opens the device. @throws VhostUserError in words for people */
export function openFsDevice(choices: FsChoices, tag: string): Promise<ServableDevice> {
  return Promise.reject(
    new VhostUserError('ERR_VHU_OPTION', `${tag}: no file system yet (${String(choices.cache)})`),
  );
}
