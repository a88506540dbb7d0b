/**
 * Where `src/sys` declares functions of C: every text in its sources that reads like a prototype.
 * What is declared there and is not known to the proof is a gap in it.
 *
 * @module
 */
import ts from 'typescript';
import { filesIn, parse } from '../../support/repository.ts';

/** The module that has koffi to itself, and the one that loads it for that. */
export const KOFFI_MODULES: readonly string[] = ['src/sys/koffi.ts', 'src/sys/libc.ts'];

/** The layer that can declare functions, since its door lets none of the means out. */
const LAYER = 'src/sys';

/** What functions are declared by; none of it is to be had outside of the layer. */
export const DECLARERS: readonly string[] = ['find', 'need', 'firstOf', 'variadic', 'register'];

/** A declaration in the sources. */
export interface Binding {
  /** The C function's name. */
  readonly name: string;
  readonly file: string;
  /** The whole prototype, where it is one text. */
  readonly text: string;
  /** Whether it is passed to a function that makes C call us. */
  readonly callback: boolean;
}

const SCALAR = String.raw`(?:void|(?:unsigned )?(?:int|long|char)|size_t|u?int(?:16|32|64|ptr)_t)`;
const TYPE = String.raw`(?:const )?${SCALAR}(?: \*)?`;
/** A result and a name; or a name and its first argument, where the result is a text before. */
const PROTOTYPE = new RegExp(String.raw`^(?:${TYPE} ?(\w+)\(|(\w+)\(${TYPE}\b)`);
/** Its argument is a list of names that no prototype can spell. */
const NAMES_WITH_TYPES = 'firstOf';

function isProduct(file: string): boolean {
  return file.endsWith('.ts') && !/\.(test|fuzz|bench)\.ts$/.test(file);
}

/** Every declaration, in the order of the files. */
export function bindingsIn(files: readonly string[] = filesIn(LAYER).filter(isProduct)): Binding[] {
  return files.flatMap((file) => bindingsOf(file, parse(file)));
}

/** The declarations of one file. */
export function bindingsOf(file: string, source: ts.SourceFile): Binding[] {
  const found: Binding[] = [];
  const visit = (node: ts.Node): void => {
    const text = textOf(node);
    if (text !== undefined) {
      const [, first, second] = PROTOTYPE.exec(text) ?? [];
      const name = first ?? second;
      const callback = isCallTo(node.parent, 'register');
      if (name !== undefined) found.push({ name, file, text, callback });
    }
    if (isCallTo(node, NAMES_WITH_TYPES)) found.push(...namesOf(file, node as ts.CallExpression));
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function textOf(node: ts.Node): string | undefined {
  if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) return node.text;
  return ts.isTemplateHead(node) ? node.text : undefined;
}

function isCallTo(node: ts.Node, name: string): boolean {
  if (!ts.isCallExpression(node)) return false;
  const { expression: called } = node;
  const last = ts.isPropertyAccessExpression(called) ? called.name : called;
  return last.getText() === name;
}

function namesOf(file: string, call: ts.CallExpression): Binding[] {
  const [list] = call.arguments;
  if (list === undefined || !ts.isArrayLiteralExpression(list)) return [];
  return list.elements.filter(ts.isStringLiteral).map(({ text }) => {
    return { name: text, file, text, callback: false };
  });
}

/** The modules that declare functions when they are loaded. */
export function bindingModules(): string[] {
  const files = bindingsIn()
    .filter(({ callback }) => !callback)
    .map(({ file }) => file);
  return [...new Set(files)];
}

/** The files of the layer that have koffi itself, or ask the module that loads it. */
export function koffiModules(): string[] {
  return filesIn(LAYER).filter(isProduct).filter(namesKoffi);
}

function namesKoffi(file: string): boolean {
  let isNamed = false;
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteralLike(node)) isNamed ||= /^koffi$|\/koffi\.[jt]s$/.test(node.text);
    ts.forEachChild(node, visit);
  };
  visit(parse(file));
  return isNamed;
}
