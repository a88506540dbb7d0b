/**
 * The tiers of the tests, in the order in which they run.
 *
 * @module
 */
import type { PeerSearch } from '../peers/setup.ts';
import { ensurePeers, missingPeers } from '../peers/setup.ts';
import { ensureZig } from '../peers/zig.ts';
import { filesIn } from '../support/repository.ts';
import { checkCommand } from './command.ts';
import { COUNTED, checkCoverage, resetCoverage } from './coverage.ts';
import type { Check, Tier } from './outcome.ts';
import { checkPackage } from './package-tier.ts';
import { checkStatics } from './static-tier.ts';
import { runTestFiles } from './test-files.ts';
import type { TestFileOptions } from './test-files.ts';

/** What a run was asked for. */
export interface RunOptions {
  /** Only files whose path holds this text; empty for all. */
  readonly filter: string;
  /** The seed of the property-based tests. */
  readonly seed: number;
  /** Tells people a line. */
  readonly say: (line: string) => void;
  /** Is told how long each file of tests took. */
  readonly took: (file: string, ms: number) => void;
}

// Some ten times of what the slowest file takes on an idle machine.
const UNIT_LIMIT_MS = 300_000;
const FUZZ_LIMIT_MS = 600_000;
const END_TO_END_LIMIT_MS = 600_000;
const GUEST_LIMIT_MS = 1_200_000;

const POSIX = { VHOST_USER_HOST: 'posix' };

const TEST_FILES: readonly string[] = filesIn('test').filter((file) => file.endsWith('.test.ts'));
const SOURCE_FILES: readonly string[] = ['src', 'bench', 'scripts', 'examples'].flatMap(filesIn);
const UNIT: readonly string[] = SOURCE_FILES.filter((file) => file.endsWith('.test.ts'));
const FUZZ: readonly string[] = SOURCE_FILES.filter((file) => file.endsWith('.fuzz.ts'));
const STATIC = 'test/tidy.test.ts';
const DOCS = 'test/docs.test.ts';
/** Tests that need the peers: a real QEMU, a guest, libblkio. */
const GUEST: readonly string[] = TEST_FILES.filter((file) => /^test\/(guest|peers)\//.test(file));
/** Tests that check a whole set and say how much that was. */
const PROOFS: readonly string[] = TEST_FILES.filter((file) => file.startsWith('test/proofs/'));
const END_TO_END: readonly string[] = TEST_FILES.filter(
  (file) => file !== STATIC && file !== DOCS && ![...GUEST, ...PROOFS].includes(file),
);

type FileRunner = (
  files: readonly string[],
  how: TestFileOptions,
  report: (check: Check) => void,
) => Promise<void>;

/** The tiers of a run. */
export function tiersOf(options: RunOptions): Tier[] {
  const seed = { VHOST_USER_TEST_SEED: String(options.seed) };
  const files: FileRunner = (all, how, report) => {
    const chosen = all.filter((file) => file.includes(options.filter));
    return runTestFiles(
      chosen,
      { ...how, took: options.took, env: { ...seed, ...how.env } },
      report,
    );
  };
  const peers = peerFinder(options.say);
  const isWhole = options.filter === '';
  return [
    setUpTier(peers, options.say),
    { name: 'static', about: 'types, lint, format, house style', run: checkStatics },
    ...sourceTiers(files),
    {
      name: 'coverage',
      about: 'the share of lines that the tiers above have run',
      run: async (report) => {
        if (isWhole) await checkCoverage(report);
      },
    },
    proofsTier(files),
    guestTier(peers, files),
    {
      name: 'package',
      about: 'packed, installed in an empty folder, imported and run',
      run: async (report) => {
        if (isWhole) await checkPackage(report);
      },
    },
    docsTier(files),
  ];
}

function setUpTier(peers: () => Promise<PeerSearch>, say: RunOptions['say']): Tier {
  return {
    name: 'set-up',
    about: 'finds QEMU, a guest kernel, libblkio and zig, or installs them where that may be done',
    run: async (report) => {
      const search = await peers();
      const name = 'peers of the guest tests';
      if (search.peers !== undefined) report({ name, status: 'passed' });
      else report({ name, status: 'skipped', detail: missingPeers(search) });
      const compiler = 'compiler of the proofs: headers of other systems';
      const { missing } = await ensureZig(say);
      if (missing === undefined) report({ name: compiler, status: 'passed' });
      else report({ name: compiler, status: 'skipped', detail: missing });
    },
  };
}

/** The tiers whose lines are counted. */
function sourceTiers(files: FileRunner): Tier[] {
  const unit = { atATime: 2, limitMs: UNIT_LIMIT_MS };
  const endToEnd = { atATime: 2, limitMs: END_TO_END_LIMIT_MS };
  return [
    {
      name: 'unit',
      about: 'the tests beside the sources, with coverage',
      run: async (report) => {
        resetCoverage();
        await files(UNIT, { ...unit, env: COUNTED }, report);
      },
    },
    {
      name: 'posix',
      about: 'the same with only what every POSIX host has: pipes, shm_open, poll, pread',
      run: async (report) => {
        const env = { ...COUNTED, ...POSIX };
        await files(UNIT, { ...unit, env }, report);
        await files(END_TO_END, { ...endToEnd, env }, report);
      },
    },
    {
      name: 'fuzz',
      about: 'random steps from a seed, against models',
      run: (report) => files(FUZZ, { atATime: 2, limitMs: FUZZ_LIMIT_MS, env: COUNTED }, report),
    },
    {
      name: 'end-to-end',
      about: 'the command line and both ends of a socket',
      run: (report) => files(END_TO_END, { ...endToEnd, env: COUNTED }, report),
    },
  ];
}

function proofsTier(files: FileRunner): Tier {
  return {
    name: 'proofs',
    about: 'what is checked as a whole, such as the tables of all hosts against their headers',
    run: async (report) => {
      const checks: Check[] = [];
      await files(PROOFS, { atATime: 2, limitMs: GUEST_LIMIT_MS }, (check) => {
        checks.push(check);
        report(check);
      });
      for (const file of new Set(checks.map(({ name }) => name.replace(/: .*/s, '')))) {
        const own = checks.filter(({ name }) => name.startsWith(file));
        const isWhole = own.every(({ status }) => status === 'passed');
        if (!isWhole || own.some(({ proofs = [] }) => proofs.length > 0)) continue;
        report({ name: file, status: 'failed', detail: 'It passes and tells no proof.' });
      }
    },
  };
}

function guestTier(peers: () => Promise<PeerSearch>, files: FileRunner): Tier {
  return {
    name: 'guest',
    about: 'Linux guests in QEMU 10 and 11, and libblkio',
    run: async (report) => {
      const search = await peers();
      // A guest and its devices keep little more than one processor busy: they wait for each other.
      const how = { atATime: 2, limitMs: GUEST_LIMIT_MS };
      if (search.peers !== undefined) await files(GUEST, how, report);
      else skipFiles(GUEST, missingPeers(search), report);
    },
  };
}

function docsTier(files: FileRunner): Tier {
  return {
    name: 'docs',
    about: 'commands and links of the documentation, and the reference by typedoc',
    run: async (report) => {
      const limitMs = END_TO_END_LIMIT_MS;
      const typedoc = ['npx', '--no-install', 'typedoc', '--emit', 'none'];
      await Promise.all([
        files([DOCS], { atATime: 1, limitMs }, report),
        checkCommand('typedoc', typedoc, { limitMs }).then(report),
      ]);
    },
  };
}

function skipFiles(files: readonly string[], reason: string, report: (check: Check) => void): void {
  for (const name of files) report({ name, status: 'skipped', detail: reason });
}

/** Looks for the peers once, however many tiers ask. */
function peerFinder(say: (line: string) => void): () => Promise<PeerSearch> {
  let search: Promise<PeerSearch> | undefined;
  return () => (search ??= ensurePeers(say));
}
