/**
 * Enters the sandbox of a shared folder, the one for temporary files, and prints which it got.
 * A program of its own, since there is no way back; it reads nothing in that folder.
 *
 * @module
 */
import { writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { errorMessage } from '../util/index.ts';
import { NO_NEEDS, enterSandbox, programFiles } from '../sys/sandbox/index.ts';

/** What is printed, as JSON. */
export interface SandboxTrial {
  readonly parts: readonly string[];
  readonly missing: readonly string[];
  /** Why it is no mount namespace; null: it is one, or nothing is known of that. */
  readonly noNamespace: string | null;
}

const STDOUT = 1; // of the doctor, which started this

// What is measured there could not be written when all is shut.
Reflect.deleteProperty(process.env, 'NODE_V8_COVERAGE');

function tried(): SandboxTrial {
  try {
    const { parts, missing, noNamespace } = enterSandbox({
      needs: {
        ...NO_NEEDS,
        paths: [{ path: tmpdir(), access: 'tree' }],
        sharesFolder: true,
        ownsFiles: true,
      },
      mode: 'auto',
      files: 'best',
      onRefusal: 'error',
      program: programFiles([import.meta.url, import.meta.resolve('koffi')]),
    });
    return { parts, missing, noNamespace: noNamespace ?? null };
  } catch (error) {
    return { parts: [], missing: [errorMessage(error)], noNamespace: null };
  }
}

writeSync(STDOUT, JSON.stringify(tried()));
