/**
 * Forwards and listeners of a vsock in plain words: `guest:1234=tcp:127.0.0.1:22`,
 * `unix:/tmp/web.sock=guest:80`.
 *
 * @module
 */
import { isIP } from 'node:net';
import type {
  VsockForward,
  VsockListen,
  VsockSource,
  VsockTarget,
} from '../devices/vsock/index.ts';
import { LIMITS, keepsRule, ruleText } from './limits.ts';
import type { NumberRule } from './limits.ts';

/** What is wrong with a text, in words: a sentence without its full stop. */
export class TextFault extends Error {}

const FORWARD_FORMS =
  'write guest:PORT=tcp:HOST:PORT, guest:PORT=unix:PATH or guest:PORT=vsock:CID:PORT';
const LISTEN_FORMS =
  'write tcp:HOST:PORT=guest:PORT, unix:PATH=guest:PORT or vsock:PORT=guest:PORT';
/** Where nothing says otherwise only this host itself may connect. */
const LOCAL_HOST = '127.0.0.1';
/** What can be listened on beside addresses in digits; `*` is each of this host. */
const LISTEN_NAMES: readonly string[] = ['localhost', '*'];

/** Reads `guest:1234=tcp:127.0.0.1:22`. @throws TextFault */
export function parseForward(text: string): VsockForward {
  const at = text.indexOf('=');
  if (at < 0) throw new TextFault(`there is no '=' in it: ${FORWARD_FORMS}`);
  const [left, right] = [text.slice(0, at), text.slice(at + 1)];
  if (isGuest(right) && !isGuest(left)) {
    throw new TextFault(`that is how a listener is written: use listen, or ${FORWARD_FORMS}`);
  }
  const port = guestPort(left, FORWARD_FORMS);
  if (port !== '*') number(port, LIMITS.vsockPort, `the guest's port '${port}'`);
  return { guestPort: port === '*' ? '*' : Number(port), target: target(right) };
}

/** Reads `tcp:127.0.0.1:2222=guest:22`. @throws TextFault */
export function parseListen(text: string): VsockListen {
  const at = text.lastIndexOf('=');
  if (at < 0) throw new TextFault(`there is no '=' in it: ${LISTEN_FORMS}`);
  const [left, right] = [text.slice(0, at), text.slice(at + 1)];
  if (isGuest(left) && !isGuest(right)) {
    throw new TextFault(`that is how a forward is written: use forward, or ${LISTEN_FORMS}`);
  }
  const port = guestPort(right, LISTEN_FORMS);
  number(port, LIMITS.vsockPort, `the guest's port '${port}'`);
  return { source: source(left), guestPort: Number(port) };
}

/** Reads ports with `+` between them, such as `9001+9002`. @throws TextFault */
export function parsePorts(text: string): number[] {
  return text
    .split('+')
    .map((each) => number(each, LIMITS.vsockPort, `'${each}' (ports have a '+' between them)`));
}

/** Reads names of groups with `+` between them. @throws TextFault */
export function parseGroups(text: string): string[] {
  const names = text.split('+').map((name) => name.trim());
  if (names.includes('')) {
    throw new TextFault("one of the names is empty: write names with a '+' between them");
  }
  return [...new Set(names)];
}

/** A number of a text. @throws TextFault that names `what` */
export function number(text: string, rule: NumberRule, what: string): number {
  const value = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (keepsRule(value, rule)) return value;
  throw new TextFault(`${what} must be ${ruleText(rule)}`);
}

/** The text that {@link parseForward} reads. */
export function forwardText({ guestPort: port, target: to }: VsockForward): string {
  return `guest:${port}=${addressText(to)}`;
}

/** The text that {@link parseListen} reads. */
export function listenText({ source: from, guestPort: port }: VsockListen): string {
  return `${addressText(from)}=guest:${port}`;
}

function addressText(address: VsockTarget | VsockSource): string {
  const kind = 'type' in address && address.type === 'seqpacket' ? '-seqpacket' : '';
  if (address.kind === 'unix') return `unix${kind}:${address.path}`;
  const port = address.port === undefined ? '' : `:${address.port}`;
  if (address.kind === 'vsock') {
    const cid = 'cid' in address ? `:${address.cid}` : '';
    return `vsock${kind}${cid}${port}`;
  }
  return `tcp:${address.host.includes(':') ? `[${address.host}]` : address.host}${port}`;
}

function isGuest(text: string): boolean {
  return text.startsWith('guest:');
}

function guestPort(text: string, forms: string): string {
  if (!isGuest(text)) throw new TextFault(`'${text}' is not a port of the guest: ${forms}`);
  return text.slice('guest:'.length);
}

function target(text: string): VsockTarget {
  const [kind, rest] = splitKind(text);
  switch (kind) {
    case 'unix':
      return { kind, path: pathOf(rest, text) };
    case 'tcp':
      return { kind, ...hostAndPort(rest, text) };
    case 'vsock':
      return { kind, ...cidAndPort(rest, text) };
    default:
      throw new TextFault(`'${text}' begins with none of tcp:, unix: and vsock: ${FORWARD_FORMS}`);
  }
}

function source(text: string): VsockSource {
  const [kind, rest] = splitKind(text);
  switch (kind) {
    case 'unix':
      return { kind, path: pathOf(rest, text) };
    case 'unix-seqpacket':
      return { kind: 'unix', path: pathOf(rest, text), type: 'seqpacket' };
    case 'tcp': {
      const { host, port } = hostAndPort(rest, text, LIMITS.listenPort);
      if (port === undefined) throw new TextFault(`'${text}' has no port: write ${text}:PORT`);
      if (isIP(host) === 0 && !LISTEN_NAMES.includes(host)) {
        throw new TextFault(
          `'${host}' is no address of this host: write it in digits, such as ${LOCAL_HOST} or ::1`,
        );
      }
      return { kind, host, port };
    }
    case 'vsock':
      return { kind, port: number(rest, LIMITS.vsockPort, `the port of '${text}'`) };
    case 'vsock-seqpacket': {
      const port = number(rest, LIMITS.vsockPort, `the port of '${text}'`);
      return { kind: 'vsock', port, type: 'seqpacket' };
    }
    default:
      throw new TextFault(`'${text}' begins with none of tcp:, unix: and vsock: ${LISTEN_FORMS}`);
  }
}

function splitKind(text: string): readonly [kind: string, rest: string] {
  const at = text.indexOf(':');
  return at < 0 ? ['', text] : [text.slice(0, at), text.slice(at + 1)];
}

function pathOf(rest: string, text: string): string {
  if (rest === '') throw new TextFault(`'${text}' has no path: write unix:PATH`);
  return rest;
}

/** `127.0.0.1:22`, `[::1]:22`; `22` is a port of this host; `db.example` has no port. */
function hostAndPort(
  rest: string,
  text: string,
  rule: NumberRule = LIMITS.tcpPort,
): { host: string; port?: number } {
  const found = /^(?:\[([^\]]+)\]|([^:[\]]*))(?::([^:]*))?$/.exec(rest);
  if (found === null) {
    throw new TextFault(
      `'${text}' is no address: write tcp:HOST:PORT, or tcp:[ADDRESS]:PORT for IPv6`,
    );
  }
  const [, v6, name = '', portText] = found;
  if (v6 === undefined && portText === undefined && /^[0-9]+$/.test(name)) {
    return { host: LOCAL_HOST, port: number(name, rule, `the port of '${text}'`) };
  }
  const host = v6 ?? (name === '' ? LOCAL_HOST : name);
  if (portText === undefined) {
    if (rest === '') throw new TextFault(`'${text}' has no address: write tcp:HOST:PORT`);
    return { host };
  }
  return { host, port: number(portText, rule, `the port of '${text}'`) };
}

/** `CID:PORT`, or `CID` for the port that the guest names. */
function cidAndPort(rest: string, text: string): { cid: number; port?: number } {
  const [cidText = '', portText, more] = rest.split(':');
  if (cidText === '' || more !== undefined) {
    throw new TextFault(`'${text}' is no address: write vsock:CID:PORT, where CID 1 is this host`);
  }
  const cid = number(cidText, LIMITS.vsockPort, `the CID of '${text}'`);
  if (portText === undefined) return { cid };
  return { cid, port: number(portText, LIMITS.vsockPort, `the port of '${text}'`) };
}
