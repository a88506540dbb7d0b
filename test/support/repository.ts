/**
 * The repository as its own tests see it: where it is, its files, and its TypeScript parsed.
 *
 * @module
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import ts from 'typescript';

/** The folder of package.json, found upwards from this file, wherever it was compiled to. */
export const ROOT: string = findRoot(import.meta.dirname);

/** The folder that the tests were compiled into: `build`, unless somebody chose another one. */
export const BUILD: string = dirname(dirname(import.meta.dirname));

function findRoot(start: string): string {
  for (let folder = start; folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder;
  }
  throw new Error(`no package.json above ${start}`);
}

/** Whether a folder of the repository is written by people: not built, fetched or hidden. */
function isWritten(name: string): boolean {
  return !name.startsWith('.') && !/^(node_modules|build.*|dist|coverage)$/.test(name);
}

/**
 * The files below a folder of the repository, as paths from its root, sorted; hidden ones are left
 * out.
 */
export function filesIn(folder: string): string[] {
  const found: string[] = [];
  const absolute = join(ROOT, folder);
  if (!existsSync(absolute)) return found;
  for (const entry of readdirSync(absolute, { withFileTypes: true })) {
    const path = join(absolute, entry.name);
    if (entry.isDirectory() && isWritten(entry.name)) found.push(...filesIn(relative(ROOT, path)));
    else if (entry.isFile()) found.push(relative(ROOT, path));
  }
  return found.sort();
}

/** The text of a file of the repository. */
export function readText(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8');
}

/** A TypeScript file, parsed with its parents set. */
export function parse(file: string): ts.SourceFile {
  return ts.createSourceFile(file, readText(file), ts.ScriptTarget.ES2023, true);
}

/** One reference of a file to another module. */
export interface Reference {
  /** What stands between the quotes. */
  readonly specifier: string;
  readonly line: number;
}

/**
 * What a file imports, re-exports, or starts as a worker, which looks like
 * `new URL('./x.worker…', import.meta.url)`.
 */
export function referencesOf(source: ts.SourceFile): Reference[] {
  const found: Reference[] = [];
  const add = (node: ts.Node, specifier: string): void => {
    const { line } = source.getLineAndCharacterOfPosition(node.getStart());
    found.push({ specifier, line: line + 1 });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) {
      const from = node.moduleSpecifier;
      if (from !== undefined && ts.isStringLiteral(from)) add(node, from.text);
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [from] = node.arguments;
      if (from !== undefined && ts.isStringLiteral(from)) add(node, from.text);
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      if (ts.isStringLiteral(node.argument.literal)) add(node, node.argument.literal.text);
    } else if (isStringPiece(node) && /^\.{1,2}\/[\w./-]*\.worker/.test(node.text)) {
      add(node, node.text.replace(/\.worker.*$/, '.worker.ts'));
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function isStringPiece(node: ts.Node): node is ts.StringLiteral | ts.TemplateHead {
  return (
    ts.isTemplateHead(node) || (ts.isStringLiteral(node) && !ts.isImportDeclaration(node.parent))
  );
}
