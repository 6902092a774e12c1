import { posix } from 'node:path'
import { describe, expect, test } from 'vitest'
import { importsOf, manifest, offences, read, scripts } from './built.js'

describe('every script of the package', () => {
  test.each(scripts())('%s has no eval, no Function constructor and no top-level await', (file) => {
    expect(offences(read(file))).toEqual([])
  })

  test('is looked at: the glue and the entry point are among them', () => {
    expect(scripts()).toEqual(expect.arrayContaining(['wasm/rota_engine.js', 'wasm/bytes.js', 'dist/index.js']))
  })
})

test.each(['rota_engine', 'policy_sql'])('the glue of %s names no file by URL, which a bundler would look for', (name) => {
  expect(read(`wasm/${name}.js`)).not.toContain('import.meta.url')
})

describe('an entry point', () => {
  /** Every script that comes along with an entry point, its own included. */
  const closure = (entry: string, found = new Set<string>()): string[] => {
    const visit = (file: string) => {
      if (found.has(file)) return
      found.add(file)
      for (const module of importsOf(file, read(file))) if (module.startsWith('.')) visit(posix.join(posix.dirname(file), module))
    }
    visit((manifest.exports[entry] as { default: string }).default.slice(2))
    return [...found].sort()
  }

  test('for a service worker brings nothing but itself and the form of what is pushed', () => {
    expect(closure('./service-worker')).toEqual(['dist/push-notice.js', 'dist/push-turns.js', 'dist/service-worker.js'])
  })

  test.each(['./push', './push-sender'])('%s brings no WebAssembly', (entry) => {
    expect(closure(entry).filter((file) => file.startsWith('wasm/'))).toEqual([])
  })

  test.each(['.', './react', './vue'])('%s brings nothing of Web Push', (entry) => {
    expect(closure(entry).filter((file) => /push|service-worker/.test(file))).toEqual([])
  })

  test.each(Object.keys(manifest.exports).filter((entry) => !entry.includes('*') && !entry.endsWith('.json') && entry !== './policy-sql'))(
    '%s brings nothing of what writes the SQL of policies',
    (entry) => {
      expect(closure(entry).filter((file) => /policy.sql/.test(file))).toEqual([])
    },
  )

  test('for the SQL of policies brings a WebAssembly of its own, and nothing of the engine', () => {
    expect(closure('./policy-sql')).toEqual([
      'dist/errors.js',
      'dist/guard.js',
      'dist/packed.js',
      'dist/policy-sql.js',
      'dist/values.js',
      'wasm/policy_sql.js',
      'wasm/policy_sql_bytes.js',
    ])
  })
})

describe('the search itself', () => {
  test.each([
    ["new Function('return 1')", 'Function constructor'],
    ["const make = () => Function('return 1')", 'Function constructor'],
    ['function run(text) { return eval(text); }', 'eval'],
    ['const wasm = await load();', 'top-level await'],
    ['if (true) { await load(); }', 'top-level await'],
    ['for await (const part of stream) {}', 'top-level await'],
  ])('finds the fault in %s', (source, fault) => {
    expect(offences(source)).toEqual([fault])
  })

  test.each([
    'async function load() { for await (const part of stream) await part; }',
    "const text = 'new Function'; // eval(text)",
    'class Functional { async start() { await this.ready; } }',
    'const value = new Functional(); value.eval();',
  ])('finds no fault in %s', (source) => {
    expect(offences(source)).toEqual([])
  })
})
