import { execFileSync } from 'node:child_process'
import { isBuiltin } from 'node:module'
import { posix } from 'node:path'
import { describe, expect, test } from 'vitest'
import { importsOf, manifest, packageRoot, read } from './built.js'

/** Asks npm itself: its rules for what is always and never packed are not ours to repeat. */
function packed(): string[] {
  const answer = execFileSync('npm', ['pack', '--dry-run', '--json'], {
    cwd: packageRoot,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const [tarball] = JSON.parse(answer) as { files: { path: string }[] }[]
  return (tarball?.files ?? []).map((file) => file.path)
}

const files = packed()

const kinds = [
  /^package\.json$/,
  /^README\.md$/,
  /^LICENSE$/,
  /^dist\/(?:[\w-]+\/)*[\w-]+\.(?:js|d\.ts)(?:\.map)?$/,
  /^wasm\/(?:rota_engine|bytes)\.(?:js|d\.ts)$/,
  /^wasm\/policy_sql(?:_bytes)?\.(?:js|d\.ts)$/,
  /^sql\/(?:[\w-]+\/)*[\w.-]+\.(?:sql|md)$/,
]

describe('the tarball', () => {
  test('holds nothing but what users need', () => {
    expect(files.filter((file) => !kinds.some((kind) => kind.test(file)))).toEqual([])
  })

  test('holds one file or more of every kind', () => {
    expect(kinds.filter((kind) => !files.some((file) => kind.test(file)))).toEqual([])
  })

  test('carries the whole text of both licences', () => {
    expect(read('LICENSE')).toContain('Permission is hereby granted, free of charge')
    expect(read('LICENSE')).toContain('END OF TERMS AND CONDITIONS')
  })

  test('holds declarations for every script of its entry points', () => {
    const scripts = files.filter((file) => file.startsWith('dist/') && file.endsWith('.js'))
    expect(scripts.filter((file) => !files.includes(file.replace(/\.js$/, '.d.ts')))).toEqual([])
  })

  test('holds everything its own files import, and imports nothing undeclared', () => {
    const declared = Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })
    // Node alone runs them.
    const commands = Object.values(manifest.bin)
    const bad: string[] = []
    for (const file of files.filter((path) => /\.(?:js|d\.ts)$/.test(path))) {
      for (const module of importsOf(file, read(file))) {
        if (module.startsWith('.')) {
          const target = posix.join(posix.dirname(file), module)
          if (!files.includes(target)) bad.push(`${file} imports ${module}, which is not packed`)
        } else if (!(commands.includes(file) && isBuiltin(module)) && !declared.some((name) => module === name || module.startsWith(`${name}/`))) {
          bad.push(`${file} imports ${module}, which package.json does not declare`)
        }
      }
    }
    expect(bad).toEqual([])
  })
})

describe('the exports map', () => {
  const targets = Object.entries(manifest.exports).flatMap(([entry, target]) =>
    typeof target === 'string'
      ? [[entry, target]]
      : [
          [entry, target.types],
          [entry, target.default],
        ],
  )

  test.each(targets)('%s leads to %s, which is packed', (_entry, target) => {
    const [start = '', end = ''] = target.slice(2).split('*')
    expect(files.some((file) => file.startsWith(start) && file.endsWith(end))).toBe(true)
  })

  test('names types first: later conditions are never looked at', () => {
    const branches = Object.values(manifest.exports).filter((target) => typeof target !== 'string')
    expect(branches.map((branch) => Object.keys(branch)[0])).toEqual(branches.map(() => 'types'))
  })
})
