// What the tests of the built package share: where its files are, and how its scripts are read. Scripts are parsed, not
// searched: a word in a comment or a string proves nothing.

import { readFileSync, readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import ts from 'typescript'

export const packageRoot = join(import.meta.dirname, '../../pkg')
export const wasmBytes = (name = 'rota_engine'): Buffer => readFileSync(join(packageRoot, `wasm/${name}_bg.wasm`))

export interface Manifest {
  name: string
  version: string
  exports: Record<string, string | { types: string; default: string }>
  bin: Record<string, string>
  dependencies?: Record<string, string>
  peerDependencies?: Record<string, string>
}

export const manifest = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as Manifest

/** Every script the package ships, by its path inside the package. */
export function scripts(): string[] {
  return ['dist', 'wasm'].flatMap((directory) =>
    readdirSync(join(packageRoot, directory), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.js'))
      .map((file) => relative(packageRoot, join(packageRoot, directory, file))),
  )
}

export function read(file: string): string {
  return readFileSync(join(packageRoot, file), 'utf8')
}

/** What a page's content security policy would forbid, and what would hold every importer up. */
export function offences(source: string): string[] {
  const file = ts.createSourceFile('script.js', source, ts.ScriptTarget.Latest, true, ts.ScriptKind.JS)
  const found: string[] = []
  const visit = (node: ts.Node, insideFunction: boolean): void => {
    if ((ts.isNewExpression(node) || ts.isCallExpression(node)) && ts.isIdentifier(node.expression)) {
      if (node.expression.text === 'Function') found.push('Function constructor')
      if (node.expression.text === 'eval') found.push('eval')
    }
    const awaits = ts.isAwaitExpression(node) || (ts.isForOfStatement(node) && node.awaitModifier !== undefined)
    if (awaits && !insideFunction) found.push('top-level await')
    const within = insideFunction || ts.isFunctionLike(node)
    ts.forEachChild(node, (child) => visit(child, within))
  }
  visit(file, false)
  return found
}

/** The modules a script or a declaration file imports, re-exports or names in an `import("…")`. */
export function importsOf(file: string, source: string): string[] {
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    const named =
      (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier
        ? node.moduleSpecifier
        : ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword
          ? node.arguments[0]
          : ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)
            ? node.argument.literal
            : undefined
    if (named && ts.isStringLiteral(named)) found.push(named.text)
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(file, source, ts.ScriptTarget.Latest, true))
  return found
}
