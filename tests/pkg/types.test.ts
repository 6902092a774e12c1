import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { expect, test } from 'vitest'

test('the types say what can be read and written, and refuse what can not', () => {
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
  let said = ''
  try {
    execFileSync(process.execPath, [tsc, '--noEmit', '-p', join(import.meta.dirname, 'tsconfig.json')], { encoding: 'utf8' })
  } catch (error) {
    said = (error as { stdout: string }).stdout
  }
  expect(said).toBe('')
}, 60_000)
