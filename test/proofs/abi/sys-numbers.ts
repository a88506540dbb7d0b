/**
 * The numbers that `src/sys` defines for itself, read out of its sources: every constant at the top
 * of a module that is a whole number, and every number in an object or a list there.
 *
 * @module
 */
import ts from 'typescript';
import { filesIn, parse } from '../../support/repository.ts';

/** One of them: `uring.ts PARAMS.flags` is 8. */
export interface SysNumber {
  readonly name: string;
  readonly value: number;
}

const NUMBERS_OF_JAVASCRIPT: ReadonlyMap<string, number> = new Map([['Infinity', Infinity]]);

/** All of them, in the order of the files. */
export function sysNumbers(): SysNumber[] {
  const files = filesIn('src/sys').filter((file) => !/\.(test|fuzz)\.ts$/.test(file));
  return files.flatMap(numbersOf);
}

function numbersOf(file: string): SysNumber[] {
  const found: SysNumber[] = [];
  const known = new Map(NUMBERS_OF_JAVASCRIPT);
  const prefix = file.slice('src/sys/'.length);
  const add = (name: string, node: ts.Expression): void => {
    const value = evaluate(node, known);
    if (value !== undefined) {
      known.set(name, value);
      found.push({ name: `${prefix} ${name}`, value });
      return;
    }
    const bare = unwrap(node);
    if (ts.isObjectLiteralExpression(bare)) {
      for (const property of bare.properties) {
        if (!ts.isPropertyAssignment(property)) continue;
        add(`${name}.${property.name.getText()}`, property.initializer);
      }
    } else if (ts.isArrayLiteralExpression(bare)) {
      bare.elements.forEach((element, i) => {
        add(`${name}[${i}]`, element);
      });
    }
  };
  for (const statement of parse(file).statements) {
    if (!ts.isVariableStatement(statement)) continue;
    if ((statement.declarationList.flags & ts.NodeFlags.Const) === 0) continue; // a variable
    for (const { name, initializer } of statement.declarationList.declarations) {
      if (ts.isIdentifier(name) && initializer !== undefined) add(name.text, initializer);
    }
  }
  return found;
}

function unwrap(node: ts.Expression): ts.Expression {
  return ts.isAsExpression(node) ||
    ts.isSatisfiesExpression(node) ||
    ts.isParenthesizedExpression(node)
    ? unwrap(node.expression)
    : node;
}

/** The value of an expression of literals and constants before it; undefined for any other. */
function evaluate(node: ts.Expression, known: ReadonlyMap<string, number>): number | undefined {
  const bare = unwrap(node);
  if (ts.isNumericLiteral(bare)) return Number(bare.text);
  if (ts.isIdentifier(bare)) return known.get(bare.text);
  if (ts.isPropertyAccessExpression(bare)) return known.get(bare.getText());
  if (ts.isPrefixUnaryExpression(bare)) {
    const value = evaluate(bare.operand, known);
    if (value === undefined) return undefined;
    if (bare.operator === ts.SyntaxKind.MinusToken) return -value;
    return bare.operator === ts.SyntaxKind.TildeToken ? ~value : undefined;
  }
  if (!ts.isBinaryExpression(bare)) return undefined;
  const left = evaluate(bare.left, known);
  const right = evaluate(bare.right, known);
  if (left === undefined || right === undefined) return undefined;
  return OPERATORS.get(bare.operatorToken.kind)?.(left, right);
}

const OPERATORS: ReadonlyMap<ts.SyntaxKind, (a: number, b: number) => number> = new Map([
  [ts.SyntaxKind.PlusToken, (a, b) => a + b],
  [ts.SyntaxKind.MinusToken, (a, b) => a - b],
  [ts.SyntaxKind.AsteriskToken, (a, b) => a * b],
  [ts.SyntaxKind.LessThanLessThanToken, (a, b) => a << b],
  [ts.SyntaxKind.BarToken, (a, b) => a | b],
]);
