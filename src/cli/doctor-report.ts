/**
 * What `vhost-user doctor` gives to others: JSON for programs, and a page for a bug report, from
 * which what is private is taken out.
 *
 * @module
 */
import { isHealthy } from '../doctor/index.ts';
import type { Diagnosis } from '../doctor/index.ts';
import { vhostUserDevices } from '../qemu/index.ts';
import { diagnosisText } from './doctor-text.ts';

/** Of the JSON; it grows when a field goes or changes what it means, not when one is added. */
export const SCHEMA_VERSION = 1;

/** The columns of the text in a report. */
const REPORT_COLUMNS = 100;

/** What is private on a host. */
export interface Secrets {
  readonly home: string;
  readonly user: string;
  readonly hostName: string;
}

/** The whole diagnosis as JSON. docs/doctor.md describes the fields. */
export function diagnosisJson(diagnosis: Diagnosis, version: string): string {
  const { host, findings, qemus } = diagnosis;
  const { os, arch, release, distribution, isContainer, node } = host;
  const value = {
    schemaVersion: SCHEMA_VERSION,
    vhostUser: version,
    healthy: isHealthy(findings),
    host: { os, arch, release, distribution, container: isContainer, node },
    findings,
    qemus: qemus.map((probe) => ({
      path: probe.path,
      guestArch: probe.guestArch,
      version: probe.version?.text ?? null,
      packaging: probe.version?.packaging ?? null,
      vhostUserDevices: vhostUserDevices(probe),
      memoryBackends: probe.objects.filter((name) => name.startsWith('memory-backend-')),
      accelerators: probe.accelerators,
      fault: probe.fault,
    })),
  };
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** A page in Markdown for a bug report, without what is private. */
export function reportPage(diagnosis: Diagnosis, version: string, secrets: Secrets): string {
  const text = diagnosisText(diagnosis, `vhost-user ${version}`, {
    columns: REPORT_COLUMNS,
    colours: false,
  });
  const json = diagnosisJson(diagnosis, version);
  const page = [
    '## What happened',
    '',
    '<!-- What you did, what you expected, and what came instead. Paste the commands. -->',
    '',
    '## What `vhost-user doctor` says',
    '',
    '```text',
    text.trimEnd(),
    '```',
    '',
    '<details><summary>The same for programs</summary>',
    '',
    '```json',
    json.trimEnd(),
    '```',
    '',
    '</details>',
    '',
  ].join('\n');
  return withoutSecrets(page, secrets);
}

/** A text with the names of home folder, user and host replaced. */
export function withoutSecrets(text: string, { home, user, hostName }: Secrets): string {
  let result = text;
  if (home.length > 1) result = result.replaceAll(bounded(home), '~');
  // As a part of a path only: a user may be called `disk`.
  if (user !== '') result = result.replaceAll(`/${user}/`, '/USER/');
  const short = hostName.split('.')[0] ?? '';
  for (const name of [hostName, short]) {
    // `localhost` tells nothing, and a name of one letter is in every word.
    if (name.length > 1 && name !== 'localhost') result = result.replaceAll(bounded(name), 'HOST');
  }
  return result;
}

/** A text where no letter or digit comes before or after it. */
function bounded(text: string): RegExp {
  const escaped = text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`(?<![\\w.-])${escaped}(?![\\w-])`, 'g');
}
