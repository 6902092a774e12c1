// What writes the SQL of policies, as somebody has it who has installed the package and nothing else.

import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { packageRoot } from './built.js'

const root = join(import.meta.dirname, '../..')
const fixtures = join(root, 'tests/fixtures/policy')
const sql = readFileSync(join(fixtures, 'policy.sql'), 'utf8')

let folder: string

function tool(name: string, ...args: string[]): { status: number | null; said: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'node_modules', name), ...args], { cwd: folder, encoding: 'utf8' })
  return { status, said: stdout + stderr }
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'rota-installed-'))
  const quietly = { cwd: folder, encoding: 'utf8', stdio: 'pipe' } as const
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'consumer', private: true, type: 'module' }))
  const [packed] = JSON.parse(execFileSync('npm', ['pack', packageRoot, '--json', '--pack-destination', folder], quietly)) as { filename: string }[]
  execFileSync('npm', ['install', '--offline', '--no-audit', '--no-fund', `./${packed?.filename}`], quietly)
  copyFileSync(join(fixtures, 'declaration.json'), join(folder, 'policy.json'))
}, 120_000)

afterAll(() => rmSync(folder, { recursive: true }))

describe('the installed package', () => {
  test('has the command, which prints the SQL of a policy and compares a migration with it', () => {
    const run = (program: string, ...args: string[]) => spawnSync(program, args, { cwd: folder, encoding: 'utf8' })
    expect(run('npx', '--no-install', 'rota-policy-sql', 'policy.json').stdout).toBe(sql)
    // What npx runs.
    const command = (...args: string[]) => run(join(folder, 'node_modules/.bin/rota-policy-sql'), ...args).status
    expect(command('policy.json', '--out', 'migration.sql')).toBe(0)
    expect(command('policy.json', '--check', 'migration.sql')).toBe(0)
    writeFileSync(join(folder, 'migration.sql'), sql.replace("'admin'", "'agent'"))
    expect(command('policy.json', '--check', 'migration.sql')).toBe(1)
    expect(command('nowhere.json')).toBe(2)
  })

  const script = `import { policySql } from 'rota-engine/policy-sql'
import { readFileSync } from 'node:fs'
policySql(JSON.parse(readFileSync('policy.json', 'utf8'))).then((sql) => process.stdout.write(sql))
`

  test('has the function, imported by Node', () => {
    writeFileSync(join(folder, 'run.js'), script)
    expect(execFileSync(process.execPath, ['run.js'], { cwd: folder, encoding: 'utf8' })).toBe(sql)
  })

  test.each(['browser', 'node'])('has the function, put into one file by a bundler for %s', (platform) => {
    writeFileSync(join(folder, 'run.js'), script)
    const outside = ['--external:node:fs']
    execFileSync(join(root, 'node_modules/.bin/esbuild'), ['run.js', '--bundle', '--minify', '--format=esm', `--platform=${platform}`, ...outside, '--outfile=bundled/run.js'], { cwd: folder, stdio: 'pipe' })
    const bundled = readFileSync(join(folder, 'bundled/run.js'), 'utf8')
    expect(bundled).not.toContain('rota-engine')
    expect(execFileSync(process.execPath, ['bundled/run.js'], { cwd: folder, encoding: 'utf8' })).toBe(sql)
  })

  test.each([
    ['node16', 'node16'],
    ['nodenext', 'nodenext'],
    ['esnext', 'bundler'],
  ])('has types for module %s and resolution %s, without those of Node or a framework', (module, moduleResolution) => {
    mkdirSync(join(folder, 'typed'), { recursive: true })
    writeFileSync(
      join(folder, 'typed/index.ts'),
      `import { policySql, RotaError, type Policy, type RotaErrorCode, type Tables } from 'rota-engine/policy-sql'
const policy: Policy<Tables, 'leads'> = { table: 'leads', people: { table: 'people' }, rules: [{ actions: ['read'], scope: 'any' }] }
export const sql: Promise<string> = policySql(policy)
export const direct: Promise<string> = policySql({ table: 'leads', people: { table: 'people' }, rules: [] })
export const code = (error: unknown): RotaErrorCode | undefined => (error instanceof RotaError ? error.code : undefined)
// @ts-expect-error no such scope
policySql({ table: 'leads', people: { table: 'people' }, rules: [{ actions: ['patch'], scope: 'all' }] })
// @ts-expect-error no people
policySql({ table: 'leads', rules: [] })
`,
    )
    const compilerOptions = { module, moduleResolution, target: 'es2022', lib: ['es2022', 'dom'], types: [], strict: true, noEmit: true, skipLibCheck: false }
    writeFileSync(join(folder, 'typed/tsconfig.json'), JSON.stringify({ compilerOptions, include: ['index.ts'] }))
    expect(tool('typescript/bin/tsc', '-p', 'typed')).toEqual({ status: 0, said: '' })
  }, 60_000)
})
