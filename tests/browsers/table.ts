/** Prints, when all is done, what holds in which engine and what was measured, and writes the same to target/browsers. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { TaskMeta } from 'vitest'
import type { Reporter, TestModule } from 'vitest/node'
import { ENGINES, type EngineName } from './engines/driver.js'

const FOLDER = fileURLToPath(new URL('../../target/browsers/', import.meta.url))

type Found = { readonly name: string; readonly isRight: boolean } & NonNullable<TaskMeta['browsers']>
type Rows = Map<string, Partial<Record<EngineName, string>>>

export default class Table implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const found: Found[] = []
    for (const test of modules.flatMap((module) => [...module.children.allTests()])) {
      const { browsers } = test.meta()
      if (browsers) found.push({ name: test.name, isRight: test.ok(), ...browsers })
    }
    const hasFigures = found.some(({ figures }) => Object.keys(figures ?? {}).length > 0)
    if (hasFigures) tell('figures.md', 'what was measured', figuresOf(found), found)
    else if (found.length > 0) tell('features.md', 'what holds', featuresOf(found), found)
  }
}

function tell(file: string, title: string, { rows, notes }: { rows: Rows; notes: readonly string[] }, found: readonly Found[]): void {
  const engines = ENGINES.filter((engine) => found.some((one) => one.engine === engine))
  const heads = engines.map((engine) => `${engine} ${found.find((one) => one.engine === engine)?.version ?? ''}`)
  const lines = [
    `| ${title} | ${heads.join(' | ')} |`,
    `|---|${engines.map(() => ':-:|').join('')}`,
    ...[...rows].map(([name, row]) => `| ${name} | ${engines.map((engine) => row[engine] ?? '').join(' | ')} |`),
    '',
    ...notes.map((note, index) => `${index + 1}: ${note}`),
  ]
  const text = `${lines.join('\n').trim()}\n`
  mkdirSync(FOLDER, { recursive: true })
  writeFileSync(`${FOLDER}${file}`, text)
  console.log(`\n${text}`)
}

function featuresOf(found: readonly Found[]): { rows: Rows; notes: readonly string[] } {
  const rows: Rows = new Map()
  const notes: string[] = []
  for (const { name, engine, isRight, lacks, instead } of found) {
    let cell = isRight ? '✓' : '✗'
    if (lacks) {
      const note = `no way to ${lacks.join(', ')}${instead === undefined ? '' : `; tested instead: ${instead}`}`
      if (!notes.includes(note)) notes.push(note)
      cell = `– ${notes.indexOf(note) + 1}`
    }
    rows.set(name, { ...rows.get(name), [engine]: cell })
  }
  return { rows, notes }
}

function figuresOf(found: readonly Found[]): { rows: Rows; notes: readonly string[] } {
  const rows: Rows = new Map()
  for (const { engine, figures } of found) {
    for (const [what, figure] of Object.entries(figures ?? {})) rows.set(what, { ...rows.get(what), [engine]: figure })
  }
  return { rows, notes: found.filter(({ lacks }) => lacks).map(({ engine, name, lacks }) => `${engine} has no way to ${lacks?.join(', ')}: ${name}`) }
}
