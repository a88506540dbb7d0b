/**
 * The part of the demonstration that shares a folder: the host writes a file that a guest reads,
 * and the guest writes one that the host reads.
 *
 * @module
 */
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FsClient } from '../src/index.ts';

/** The tag by which the guest mounts the folder. */
export const TAG = 'demo';
const CONNECT_WAIT_MS = 20_000;
const FROM_HOST = 'hello from the host';
const FROM_GUEST = 'hello from the guest';

/** What the guest does with the folder; it tells its host by lines of the form `@key=value`. */
export const SHARE_SCRIPT: string = `mkdir -p share
mount -t virtiofs ${TAG} share
echo "@shared=$(grep ' /tmp/share ' /proc/mounts)"
echo "@heard=$(cat share/from-host.txt)"
echo '${FROM_GUEST}' >share/from-guest.txt
mkdir share/made-by-the-guest
chmod 750 share/made-by-the-guest
ln -s from-guest.txt share/made-by-the-guest/link
ls -l share
umount share
`;

/** Makes the folder, with a file for the guest in it. */
export function makeShare(folder: string): void {
  mkdirSync(folder);
  writeFileSync(join(folder, 'from-host.txt'), `${FROM_HOST}\n`);
}

/** The same without a guest, by our own client. Returns what it read. */
export async function useShare(socketPath: string): Promise<string> {
  const share = await FsClient.mount(socketPath, { connectWaitMs: CONNECT_WAIT_MS });
  try {
    const heard = String(await share.readFile('/from-host.txt'));
    await share.writeFile('/from-guest.txt', `${FROM_GUEST}\n`);
    await share.mkdir('/made-by-the-guest', { mode: 0o750 });
    await share.symlink('from-guest.txt', '/made-by-the-guest/link');
    return heard.trimEnd();
  } finally {
    await share.unmount();
  }
}

/** What both sides have read, as lines. @throws Error when one of them did not read the other's */
export function compareShare(who: string, heard: string, folder: string): string[] {
  const answer = readFileSync(join(folder, 'from-guest.txt'), 'utf8').trimEnd();
  if (heard !== FROM_HOST || answer !== FROM_GUEST) {
    throw new Error(`The ${who} read '${heard}', and the host '${answer}'.`);
  }
  const names = readdirSync(folder).join('  ');
  return [
    `the ${who} reads from-host.txt: ${heard}`,
    `the host reads from-guest.txt: ${answer}`,
    `in the folder now: ${names}`,
  ];
}
