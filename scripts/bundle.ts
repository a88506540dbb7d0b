/**
 * Puts the compiled program into a few files. Node takes about a millisecond for each file that it
 * loads, and in a sandbox the program starts twice; of one file a command, a disk is served after
 * two thirds of the time.
 *
 * Only this package's own modules are put together; its dependencies stay what they are. The
 * library (`exports` of package.json) stays as the compiler wrote it, one file for each module.
 *
 * Run by `npm run build` on `dist`, and by `npm run bench` on `build/src`.
 *
 * @module
 */
import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join, posix, relative, resolve, sep } from 'node:path';
import { rollup } from 'rollup';
import type {
  ExistingRawSourceMap,
  GetManualChunk,
  LoadResult,
  OutputChunk,
  Plugin,
  RollupLog,
} from 'rollup';

/** Folders of modules that no user of the library can import. */
const PROGRAM_ONLY = ['cli', 'doctor', 'qemu'];

/** Modules that share no variable with those of another part, since they run in other threads. */
interface Part {
  /** What is loaded by its path: the program, and what a worker is started with or told to load. */
  readonly entries: readonly string[];
  /** Files by their names, and of what they are made beside all that it imports. */
  readonly chunks: Readonly<Record<string, readonly string[]>>;
  readonly chunkFiles: string;
}

/** What reads a command line and enters the sandbox, and is left by executing the program again. */
const START = [
  ...['root', 'capabilities', 'errors', 'output', 'version', 'virtiofsd', 'enter-sandbox'].map(
    (name) => `cli/${name}`,
  ),
  ...['blk', 'fs', 'vsock', 'rng', 'console', 'run'].map((name) => `cli/commands/${name}`),
  // By far the most common host; the others have files of their own.
  ...['abi/linux', 'sys/sandbox/linux'],
];

const PARTS: readonly Part[] = [
  {
    entries: ['cli/main', 'sys/index', 'doctor/sandbox-trial'],
    chunks: {
      start: START,
      serve: ['cli/serve', 'cli/socket-address', 'cli/qemu', 'sys/index'],
      blk: ['cli/serve-blk'],
      fs: ['cli/serve-fs'],
      vsock: ['cli/serve-vsock'],
      rng: ['cli/serve-rng'],
      console: ['cli/serve-console'],
    },
    chunkFiles: 'chunks/[name].js',
  },
  {
    entries: [
      'backend/runner/queue.worker',
      'sys/watch.worker',
      'devices/blk/data-plane',
      'devices/fs/data-plane',
      'devices/fs/passthrough/create-operations',
      'devices/fs/memory/memory.worker',
      'devices/fs/archive/archive.worker',
      'devices/vsock/data-plane',
    ],
    chunks: { thread: ['sys/index', 'memory/index', 'virtqueue/index', 'abi/linux'] },
    chunkFiles: 'chunks/of-threads/[name].js',
  },
];

/** A module that is loaded by its path, as the sources write it. */
const BY_PATH = /new URL\(`(\.{1,2}\/[\w./-]+)\$\{\w+\}`, import\.meta\.url\)/g;
/** What is loaded as CommonJS, and what stands for such a module. */
const COMMON_JS = /^(node:.*|commander)$/;
const COMMON_JS_MARK = '\0common-js:';
const REQUIRE = '\0require';
/** Stands for the folder of the program until it is known which file a module has come to. */
const ROOT_MARK = 'program-root:';

/** Whatever else the bundler remarks is a mistake. */
const REMARKS_EXPECTED: ReadonlySet<string | undefined> = new Set([
  // `this` of the compiler's helpers is known to be undefined in a module.
  'THIS_IS_UNDEFINED',
]);

const [from = 'dist', to = 'dist/program'] = process.argv.slice(2);
await bundle(resolve(from), resolve(to));

/** Makes the program in `target` out of the compiled modules in `source`. */
async function bundle(source: string, target: string): Promise<void> {
  rmSync(target, { recursive: true, force: true });
  const entries = new Set(PARTS.flatMap((part) => part.entries));
  for (const part of PARTS) {
    const bundled = await rollup({
      input: Object.fromEntries(part.entries.map((name) => [name, join(source, `${name}.js`)])),
      external: (id) => !/^[./\0]/.test(id) && (!COMMON_JS.test(id) || id === 'node:module'),
      plugins: [compiled(source), asCommonJs(), byPath(source, entries)],
      onLog: (_level, log) => refuse(log),
    });
    const { output } = await bundled.write({
      dir: target,
      format: 'es',
      sourcemap: true,
      minifyInternalExports: false,
      hoistTransitiveImports: false,
      chunkFileNames: part.chunkFiles,
      manualChunks: chunksOf(part, source),
    });
    await bundled.close();
    for (const chunk of output) if (chunk.type === 'chunk') checkPlaces(chunk);
  }
  // What is left of the package's own compiled modules is the library.
  if (target.startsWith(source + sep)) removeProgramModules(source);
}

/** Says which file a module comes to: the first one that it is named for or is imported in. */
function chunksOf(part: Part, source: string): GetManualChunk {
  const chunks = new Map<string, string>();
  return (id, { getModuleInfo }) => {
    // All modules are known when the first one is asked for.
    if (chunks.size === 0) {
      for (const [name, modules] of Object.entries(part.chunks)) {
        const waiting = modules.map((each) => join(source, `${each}.js`));
        for (let each = waiting.pop(); each !== undefined; each = waiting.pop()) {
          if (chunks.has(each)) continue;
          chunks.set(each, name);
          waiting.push(...(getModuleInfo(each)?.importedIds ?? []));
        }
      }
    }
    return chunks.get(id);
  };
}

/** Loads what the compiler wrote, with its map, so that errors name the sources. */
function compiled(source: string): Plugin {
  return {
    name: 'compiled',
    load(id): LoadResult {
      if (!id.startsWith(source)) return null;
      const map = JSON.parse(readFileSync(`${id}.map`, 'utf8')) as ExistingRawSourceMap;
      return { code: readFileSync(id, 'utf8'), map };
    },
  };
}

/**
 * Has what is CommonJS in itself loaded as that: Node's own modules, whose every export is looked
 * at when they are imported (`node:fs` loads its streams for that, 9 ms in each thread), and
 * packages, whose text is read for their exports. Names become properties that are read where they
 * are used.
 */
function asCommonJs(): Plugin {
  const requiring =
    "import { createRequire } from 'node:module';\n" +
    'export default createRequire(import.meta.url);\n';
  return {
    name: 'as-common-js',
    resolveId(id) {
      if (id === REQUIRE) return id;
      return COMMON_JS.test(id) && id !== 'node:module' ? COMMON_JS_MARK + id : null;
    },
    load(id): LoadResult {
      if (id === REQUIRE) return requiring;
      if (!id.startsWith(COMMON_JS_MARK)) return null;
      const name = id.slice(COMMON_JS_MARK.length);
      const code = `import require from '${REQUIRE}';\nexport default require('${name}');\n`;
      return { code, syntheticNamedExports: true };
    },
  };
}

/** Has modules that are loaded by their path found from whichever file they are named in. */
function byPath(source: string, entries: ReadonlySet<string>): Plugin {
  return {
    name: 'by-path',
    transform(code, id) {
      if (!code.includes('import.meta.url')) return null;
      const replaced = code.replaceAll(BY_PATH, (_all, path: string) => {
        const folder = relative(source, dirname(id)).split(sep).join('/');
        const name = posix.join(folder, path);
        if (!entries.has(name)) throw new Error(`${name} is loaded by its path: name it in PARTS`);
        return `new URL('${ROOT_MARK}${name}.js', import.meta.url)`;
      });
      return { code: replaced, map: null };
    },
    renderChunk(code, { fileName }) {
      const up = '../'.repeat(fileName.split('/').length - 1);
      return { code: code.replaceAll(ROOT_MARK, up === '' ? './' : up), map: null };
    },
  };
}

/** Each module that is loaded by its path has to be found so. */
function checkPlaces({ code, fileName }: OutputChunk): void {
  const left = /new URL\(`\.{1,2}\/[\w./-]+\$\{\w+\}`|new URL\([^)]*\.ts\b/.exec(code);
  if (left !== null) throw new Error(`${fileName}: what is loaded by ${left[0]} is not found`);
}

function removeProgramModules(library: string): void {
  for (const folder of PROGRAM_ONLY) rmSync(join(library, folder), { recursive: true });
  const stays = readdirSync(library).filter((name) => existsSync(join(library, name, 'index.js')));
  if (stays.length === 0) throw new Error(`${library}: nothing is left of the library`);
}

function refuse({ code, message }: RollupLog): void {
  if (!REMARKS_EXPECTED.has(code)) throw new Error(`rollup: ${code ?? ''} ${message}`);
}
