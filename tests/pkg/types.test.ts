import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { expect, test } from 'vitest'

/** Compiles a folder, and returns what the compiler says. */
function compile(folder: string): string {
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
  try {
    return execFileSync(process.execPath, [tsc, '--noEmit', '-p', join(folder, 'tsconfig.json')], { encoding: 'utf8' })
  } catch (error) {
    return (error as { stdout: string }).stdout
  }
}

test('an application that checks its libraries, and knows no newer language than ES2022, compiles', () => {
  const parent = join(import.meta.dirname, 'node_modules')
  mkdirSync(parent, { recursive: true })
  const folder = mkdtempSync(join(parent, 'consumer-'))
  const source = `import { createStore, init, table, version, type Backend, type Store } from 'rota-engine'
export { useRecord as inReact } from 'rota-engine/react'
export { useRecord as inVue } from 'rota-engine/vue'
declare const backend: Backend
type Person = { id: string; name: string }
const store: Store = createStore({ app: 'a', user: 'u', tables: { people: table<Person>({ key: 'id', fields: ['id', 'name'] }) }, backend })
export const said: string = version()
export const loaded: Promise<void> = init()
export const closed: void = store.close({ purge: true })
`
  const compilerOptions = { target: 'ES2022', module: 'NodeNext', lib: ['ES2022', 'DOM'], types: [], strict: true, skipLibCheck: false, exactOptionalPropertyTypes: true, listFiles: true, noEmit: true }
  try {
    writeFileSync(join(folder, 'app.mts'), source)
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['app.mts'] }))
    const said = compile(folder)
    expect(said).not.toContain('error TS')
    expect(said).toContain('dist/index.d.ts')
    expect(said).not.toContain('rota_engine.d.ts')
  } finally {
    rmSync(folder, { recursive: true })
  }
}, 60_000)

test('an application that has said of which tables it is, is told by every hook of what there is not', () => {
  expect(compile(join(import.meta.dirname, 'registered'))).toBe('')
}, 60_000)

test('the types say what can be read and written, and refuse what can not', () => {
  expect(compile(import.meta.dirname)).toBe('')
}, 60_000)
