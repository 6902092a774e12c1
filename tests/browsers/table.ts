/** Prints, when all is done, what holds in which engine, and writes the same to target/browsers/features.md. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Reporter, TestModule } from 'vitest/node'
import { ENGINES, type EngineName } from './engines/driver.js'

const FOLDER = fileURLToPath(new URL('../../target/browsers/', import.meta.url))

export default class Table implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const text = describe(modules)
    if (text === undefined) return
    mkdirSync(FOLDER, { recursive: true })
    writeFileSync(`${FOLDER}features.md`, text)
    console.log(`\n${text}`)
  }
}

function describe(modules: readonly TestModule[]): string | undefined {
  const rows = new Map<string, Partial<Record<EngineName, string>>>()
  const versions = new Map<EngineName, string>()
  const notes: string[] = []
  for (const test of modules.flatMap((module) => [...module.children.allTests()])) {
    const { browsers } = test.meta()
    if (!browsers) continue
    const { engine, version, lacks, instead } = browsers
    versions.set(engine, version)
    const row = rows.get(test.name) ?? {}
    rows.set(test.name, row)
    if (lacks) {
      const note = `no way to ${lacks.join(', ')}${instead === undefined ? '' : `; tested instead: ${instead}`}`
      if (!notes.includes(note)) notes.push(note)
      row[engine] = `– ${notes.indexOf(note) + 1}`
    } else {
      row[engine] = test.ok() ? '✓' : '✗'
    }
  }
  if (rows.size === 0) return undefined
  const engines = ENGINES.filter((engine) => versions.has(engine))
  const lines = [
    `| what holds | ${engines.map((engine) => `${engine} ${versions.get(engine) ?? ''}`).join(' | ')} |`,
    `|---|${engines.map(() => ':-:|').join('')}`,
    ...[...rows].map(([name, row]) => `| ${name} | ${engines.map((engine) => row[engine] ?? '').join(' | ')} |`),
  ]
  return `${[...lines, '', ...notes.map((note, index) => `${index + 1}: ${note}`)].join('\n').trim()}\n`
}
