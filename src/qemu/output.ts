/**
 * What QEMU prints about itself, taken apart: `--version`, and the lists that `-device help`,
 * `-object help` and `-accel help` give. These texts are for people and have changed before, so
 * whatever is not known is passed over.
 *
 * @module
 */

/** A release of QEMU. */
export interface QemuVersion {
  readonly major: number;
  readonly minor: number;
  /** From 50 on a development snapshot of the next minor release, from 90 on its candidate. */
  readonly micro: number;
  /** `10.0.2`, as the program prints it. */
  readonly text: string;
  /** What the packager has added: `Debian 1:10.0.2+ds-2`; empty when there is nothing. */
  readonly packaging: string;
}

const VERSION =
  /^QEMU emulator version (\d+)\.(\d+)(?:\.(\d+))?([^\s(]*)[^\S\n]*(?:\(([^\n]*)\))?/m;

/** What `--version` says, or null when it is not QEMU that has spoken. */
export function parseVersion(text: string): QemuVersion | null {
  const found = VERSION.exec(text);
  if (found === null) return null;
  const [, major = '', minor = '', micro = '0', suffix = '', packaging = ''] = found;
  return {
    major: Number(major),
    minor: Number(minor),
    micro: Number(micro),
    text: `${major}.${minor}.${micro}${suffix}`,
    packaging,
  };
}

/** Whether a release is as new as another one, of which major and minor number count. */
export function isAtLeast(version: QemuVersion, major: number, minor: number): boolean {
  return version.major > major || (version.major === major && version.minor >= minor);
}

/** The names of devices out of `-device help`: those that may be given on a command line. */
export function parseDevices(text: string): string[] {
  return unique([...text.matchAll(/^name "([^"\n]+)"/gm)].map(([, name = '']) => name));
}

/** The names of objects out of `-object help`. */
export function parseObjects(text: string): string[] {
  return listed(text, /^List of user creatable objects:$/, /^ {2}([\w.-]+)$/);
}

/** The names of accelerators out of `-accel help`. */
export function parseAccelerators(text: string): string[] {
  return listed(text, /^(?:Possible accelerators|Accelerators supported).*:/, /^([\w-]+)$/);
}

/** The lines below a heading that are names; warnings may stand between them. */
function listed(text: string, heading: RegExp, name: RegExp): string[] {
  const lines = text.split(/\r?\n/);
  const start = lines.findIndex((line) => heading.test(line));
  if (start < 0) return [];
  return unique(lines.slice(start + 1).flatMap((line) => name.exec(line.trimEnd())?.[1] ?? []));
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)].sort();
}
