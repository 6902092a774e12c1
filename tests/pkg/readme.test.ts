/** The code in the README, and in the package's own, compiles against the built package as it stands there. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const HERE = import.meta.dirname
const GIVEN = 'declare const url: string, anonKey: string, userId: string, colleagueId: string, publicKey: string, privateKey: string, render: () => void, show: (words: string) => void, goTo: (url: string) => void\n' +
  'declare const button: HTMLButtonElement, pool: { query(sql: string, params: unknown[]): Promise<{ rows: unknown[] }> }, stopping: AbortController\n'

test.each(['README.md', 'pkg/README.md'])('the code in %s compiles', (file) => {
  const text = readFileSync(join(HERE, '../..', file), 'utf8')
  const blocks = [...text.matchAll(/```tsx?\n([\s\S]*?)```/g)].map(([, code]) => code)
  expect(blocks.length).toBeGreaterThan(0)
  // Inside the package's own folder, so that imports are found as a user's are.
  const folder = join(HERE, `.readme-${file.length}`)
  mkdirSync(folder, { recursive: true })
  try {
    writeFileSync(join(folder, 'readme.tsx'), `${blocks.join('\n')}\n${GIVEN}export {}\n`)
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ extends: '../tsconfig.json', include: ['readme.tsx'] }))
    const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
    let said = ''
    try {
      execFileSync(process.execPath, [tsc, '--noEmit', '-p', folder], { encoding: 'utf8' })
    } catch (error) {
      said = (error as { stdout: string }).stdout
    }
    expect(said).toBe('')
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}, 60_000)
