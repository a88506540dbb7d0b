/**
 * The part of the demonstration that passes a word over vsock, both ways: the guest connects to a
 * program of the host, and a program of the host to one of the guest.
 *
 * @module
 */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { VsockClient } from '../src/frontend/index.ts';
import { VsockHost } from '../src/vsock/index.ts';

const HOST_PORT = 5000;
const GUEST_PORT = 1234;
const HOST_CID = 2;
/** The guest boots, under emulation, and does other things first. */
const GUEST_WAIT_MS = 120_000;
const FROM_GUEST = 'a word from the guest';
const FROM_HOST = 'a word from the host';

/** What was heard over vsock; empty before that. */
export interface VsockTalk {
  /** By the program of the host that the guest connects to. */
  heardFromGuest: string;
  /** By the host, from the program of the guest that it connects to. */
  answerOfGuest: string;
}

/**
 * What the guest does: it listens, and connects to the host; each side says the other's word again
 * in capitals. It tells its host by lines of the form `@key=value`.
 */
export const VSOCK_SCRIPT: string = `cat >vsock.py <<'END'
import socket
server = socket.socket(socket.AF_VSOCK)
server.bind((socket.VMADDR_CID_ANY, ${GUEST_PORT}))
server.listen()
client = socket.socket(socket.AF_VSOCK)
client.connect((${HOST_CID}, ${HOST_PORT}))
client.sendall(b'${FROM_GUEST}')
client.shutdown(socket.SHUT_WR)
print('@answer=' + client.makefile().read(), flush=True)
peer, address = server.accept()
word = peer.makefile().read()
print('@word=' + word, flush=True)
peer.sendall(word.upper().encode())
END
python3 vsock.py
`;

/** The host's part: it listens for the guest, and connects to it once it is there. */
export async function talkFromHost(udsPath: string, signal: AbortSignal): Promise<VsockTalk> {
  const talk: VsockTalk = { heardFromGuest: '', answerOfGuest: '' };
  const host = new VsockHost(udsPath);
  const heard = new Promise<string>((resolve, reject) => {
    const listening = host.listen(HOST_PORT, (socket) => void hear(socket).then(resolve, reject), {
      signal,
      allowHalfOpen: true,
    });
    listening.catch(reject);
  });
  const socket = await host.connect(GUEST_PORT, { waitMs: GUEST_WAIT_MS, signal });
  talk.answerOfGuest = await ask(socket, FROM_HOST);
  talk.heardFromGuest = await heard;
  return talk;
}

/** The guest's part, without one, by our own front-end. */
export async function playGuest(socketPath: string, connectWaitMs: number): Promise<string> {
  const guest = await VsockClient.connect(socketPath, { connectWaitMs });
  try {
    const answered = new Promise<void>((resolve, reject) => {
      guest.listen(GUEST_PORT, (socket) => void hear(socket).then(() => resolve(), reject));
    });
    const answer = await ask(await guest.dial(HOST_PORT), FROM_GUEST);
    await answered;
    return answer;
  } finally {
    await guest.close();
  }
}

/** What was said, as lines. @throws Error when it is not what should have been */
export function compareTalk(who: string, answerOfHost: string, talk: VsockTalk): string[] {
  const { heardFromGuest, answerOfGuest } = talk;
  const found = [heardFromGuest, answerOfHost, answerOfGuest];
  const wanted = [FROM_GUEST, FROM_GUEST.toUpperCase(), FROM_HOST.toUpperCase()];
  if (found.join('|') !== wanted.join('|')) {
    throw new Error(`What was said over vsock is '${found.join("', '")}'.`);
  }
  return [
    `the ${who} connects to port ${HOST_PORT} of the host: '${heardFromGuest}'`,
    `and is answered: '${answerOfHost}'`,
    `the host connects to port ${GUEST_PORT} of the ${who}, says '${FROM_HOST}',`,
    `and is answered: '${answerOfGuest}'`,
  ];
}

/** Says a word and its end; returns what comes back. */
async function ask(socket: Duplex, word: string): Promise<string> {
  socket.end(word);
  return await text(socket);
}

/** Hears a word to its end, and says it again in capitals. */
async function hear(socket: Socket | Duplex): Promise<string> {
  let word = '';
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) word += String(chunk);
  await new Promise<void>((resolve) => socket.end(word.toUpperCase(), resolve));
  return word;
}
